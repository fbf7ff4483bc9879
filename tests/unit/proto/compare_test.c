#include <stdio.h>
#include <string.h>

#include "proto/compare.h"
#include "testing.h"

static const char *const PREFIXES[SIDES] = {"shop", "dbz"};

typedef struct Found {
    int count;
    char text[4000]; /* "path ours theirs;" of each */
    int64_t fields;
} Found;

static void differ(void *context, const char *path, const char *const values[SIDES]) {
    Found *found = context;
    size_t length = strlen(found->text);
    found->count++;
    snprintf(found->text + length, sizeof found->text - length, "%s %s %s;", path, values[OURS],
             values[THEIRS]);
}

/* What it makes of bytes is their number. */
static json_t *decode(void *context, Slice bytes, Error *e) {
    if (bytes.len != *(const size_t *)context)
        return json_integer((json_int_t)bytes.len);
    fail(e, ERR_DATA, "no schema");
    return NULL;
}
static size_t refused_length;
static const CompareDecoder DECODER = {&refused_length, decode};

static CompareRecord record_of(const char *key, const char *value) {
    CompareRecord out = {.headers = NULL};
    if (key != NULL)
        out.key = slice_text(key);
    if (value != NULL)
        out.value = slice_text(value);
    return out;
}

static Found compare(CompareRecord ours, CompareRecord theirs) {
    Found found = {.count = 0};
    Error e;
    CompareParsed parsed[SIDES];
    assert_true(compare_parse(&ours, &DECODER, &parsed[OURS], &e));
    assert_true(compare_parse(&theirs, &DECODER, &parsed[THEIRS], &e));
    found.fields = compare_records((const CompareParsed *)parsed, PREFIXES, differ, &found);
    compare_parsed_free(&parsed[OURS]);
    compare_parsed_free(&parsed[THEIRS]);
    return found;
}

static void assert_values(const char *ours, const char *theirs, const char *expected) {
    Found found = compare(record_of("1", ours), record_of("1", theirs));
    assert_string_equal(found.text, expected);
    found = compare(record_of("1", ours), record_of("1", ours));
    assert_int_equal(found.count, 0);
}

static void each_field_is_seen(void **unused) {
    (void)unused;
    assert_values("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", "");
    assert_values("{\"a\":1}", "{\"a\":\"1\"}", "value.a 1 \"1\";");
    assert_values("{\"a\":1}", "{\"a\":1,\"b\":null}", "value.b (absent) null;");
    assert_values("{\"a\":{\"b\":[1,{\"c\":2}]}}", "{\"a\":{\"b\":[1,{\"c\":3}]}}", "value.a.b[1].c 2 3;");
    assert_values("{\"a\":[1]}", "{\"a\":[1,2]}", "value.a [1] [1,2];");
    assert_values("{\"a\":9007199254740993}", "{\"a\":9007199254740992}",
                  "value.a 9007199254740993 9007199254740992;");
    assert_values("{\"a\":1.0E10}", "{\"a\":10000000000}", "");
    assert_values("{\"a\":0.1}", "{\"a\":0.25}", "value.a 0.10000000000000001 0.25;");
    assert_values(NULL, "{}", "value (absent) {};");
    assert_values("{\"a\":1}", "[1]", "value {\"a\":1} [1];");
    assert_values("no json", "no jsox", "value \"no json\" \"no jsox\";");
    assert_values("\xff\x01", "\xff\x02", "value \"\\\\xff01\" \"\\\\xff02\";");
    Found found = compare(record_of("{\"id\":1}", "{}"), record_of("{\"id\":2}", "{}"));
    assert_string_equal(found.text, "key.id 1 2;");
    found = compare(record_of(NULL, "1"), record_of("1", "1"));
    assert_string_equal(found.text, "key (absent) 1;");
}

#define EVENT(op, source, more)                                                                              \
    "{\"before\":null,\"after\":{\"ts_ms\":1},\"source\":{" source "},\"op\":\"" op "\"" more "}"

static void names_and_clocks_are_left_out(void **unused) {
    (void)unused;
    assert_values(EVENT("c", "\"version\":\"1\",\"name\":\"shop\",\"ts_ms\":5,\"lsn\":7", ",\"ts_ms\":1"),
                  EVENT("c", "\"version\":\"2\",\"name\":\"dbz\",\"ts_ms\":5,\"lsn\":7", ",\"ts_ms\":2"), "");
    assert_values(EVENT("c", "\"ts_ms\":5,\"lsn\":7", ""), EVENT("c", "\"ts_ms\":6,\"lsn\":8", ""),
                  "value.source.ts_ms 5 6;value.source.lsn 7 8;");
    assert_values(EVENT("r", "\"ts_us\":5,\"lsn\":7,\"snapshot\":\"first\"", ""),
                  EVENT("r", "\"ts_us\":6,\"lsn\":8,\"snapshot\":\"last\"", ""), "");
    assert_values(EVENT("r", "\"lsn\":7", ""), EVENT("c", "\"lsn\":8", ""),
                  "value.source.lsn 7 8;value.op \"r\" \"c\";");
    assert_values(EVENT("m", "\"ts_us\":5", ""), EVENT("m", "\"ts_us\":6,\"txId\":null", ""),
                  "value.source.txId (absent) null;");
    assert_values(EVENT("m", "\"ts_us\":5,\"txId\":1", ""), EVENT("m", "\"ts_us\":6,\"txId\":1", ""),
                  "value.source.ts_us 5 6;");
    /* columns of a row may be called so, too */
    assert_values("{\"ts_ms\":1,\"version\":1}", "{\"ts_ms\":2,\"version\":1}", "value.ts_ms 1 2;");
    assert_values("{\"status\":\"END\",\"data_collections\":null,\"ts_ms\":1}",
                  "{\"status\":\"END\",\"data_collections\":null,\"ts_ms\":2}", "");
}

#define WRAPPED(name, fields, payload)                                                                       \
    "{\"schema\":{\"type\":\"struct\",\"fields\":[" fields "],\"name\":\"" name "\"},\"payload\":" payload "}"
#define FIELD(name, type) "{\"field\":\"" name "\",\"type\":\"" type "\"}"

static void schemas_are_compared_by_their_fields(void **unused) {
    (void)unused;
    assert_values(WRAPPED("shop.t.Envelope", FIELD("a", "int32") "," FIELD("b", "string"), "{\"a\":1}"),
                  WRAPPED("dbz.t.Envelope", FIELD("b", "string") "," FIELD("a", "int32"), "{\"a\":1}"), "");
    assert_values(WRAPPED("shop.t.Envelope", FIELD("a", "int32"), "{\"a\":1}"),
                  WRAPPED("shop.t.Envelope", FIELD("a", "int64"), "{\"a\":2}"),
                  "value.schema.fields.a.type \"int32\" \"int64\";value.a 1 2;");
    assert_values(WRAPPED("shop.t.Envelope", "", "{}"), WRAPPED("dbz.u.Envelope", "", "{}"),
                  "value.schema.name \"shop.t.Envelope\" \"dbz.u.Envelope\";");
    assert_values(WRAPPED("dbz.t", "", "{}"), WRAPPED("shop.t", "", "{}"),
                  "value.schema.name \"dbz.t\" \"shop.t\";");
    assert_values("{\"a\":1}", WRAPPED("dbz.t", "", "{\"a\":1}"),
                  "value.schema (absent) {\"type\":\"struct\",\"fields\":[],\"name\":\"dbz.t\"};");
    /* a prefix in a value is a value */
    assert_values("{\"name\":\"shop.t\"}", "{\"name\":\"dbz.t\"}", "value.name \"shop.t\" \"dbz.t\";");
}

static void headers_are_compared_but_for_those_that_name_the_writer(void **unused) {
    (void)unused;
    CompareHeader ours[] = {{"walferry.lsn", {"0/1", 3}}, {"__debezium.newkey", {"{\"id\":1}", 8}}};
    CompareHeader theirs[] = {
        {"__debezium.newkey", {"{\"id\":2}", 8}}, {"__debezium.context.taskId", {"0", 1}}, {"x", {NULL, 0}}};
    CompareRecord our = record_of("1", "2"), their = our;
    our.headers = ours;
    our.header_count = 2;
    their.headers = theirs;
    their.header_count = 3;
    Found found = compare(our, their);
    assert_string_equal(found.text, "headers.__debezium.newkey.id 1 2;headers.x (absent) null;");
}

static void keys_are_equal_by_what_they_say(void **unused) {
    (void)unused;
    const char *const keys[] = {"{\"id\":1,\"a\":\"x\"}", "{ \"a\" : \"x\", \"id\" : 1 }",
                                WRAPPED("dbz.t.Key", "", "{\"a\":\"x\",\"id\":1}")};
    for (size_t key = 0; key < 3; key++) {
        Error e;
        CompareParsed parsed;
        CompareRecord record = record_of(keys[key], NULL);
        Writer out = writer_new(100);
        assert_true(compare_parse(&record, &DECODER, &parsed, &e));
        compare_key_write(&parsed, &out);
        assert_string_equal(writer_string(&out), "{\"a\":\"x\",\"id\":1}");
        writer_free(&out);
        compare_parsed_free(&parsed);
    }
}

static void bodies_of_other_schemas_are_decoded(void **unused) {
    (void)unused;
    CompareRecord one = {.key = {"\0\0\0\0\1x", 6}, .value = {"\xc3\x01xxxxxxxx", 10}}, other = one;
    other.value.len = 11;
    Found found = compare(one, other);
    assert_string_equal(found.text, "value 10 11;");
    assert_int_equal(found.fields, 2);
    other.value = slice_text("10"); /* each side as it likes */
    assert_int_equal(compare(one, other).count, 0);
    for (refused_length = 6; refused_length <= 10; refused_length += 4) {
        Error e;
        CompareParsed parsed;
        assert_false(compare_parse(&one, &DECODER, &parsed, &e));
        assert_int_equal(e.kind, ERR_DATA);
        assert_string_equal(e.text, refused_length == 6 ? "the key: no schema" : "the value: no schema");
        assert_null(parsed.key);
    }
    refused_length = 0;
}

static void long_values_are_cut(void **unused) {
    (void)unused;
    char text[1000] = "\"";
    for (int at = 0; at < 400; at++)
        strcat(text, "ü");
    strcat(text, "\"");
    Found found = compare(record_of("1", text), record_of("1", "1"));
    assert_non_null(strstr(found.text, "ü... (802 bytes) 1;"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_is_seen),
        cmocka_unit_test(names_and_clocks_are_left_out),
        cmocka_unit_test(schemas_are_compared_by_their_fields),
        cmocka_unit_test(headers_are_compared_but_for_those_that_name_the_writer),
        cmocka_unit_test(keys_are_equal_by_what_they_say),
        cmocka_unit_test(bodies_of_other_schemas_are_decoded),
        cmocka_unit_test(long_values_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
