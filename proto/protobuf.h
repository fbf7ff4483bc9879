/* protobuf: the wire form of Protocol Buffers of Datums, as the schema says that protobuf_schema makes of their Kind; and the head
 * that Confluent's readers look for: a zero byte, the id of the schema, and a zero for the first message in it. Written by
 * ourselves: code that protobuf-c generates knows its messages when it is compiled, and these follow the tables. Pure. */
#ifndef WALFERRY_PROTO_PROTOBUF_H
#define WALFERRY_PROTO_PROTOBUF_H

#include "proto/datum.h"
#include "proto/kind.h"

/* A Kind with what its schema decided; lives in `arena`, and needs the Kind as long. */
typedef struct ProtobufNode ProtobufNode;

const ProtobufNode *protobuf_node_new(Arena *arena, const Kind *kind);
/* Of a struct: the message without its length. Nothing is said of what is null or left out. */
void protobuf_message_write(Writer *out, const ProtobufNode *node, const Datum *datum);

#endif
