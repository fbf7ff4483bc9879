/* avro_schema: Avro schemas of keys and values, as Confluent's AvroConverter derives them from Connect schemas
 * (kafka-contract.md, section 11). An optional field is ["null",T], one with a default [T,"null"]; a record stands where it
 * first comes and is named after that; what Avro does not know is kept in connect.* properties.
 * Characters that Avro's names cannot have become "_", as with Debezium's schema.name.adjustment.mode avro. Pure. */
#ifndef WALFERRY_PROTO_AVRO_SCHEMA_H
#define WALFERRY_PROTO_AVRO_SCHEMA_H

#include "proto/kind.h"

void avro_schema_write(Writer *out, const Kind *kind);
const char *avro_field_name(Arena *arena, const char *name);
const char *avro_full_name(Arena *arena, const char *name); /* dots part it */
const char *avro_primitive(ConnectType type);               /* NULL: it is none */
#define AVRO_MAP_ENTRY "io.confluent.connect.avro.MapEntry"
/* Of an optional one: null is the first of its union, or the second. */
bool avro_null_is_first(const Kind *kind, Arena *arena);

#endif
