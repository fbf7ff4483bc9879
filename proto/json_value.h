/* json_value: schemas and values as Kafka Connect's JsonConverter writes them (kafka-contract.md, section 11): bytes and
 * decimals in base64, maps with other keys than strings as a list of pairs, floats that JSON does not know as strings. */
#ifndef WALFERRY_PROTO_JSON_VALUE_H
#define WALFERRY_PROTO_JSON_VALUE_H

#include "proto/datum.h"
#include "proto/kind.h"

/* `field`: its name in the struct around it; NULL: none. */
void json_schema_write(Writer *out, const Kind *kind, const char *field);
/* Not of DATUM_SPECIAL. */
void json_datum_write(Writer *out, const Kind *kind, const Datum *datum);
/* A key in a header, as Connect writes headers: a struct without a schema, in which a Decimal is a number. */
void json_key_header_write(Writer *out, const Kind *key, const Datum *datum);
void json_integer_write(Writer *out, int64_t value);
void json_base64_write(Writer *out, Slice bytes); /* with its quotes */
/* The column's default; false: it has none that can be said. */
bool json_default_write(Writer *out, const Kind *kind);

#endif
