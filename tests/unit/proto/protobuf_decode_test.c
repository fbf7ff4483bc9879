/* What walferry does not write, and what nobody should: protobuf_test has every type of a table. */
#include "proto/protobuf_decode.h"

#include <stdlib.h>
#include <string.h>

#include "testing.h"

#define BYTES(text) ((Slice){text, sizeof text - 1})
#define HEAD        "syntax = \"proto3\";\npackage a.b;\n"

static void assert_body(const char *schema, Slice body, const char *expected) {
    Error e = {0};
    ProtobufDecoder *decoder = protobuf_decoder_new(slice_text(schema), &e);
    json_t *said = decoder == NULL ? NULL : protobuf_decode(decoder, body, &e);
    char *text = said == NULL ? NULL : json_dumps(said, JSON_COMPACT | JSON_ENCODE_ANY);
    if (said == NULL ? strstr(e.text, expected) == NULL : strcmp(text, expected) != 0)
        fail_test("%s: %s instead of %s", schema, said == NULL ? e.text : text, expected);
    if (decoder != NULL && said == NULL)
        assert_int_equal(e.kind, ERR_DATA);
    free(text);
    json_decref(said);
    protobuf_decoder_free(decoder);
}

static void scalars(void **unused) {
    (void)unused;
    static const char schema[] = HEAD
        "message M { int32 a = 1; uint32 b = 2; uint64 c = 3; sint32 d = 4; sint64 e = 5; fixed32 f = 6; "
        "fixed64 g = 7; sfixed32 h = 8; sfixed64 i = 9; bool j = 10; double k = 11; float l = 12; "
        "string m = 13; bytes n = 14; int64 o = 16; }";
    assert_body(
        schema,
        BYTES("\0\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\x10\xff\xff\xff\xff\x0f"
              "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\x20\3\x28\4\x35\xff\xff\xff\xff"
              "\x39\xff\xff\xff\xff\xff\xff\xff\x7f\x45\xff\xff\xff\xff\x49\xfe\xff\xff\xff\xff\xff\xff\xff"
              "\x50\1\x59\0\0\0\0\0\0\xf8\x3f\x65\xcd\xcc\x8c\x3f\x6a\1x\x72\2\0\xff\x80\1\5"),
        "{\"a\":-1,\"b\":4294967295,\"c\":\"18446744073709551615\",\"d\":-2,\"e\":2,\"f\":4294967295,"
        "\"g\":9223372036854775807,\"h\":-1,\"i\":-2,\"j\":true,\"k\":1.5,\"l\":1.1000000000000001,"
        "\"m\":\"x\",\"n\":\"AP8=\",\"o\":5}");
    assert_body(
        schema, BYTES("\0"),
        "{\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"g\":0,\"h\":0,\"i\":0,\"j\":false,\"k\":0.0,"
        "\"l\":0.0,\"m\":\"\",\"n\":\"\",\"o\":0}");
}

static void presence_lists_and_maps(void **unused) {
    (void)unused;
    static const char schema[] = HEAD
        "message M { optional int32 a = 1; repeated int32 b = 2; repeated string c = 3; map<string, N> d = "
        "4;\n"
        "  map<int64, bool> e = 5; oneof one { int32 f = 6; N g = 7; } N h = 8; E i = 9; repeated E j = 10;\n"
        "  enum E { option allow_alias = true; ZERO = 0; ONE = 1 [deprecated = true]; MINUS = -1; }\n"
        "  message N { int32 v = 1; } }";
    assert_body(
        schema, BYTES("\0"),
        "{\"a\":null,\"b\":[],\"c\":[],\"d\":{},\"e\":{},\"f\":null,\"g\":null,\"h\":null,\"i\":\"ZERO\","
        "\"j\":[]}");
    assert_body(
        schema,
        BYTES("\0\x08\0\x12\2\1\2\x10\3\x1a\1x\x1a\0\x22\7\x0a\1k\x12\2\x08\5\x22\0\x2a\4\x08\7\x10\1"
              "\x30\0\x3a\0\x42\2\x08\1\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\x52\2\1\2"),
        "{\"a\":0,\"b\":[1,2,3],\"c\":[\"x\",\"\"],\"d\":{\"k\":{\"v\":5},\"\":null},\"e\":{\"7\":true},"
        "\"f\":0,\"g\":{\"v\":0},\"h\":{\"v\":1},\"i\":\"MINUS\",\"j\":[\"ONE\",2]}");
}

static void which_message(void **unused) {
    (void)unused;
    static const char schema[] =
        HEAD "message A { int32 a = 1; message C { int32 c = 1; } message D { int32 d = 1; } }\n"
             "message B { int32 b = 1; }";
    assert_body(schema, BYTES("\0\x08\1"), "{\"a\":1}");
    assert_body(schema, BYTES("\2\0\x08\1"), "{\"a\":1}");
    assert_body(schema, BYTES("\2\2\x08\1"), "{\"b\":1}");
    assert_body(schema, BYTES("\4\0\2\x08\1"), "{\"d\":1}");
    assert_body(schema, BYTES("\2\4\x08\1"), "no such message");
    assert_body(schema, BYTES("\6\0\0\0\x08\1"), "no such message");
    assert_body(schema, BYTES("\1"), "no such message");
    assert_body(schema, BYTES(""), "ends too early");
}

/* As Confluent's converter writes them, and what else may stand in a text. */
static void texts_of_others(void **unused) {
    (void)unused;
    assert_body(
        "// a comment\nsyntax = 'proto3'; /* a; \n message */ package a.b;\n"
        "import \"confluent/meta.proto\"; import public 'x.proto';\n"
        "option java_package = \"a;b\"; option (x).y = { a: \"}\" b: [1, 2] };\n"
        "message Envelope {\n  option (confluent.message_meta) = {params: [{value: \"1\", key: \"v\"}]};\n"
        "  Value before = 1; a.b.Envelope.Value after = 2 [(confluent.field_meta) = {params: [\n"
        "  { key: \"]\", value: \"};\" }]}, json_name = \"x\"]; .a.b.Other other = 3;\n"
        "  reserved 4, 5 to 8; reserved \"foo\"; extensions 100 to 199;\n"
        "  message Value { Value self = 1; Other other = 2; b.Other more = 0x3; } ; }\n"
        "message Other { }\nextend google.protobuf.FieldOptions { string y = 1; }\n"
        "service S { rpc Do (Other) returns (stream Other) { option deadline = 1; } }\n",
        BYTES("\0\x0a\2\x0a\0\x1a\0"),
        "{\"before\":{\"self\":{\"self\":null,\"other\":null,\"more\":null},\"other\":null,\"more\":null},"
        "\"after\":null,\"other\":{}}");
    assert_body(
        "message M { required int32 a = 1; optional string b = 2 [default = \"x\"]; repeated int32 c = 3; }",
        BYTES("\0\x08\1"), "{\"a\":1,\"b\":null,\"c\":[]}");
}

static void bytes_that_do_not_fit(void **unused) {
    (void)unused;
    static const char schema[] =
        HEAD "message M { int32 a = 1; string b = 2; M c = 3; repeated int32 d = 4;\n"
             "  map<string, int32> e = 5; }";
    assert_body(schema, BYTES("\0\x08"), "ends too early (byte 2 of 2)");
    assert_body(schema, BYTES("\0\x0a\1x"), "another type than in its schema");
    assert_body(schema, BYTES("\0\x0b"), "another type than in its schema");
    assert_body(schema, BYTES("\0\x25\0\0\0\0"), "another type than in its schema");
    assert_body(schema, BYTES("\0\x30\1"), "a field is not in its schema");
    assert_body(schema, BYTES("\0\0"), "a field is not in its schema");
    assert_body(schema, BYTES("\0\x12\3ab"), "a length goes beyond the end");
    assert_body(schema, BYTES("\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"),
                "a length goes beyond the end");
    assert_body(schema, BYTES("\0\x12\1\xff"), "not UTF-8");
    assert_body(schema, BYTES("\0\x1a\2\x12\5abcde"), "a length goes beyond the end");
    assert_body(schema, BYTES("\0\x22\1\x80"), "ends too early");
    assert_body(schema, BYTES("\0\x2a\4\x0a\2a\0"), "zero byte");
    assert_body(schema, BYTES("\0\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1"), "more than 64 bits");
    char deep[1000];
    size_t from = sizeof deep;
    for (size_t level = 0; level < 110; level++) { /* from the inmost outwards; each length in two bytes */
        size_t length = sizeof deep - from;
        deep[--from] = (char)(length >> 7);
        deep[--from] = (char)((length & 0x7f) | 0x80);
        deep[--from] = 0x1a;
    }
    deep[--from] = 0;
    assert_body(schema, (Slice){deep + from, sizeof deep - from}, "too deep in each other");
}

static void schemas_that_are_none(void **unused) {
    (void)unused;
    static const char *const texts[] = {
        "",
        "syntax = \"proto3\";",
        "message",
        "message M {",
        "message M { int32 a }",
        "message M { int32 a = x; }",
        "message M { int32 a = 0; }",
        "message M { int32 a = 536870912; }",
        "message M { int32 a = 1 [",
        "message M { enum E { } }",
        "message M { repeated group G = 1 { } }",
        "message M { map<int32 a = 1; }",
        "message M { oneof x { int32 a = 1;",
        "option x = \"",
        "nonsense",
        "/* message M { }",
    };
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++) {
        Error e = {0};
        if (protobuf_decoder_new(slice_text(texts[at]), &e) != NULL)
            fail_test("%s", texts[at]);
        assert_int_equal(e.kind, ERR_DATA);
        assert_non_null(strstr(e.text, "a Protobuf schema cannot be read: "));
    }
    Writer deep = writer_new(10000);
    for (int level = 0; level < 100; level++)
        writer_text(&deep, "message M { ");
    assert_body(writer_string(&deep), BYTES("\0"), "messages too deep in each other in line 1");
    writer_free(&deep);
    assert_body(
        "import \"google/protobuf/wrappers.proto\";\nmessage M { google.protobuf.StringValue v = 1; }",
        BYTES("\0"), "the type \"google.protobuf.StringValue\" is not in it, and imports are not read");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scalars),
                                       cmocka_unit_test(presence_lists_and_maps),
                                       cmocka_unit_test(which_message),
                                       cmocka_unit_test(texts_of_others),
                                       cmocka_unit_test(bytes_that_do_not_fit),
                                       cmocka_unit_test(schemas_that_are_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
