/* protobuf_decode: what a Protobuf body says, as JSON, by the schema that it was written with. Every field of a message is there, in the
 * schema's order: one that is absent is null, or zero where the schema tells no difference; absent lists and maps are empty. 64 bits
 * are numbers, those that JSON's integers do not hold are texts; bytes are base64; an enum is its symbol, or its number where it has
 * none; what is no number is "NaN", "Infinity" or "-Infinity". */
#ifndef WALFERRY_PROTO_PROTOBUF_DECODE_H
#define WALFERRY_PROTO_PROTOBUF_DECODE_H

#include <jansson.h>

#include "core/bytes.h"
#include "core/error.h"

typedef struct ProtobufDecoder ProtobufDecoder;

/* schema: .proto text. NULL and e as of protobuf_parse. One thread. */
ProtobufDecoder *protobuf_decoder_new(Slice schema, Error *e);
void protobuf_decoder_free(ProtobufDecoder *d); /* NULL is fine */
/* The body is behind the id: it begins with Confluent's list of which message of the schema it is. NULL and e (ERR_DATA): it does
 * not fit the schema; also where it has a field that the schema has not. */
json_t *protobuf_decode(const ProtobufDecoder *d, Slice body, Error *e);

#endif
