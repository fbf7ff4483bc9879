/* protobuf_parse: .proto text, as a registry has it, as the messages that bodies are read by: proto2 and proto3, messages, enums, maps,
 * oneofs. Left out is what bodies are not read by: options, comments, services, extensions, what is reserved. Imports are not
 * followed: a field whose type is in none of the text is refused. Pure. */
#ifndef WALFERRY_PROTO_PROTOBUF_PARSE_H
#define WALFERRY_PROTO_PROTOBUF_PARSE_H

#include "core/arena.h"
#include "core/error.h"

typedef enum ProtobufType {
    PROTOBUF_DOUBLE,
    PROTOBUF_FLOAT,
    PROTOBUF_INT32,
    PROTOBUF_INT64,
    PROTOBUF_UINT32,
    PROTOBUF_UINT64,
    PROTOBUF_SINT32,
    PROTOBUF_SINT64,
    PROTOBUF_FIXED32,
    PROTOBUF_FIXED64,
    PROTOBUF_SFIXED32,
    PROTOBUF_SFIXED64,
    PROTOBUF_BOOL,
    PROTOBUF_STRING,
    PROTOBUF_BYTES,
    PROTOBUF_ENUM,
    PROTOBUF_MESSAGE
} ProtobufType;

typedef struct ProtobufSymbol {
    const char *name;
    int32_t number;
    const struct ProtobufSymbol *next;
} ProtobufSymbol;

typedef struct ProtobufMessage ProtobufMessage;

typedef struct ProtobufField {
    const char *name;
    uint32_t number;
    ProtobufType type;
    const ProtobufMessage *message; /* of PROTOBUF_MESSAGE; of a map its entry: key, value */
    const ProtobufSymbol *symbols;  /* of PROTOBUF_ENUM */
    bool repeated, map;             /* a map is repeated, too */
    bool implicit;                  /* absent is the same as zero */
    const char *type_name;          /* as it is written */
} ProtobufField;

struct ProtobufMessage {
    const char *full; /* with its package */
    ProtobufField *fields;
    int field_count, field_room;
    ProtobufMessage *nested, *next; /* the first one in it; the one behind it, in the order of the text */
};

/* The first message of the text; all lives in `arena`. NULL and e: ERR_DATA, it is none; ERR_CONFIG, it needs an import. */
const ProtobufMessage *protobuf_parse(Arena *arena, Slice text, Error *e);

#endif
