/* Any text is refused, or is a schema; any body is refused with ERR_DATA, or is JSON. The first byte of the input chooses: a body of a
 * schema that is given, or a schema up to the first zero byte and a body behind it. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/protobuf_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char SCHEMA[] =
    "syntax = \"proto3\"; message M { int32 a = 1; uint64 b = 2; sint64 c = 3; fixed32 d = 4; sfixed64 e = "
    "5; "
    "bool f = 6; double g = 7; float h = 8; string i = 9; bytes j = 10; optional E k = 11; repeated int32 l "
    "= 12; "
    "repeated M m = 13; map<string, M> n = 14; map<int64, bytes> o = 15; oneof p { N q = 16; E r = 17; } "
    "enum E { Z = 0; Y = 1; } message N { M s = 1; message O { } } } message P { }";

static void body_check(const ProtobufDecoder *decoder, Slice body) {
    Error e = {0};
    json_t *said = protobuf_decode(decoder, body, &e);
    char *text = said == NULL ? NULL : json_dumps(said, JSON_COMPACT | JSON_ENCODE_ANY);
    assert(said == NULL ? e.kind == ERR_DATA : text != NULL);
    free(text);
    json_decref(said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Slice schema = {SCHEMA, sizeof SCHEMA - 1}, rest = {(const char *)data + 1, size - 1};
    Error e = {0};
    if (size == 0)
        return 0;
    if (data[0] % 2 == 1) {
        const char *end = memchr(rest.at, 0, rest.len);
        schema = (Slice){rest.at, end == NULL ? rest.len : (size_t)(end - rest.at)};
        rest = (Slice){rest.at + schema.len, rest.len - schema.len};
    }
    ProtobufDecoder *decoder = protobuf_decoder_new(schema, &e);
    assert(decoder != NULL || ((e.kind == ERR_DATA || e.kind == ERR_CONFIG) && data[0] % 2 == 1));
    if (decoder != NULL)
        body_check(decoder, rest);
    protobuf_decoder_free(decoder);
    return 0;
}
