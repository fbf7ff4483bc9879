/* Any body is refused with ERR_DATA, or is JSON, of every shape that a schema can have. The first byte of the input chooses the
 * schema; the rest is the body. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/avro_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const SCHEMAS[] = {
    ("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"b\",\"type\":\"boolean\"},"
     "{\"name\":\"i\",\"type\":[\"null\",\"int\"]},{\"name\":\"l\",\"type\":\"long\"},"
     "{\"name\":\"f\",\"type\":\"float\"},{\"name\":\"d\",\"type\":\"double\"},"
     "{\"name\":\"s\",\"type\":[\"string\",\"null\"]},{\"name\":\"y\",\"type\":\"bytes\"},"
     "{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}},"
     "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"a\",\"b\"]}},"
     "{\"name\":\"a\",\"type\":{\"type\":\"array\",\"items\":[\"null\",\"string\"]}},"
     "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"long\"}}]}"),
    ("{\"type\":\"record\",\"name\":\"L\",\"fields\":[{\"name\":\"v\",\"type\":[\"null\",\"L\","
     "{\"type\":\"array\",\"items\":\"L\"},{\"type\":\"map\",\"values\":\"L\"}]}]}"),
    "{\"type\":\"array\",\"items\":\"null\"}",
    "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"N\",\"fields\":[]}}",
};
enum { SCHEMA_COUNT = sizeof SCHEMAS / sizeof *SCHEMAS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static AvroDecoder *decoders[SCHEMA_COUNT]; /* made once, and never freed: libFuzzer ends the process */
    Error e = {0};
    for (size_t at = 0; at < SCHEMA_COUNT && decoders[at] == NULL; at++) {
        decoders[at] = avro_decoder_new((Slice){SCHEMAS[at], strlen(SCHEMAS[at])}, &e);
        assert(decoders[at] != NULL);
    }
    if (size == 0)
        return 0;
    Slice body = {(const char *)data + 1, size - 1};
    json_t *said = avro_decode(decoders[data[0] % SCHEMA_COUNT], body, &e);
    char *text = said == NULL ? NULL : json_dumps(said, JSON_COMPACT | JSON_ENCODE_ANY);
    assert(said == NULL ? e.kind == ERR_DATA : text != NULL);
    free(text);
    json_decref(said);
    return 0;
}
