/* What walferry does not write, and what nobody should: avro_test has every type of a table. */
#include "proto/avro_decode.h"

#include <stdlib.h>
#include <string.h>

#include "testing.h"

#define BYTES(text) ((Slice){text, sizeof text - 1})

static void assert_body(const char *schema, Slice body, const char *expected) {
    Error e = {0};
    AvroDecoder *decoder = avro_decoder_new(slice_text(schema), &e);
    if (decoder == NULL)
        fail_test("%s", e.text);
    json_t *said = avro_decode(decoder, body, &e);
    char *text = said == NULL ? NULL : json_dumps(said, JSON_COMPACT | JSON_ENCODE_ANY);
    if (said == NULL)
        assert_int_equal(e.kind, ERR_DATA);
    if (said == NULL ? strstr(e.text, expected) == NULL : strcmp(text, expected) != 0)
        fail_test("%s: %s instead of %s", schema, said == NULL ? e.text : text, expected);
    free(text);
    json_decref(said);
    avro_decoder_free(decoder);
}

#define RECORD(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"
#define FIELD(name, type)    "{\"name\":\"" name "\",\"type\":" type "}"

static void types_of_others(void **unused) {
    (void)unused;
    static const char symbols[] = "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"a\",\"b\"]}";
    static const char fixed[] = "{\"type\":\"fixed\",\"name\":\"F\",\"size\":3}";
    static const char numbers[] = "{\"type\":\"array\",\"items\":\"int\"}";
    static const char map[] = "{\"type\":\"map\",\"values\":[\"null\",\"boolean\"]}";
    static const char list[] = RECORD("L", FIELD("v", "\"long\"") "," FIELD("next", "[\"null\",\"L\"]"));
    static const char logical[] =
        "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4,\"scale\":2,\"connect.name\":\"x\"}";
    assert_body("\"null\"", BYTES(""), "null");
    assert_body(symbols, BYTES("\2"), "\"b\"");
    assert_body(fixed, BYTES("abc"), "\"YWJj\"");
    assert_body(numbers, BYTES("\4\2\1\2\4\0"), "[1,-1,2]"); /* two blocks */
    assert_body(numbers, BYTES("\3\4\2\1\0"), "[1,-1]");     /* a block with its length */
    assert_body(map, BYTES("\4\2a\0\2b\2\1\0"), "{\"a\":null,\"b\":true}");
    assert_body(list, BYTES("\2\2\4\0"), "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}");
    assert_body(logical, BYTES("\4\1\2"), "\"AQI=\"");
    assert_body("\"double\"", BYTES("\0\0\0\0\0\0\xf0\x7f"), "\"Infinity\"");
    assert_body("\"float\"", BYTES("\0\0\x80\xff"), "\"-Infinity\"");
    assert_body("\"string\"", BYTES("\6a\0b"), "\"a\\u0000b\"");
    assert_body("\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), "-9223372036854775808");
}

static void bytes_that_do_not_fit(void **unused) {
    (void)unused;
    static const char nulls[] = "{\"type\":\"array\",\"items\":\"null\"}";
    static const char endless[] = RECORD("A", FIELD("a", "\"A\""));
    static const char map[] = "{\"type\":\"map\",\"values\":\"int\"}";
    assert_body("\"null\"", BYTES("x"), "goes on behind its end (byte 0 of 1)");
    assert_body("\"long\"", BYTES("\x80"), "ends too early");
    assert_body("\"long\"", BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1"), "more than 64 bits");
    assert_body("\"int\"", BYTES("\x80\x80\x80\x80\x10"), "more than 32 bits");
    assert_body("\"string\"", BYTES("\6ab"), "a length goes beyond the end");
    assert_body("\"bytes\"", BYTES("\1"), "a length goes beyond the end");
    assert_body("\"bytes\"", BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1"), "a length goes beyond the end");
    assert_body("\"string\"", BYTES("\2\xff"), "not UTF-8");
    assert_body("[\"null\",\"int\"]", BYTES("\4"), "no such branch");
    assert_body("[\"null\",\"int\"]", BYTES("\1"), "no such branch");
    assert_body("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"a\"]}", BYTES("\2"), "no such symbol");
    assert_body("{\"type\":\"fixed\",\"name\":\"F\",\"size\":-5}", BYTES("abc"),
                "a length goes beyond the end");
    assert_body(nulls, BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1\0"), "more items than bytes");
    assert_body(nulls, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\0\0"), "more items than bytes");
    assert_body(endless, BYTES("abc"), "too deep");
    assert_body(map, BYTES("\2\4a\0\2\0"), "zero byte");
    assert_body(map, BYTES("\2\2\xff\2\0"), "not UTF-8");
}

static void schemas_that_are_none(void **unused) {
    (void)unused;
    static const char *const texts[] = {"", "[", "\"x\"", "{\"type\":\"record\"}", "7"};
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++) {
        Error e;
        assert_null(avro_decoder_new(slice_text(texts[at]), &e));
        assert_int_equal(e.kind, ERR_DATA);
        assert_non_null(strstr(e.text, "an Avro schema cannot be read: "));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(types_of_others),
                                       cmocka_unit_test(bytes_that_do_not_fit),
                                       cmocka_unit_test(schemas_that_are_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
