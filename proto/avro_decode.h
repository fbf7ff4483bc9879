/* avro_decode: what an Avro body says, as JSON, by the schema that it was written with, whoever wrote it. Connect's JsonConverter would
 * say it so: a union is what it holds; bytes and fixed are base64, and logical types what they stand on (a decimal is its bytes,
 * a date its days); an enum is its symbol; what is no number is "NaN", "Infinity" or "-Infinity".
 * Avro C reads the schemas. The bodies are read here: Avro C takes what a broken one says of its lengths for true. */
#ifndef WALFERRY_PROTO_AVRO_DECODE_H
#define WALFERRY_PROTO_AVRO_DECODE_H

#include <jansson.h>

#include "core/bytes.h"
#include "core/error.h"

typedef struct AvroDecoder AvroDecoder;

/* schema: its JSON. NULL and e (ERR_DATA): it is none. One thread. */
AvroDecoder *avro_decoder_new(Slice schema, Error *e);
void avro_decoder_free(AvroDecoder *d); /* NULL is fine */
/* The body is without a head, and whole. NULL and e (ERR_DATA): it does not fit the schema. */
json_t *avro_decode(const AvroDecoder *d, Slice body, Error *e);

#endif
