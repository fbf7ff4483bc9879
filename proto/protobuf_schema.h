/* protobuf_schema: .proto text of keys and values (kafka-contract.md, "Protobuf layout"): proto3, a package named as the topic, the
 * message of the record first, then those it needs, in the order in which they come. A column's field is numbered as the
 * column, so that readers of old schemas stay right; arrays are wrapped in a message, because a list has no null; what the
 * value means is said in a comment. Pure. */
#ifndef WALFERRY_PROTO_PROTOBUF_SCHEMA_H
#define WALFERRY_PROTO_PROTOBUF_SCHEMA_H

#include "proto/kind.h"

void protobuf_schema_write(Writer *out, const Kind *kind);
/* Of a struct's field. */
int protobuf_number(const Kind *kind, int field);
bool protobuf_is_marked(const Kind *kind, int field); /* optional: a zero is not the same as nothing */

#endif
