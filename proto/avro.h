/* avro: the binary form of Avro (specification 1.11, "Binary Encoding") of Datums, as the schema says that avro_schema makes
 * of their Kind; and the head that Confluent's readers look for: a zero byte and the id of the schema; or, of a single object,
 * C3 01 and the fingerprint of the schema. Written by ourselves: filling and writing Avro C's values costs three times as much; the tests read everything back with it. Pure. */
#ifndef WALFERRY_PROTO_AVRO_H
#define WALFERRY_PROTO_AVRO_H

#include "proto/datum.h"
#include "proto/kind.h"

/* A Kind with what its schema decided; lives in `arena`, and needs the Kind as long. */
typedef struct AvroNode AvroNode;

const AvroNode *avro_node_new(Arena *arena, const Kind *kind);
/* Not of DATUM_SPECIAL; DATUM_LEFT_OUT is null. A required one is neither null nor left out. */
void avro_datum_write(Writer *out, const AvroNode *node, const Datum *datum);

#endif
