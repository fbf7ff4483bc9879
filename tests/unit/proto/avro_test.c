#include "proto/avro.h"

#include <stdio.h>

#include "proto/avro_fingerprint.h"
#include "proto/avro_values.h"
#include "proto/every_type.h"
#include "proto/format.h"

enum { KEY_ID = 7, VALUE_ID = 0x01020304 };

typedef struct Fixture {
    Arena *arena;
    Records avro, json;
    EventTable *table;
    Format format;
    Error e;
} Fixture;

static int fixture_make(void **state) {
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    f->arena = arena;
    f->avro = records_new(1 << 20);
    f->json = records_new(1 << 20);
    f->table = table_make(arena, COLUMNS, COLUMN_COUNT);
    f->format = (Format){.tombstones = true, .origin = &ORIGIN};
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    records_free(&f->avro);
    records_free(&f->json);
    arena_free(f->arena);
    return 0;
}

/* ---- both formats of one event ---- */

static FormatTable *table_of(Fixture *f, FormatName name) {
    Format *format = arena_alloc(f->arena, sizeof *format);
    *format = f->format;
    format->name = name;
    FormatTable *table = format_table_new(f->arena, format, f->table, &f->e);
    if (table == NULL)
        fail_test("%s", f->e.text);
    format_table_ids(table, KEY_ID, VALUE_ID);
    return table;
}

static AvroReader reader_of(const FormatTable *table, bool key) {
    Writer text = writer_new(1 << 20);
    (key ? format_key_schema : format_value_schema)(table, &text);
    AvroReader reader = avro_reader_make(writer_slice(&text));
    writer_free(&text);
    return reader;
}

static void assert_decoded(const json_t *is, const json_t *json);

/* A map whose keys are no strings is a list of pairs there. */
static void assert_decoded_list(const json_t *is, const json_t *json) {
    assert_int_equal(json_array_size(is), json_array_size(json));
    for (size_t at = 0; at < json_array_size(json); at++) {
        const json_t *item = json_array_get(is, at), *wanted = json_array_get(json, at);
        if (json_is_object(item) && json_is_array(wanted)) {
            assert_decoded(json_object_get(item, "key"), json_array_get(wanted, 0));
            assert_decoded(json_object_get(item, "value"), json_array_get(wanted, 1));
        } else
            assert_decoded(item, wanted);
    }
}

static void assert_decoded_object(const json_t *is, const json_t *json) {
    Arena *arena = arena_new();
    const char *name, *given;
    json_t *member, *wanted;
    json_object_foreach((json_t *)(uintptr_t)is, name, member) {
        const json_t *match = NULL;
        json_object_foreach((json_t *)(uintptr_t)json, given, wanted) {
            if (strcmp(avro_field_name(arena, given), name) == 0)
                match = wanted;
        }
        if (match == NULL)
            assert_true(json_is_null(member));
        else
            assert_decoded(member, match);
    }
    arena_free(arena);
}

/* As JSON says it, but for the names that Avro cannot have. */
static void assert_decoded(const json_t *is, const json_t *json) {
    if (json_is_object(json))
        assert_decoded_object(is, json);
    else if (json_is_array(json))
        assert_decoded_list(is, json);
    else if (json_is_real(is))
        assert_true(json_number_value(is) == json_number_value(json));
    else
        assert_true(json_equal(is, json));
}

static void decode_span(const AvroReader *reader, Slice body, const json_t *wanted) {
    Error e;
    json_t *is = avro_decode(reader->decoder, (Slice){body.at + 5, body.len - 5}, &e);
    if (is == NULL)
        fail_test("%s", e.text);
    assert_decoded(is, wanted);
    json_decref(is);
    for (size_t len = 0; len + 5 < body.len; len++) {
        assert_null(avro_decode(reader->decoder, (Slice){body.at + 5, len}, &e));
        assert_int_equal(e.kind, ERR_DATA);
    }
}

static void compare_span(AvroReader *reader, uint32_t id, const Fixture *f, Span avro, Span json) {
    assert_int_equal(avro.exists, json.exists);
    if (!avro.exists)
        return;
    Slice text = records_view(&f->json, json);
    json_t *wanted = json_loadb(text.at, text.len, JSON_DECODE_ANY, NULL);
    assert_non_null(wanted);
    assert_same(avro_body_read(reader, records_view(&f->avro, avro), id), wanted);
    decode_span(reader, records_view(&f->avro, avro), wanted);
    json_decref(wanted);
}

/* Headers are text in every format, also where they name a key. */
static void compare_headers(const Fixture *f, const Record *avro, const Record *json) {
    assert_int_equal(avro->header_count, json->header_count);
    for (int at = 0; at < avro->header_count; at++) {
        assert_string_equal(avro->headers[at].name, json->headers[at].name);
        assert_true(slice_equal(records_view(&f->avro, avro->headers[at].value),
                                records_view(&f->json, json->headers[at].value)));
    }
}

static void compare_records(const Fixture *f, const FormatTable *table) {
    AvroReader keys = {0}, values = reader_of(table, false);
    if (format_has_key(table))
        keys = reader_of(table, true);
    assert_int_equal(f->avro.count, f->json.count);
    for (int at = 0; at < f->avro.count; at++) {
        compare_span(&keys, KEY_ID, f, f->avro.list[at].key, f->json.list[at].key);
        compare_span(&values, VALUE_ID, f, f->avro.list[at].value, f->json.list[at].value);
        compare_headers(f, &f->avro.list[at], &f->json.list[at]);
    }
    if (format_has_key(table))
        avro_reader_drop(&keys);
    avro_reader_drop(&values);
}

static void compare(Fixture *f, EventOp op, const char *before, const char *after) {
    const EventBlock block = {.id = "571:1", .total_order = 3, .data_collection_order = 1};
    const Event event = {.op = op,
                         .place = &PLACE,
                         .block = op == EVENT_READ ? &block : NULL,
                         .before = values_make(f->arena, f->table, before),
                         .after = values_make(f->arena, f->table, after)};
    const FormatTable *avro = table_of(f, FORMAT_AVRO), *json = table_of(f, FORMAT_JSON);
    if (!format_event(avro, &event, f->arena, &f->avro, &f->e) ||
        !format_event(json, &event, f->arena, &f->json, &f->e))
        fail_test("%s", f->e.text);
    compare_records(f, avro);
}

/* ---- tests ---- */

static void bodies_say_what_json_says(void **state) {
    Fixture *f = *state;
    for (int bits = 0; bits < 3 * 3 * 2; bits++) {
        f->format.envelope = (FormatEnvelope)(bits % 3);
        f->format.toast = (FormatToast)(bits / 3 % 3);
        f->format.null_is_default = bits / 9 != 0;
        if (f->format.envelope == ENVELOPE_DEBEZIUM && f->format.toast == TOAST_ABSENT)
            continue; /* there JSON leaves out what is required, too */
        compare(f, EVENT_CREATE, NULL, ROW_TEXT);
        compare(f, EVENT_READ, NULL, NULLS);
        compare(f, EVENT_UPDATE, NULL, SPECIAL);
        compare(f, EVENT_UPDATE, SPECIAL, SPECIAL);
        compare(f, EVENT_UPDATE, NULL, UNCHANGED);
        compare(f, EVENT_UPDATE, NULLS, UNCHANGED);
        compare(f, EVENT_UPDATE, KEY_ONLY, ROW_TEXT); /* the key changes */
        compare(f, EVENT_DELETE, KEY_ONLY, NULL);
        compare(f, EVENT_DELETE, ROW_TEXT, NULL);
        compare(f, EVENT_TRUNCATE, NULL, NULL);
    }
}

static void a_table_without_a_key(void **state) {
    Fixture *f = *state;
    f->table = table_make(f->arena, COLUMNS + 1, 3);
    compare(f, EVENT_CREATE, NULL, "t|1|\\N");
    assert_false(f->avro.list[0].key.exists);
}

static void bytes_are_those_of_the_specification(void **state) {
    static const ColumnMake columns[] = {{.name = "id", .oid = 23, .key = true}, {.name = "v", .oid = 25}};
    static const char key[] = "\0\0\0\0\7\x7f", value[] = "\0\1\2\3\4\2\x7f\2\4ab\2c\xac\x02";
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 2);
    f->format.envelope = ENVELOPE_FLAT;
    compare(f, EVENT_CREATE, NULL, "-64|ab");
    assert_memory_equal(records_view(&f->avro, f->avro.list[0].key).at, key, sizeof key - 1);
    assert_int_equal(f->avro.list[0].key.len, sizeof key - 1);
    assert_memory_equal(records_view(&f->avro, f->avro.list[0].value).at, value, 11);
}

static void longs_at_their_limits(void **state) {
    static const char *const numbers[] = {"0",
                                          "-1",
                                          "1",
                                          "-64",
                                          "63",
                                          "64",
                                          "-65",
                                          "8191",
                                          "-8192",
                                          "8192",
                                          "134217727",
                                          "134217728",
                                          "9223372036854775807",
                                          "-9223372036854775808"};
    static const size_t lengths[] = {1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4, 5, 10, 10};
    static const ColumnMake columns[] = {{.name = "id", .oid = 20, .key = true}};
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 1);
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++) {
        compare(f, EVENT_CREATE, NULL, numbers[at]);
        assert_int_equal(f->avro.list[0].key.len, 5 + lengths[at]);
    }
}

static void floats_are_rounded_once(void **state) {
    static const ColumnMake columns[] = {{.name = "f", .oid = 700, .not_null = true}};
    Fixture *f = *state;
    srandom(3);
    f->table = table_make(f->arena, columns, 1);
    const Kind *kind = f->table->columns[0].kind;
    const AvroNode *node = avro_node_new(f->arena, kind);
    Writer out = writer_new(1000);
    for (int round = 0; round < 20000; round++) {
        uint32_t bits = (uint32_t)random() << 1 ^ (uint32_t)random();
        float is;
        char text[40];
        memcpy(&is, &bits, sizeof is);
        if (!isfinite(is))
            continue;
        snprintf(text, sizeof text, "%.9g", (double)is);
        const Datum datum = {.kind = DATUM_FLOAT, .bytes = slice_text(text)};
        writer_reset(&out);
        avro_datum_write(&out, node, &datum);
        assert_int_equal(out.len, 4);
        assert_memory_equal(out.at, &is, 4);
    }
    writer_free(&out);
}

/* The numbers are those of the Avro project's own tests (share/test/data/schema-tests.txt). */
static void fingerprints_are_avros(void **state) {
    static const ColumnMake columns[] = {
        {.name = "id", .oid = 23, .key = true},
        {.name = "v", .oid = 25, .default_expression = "'x'::text"},
        {.name = "a b", .oid = 1700},
        {.name = "ns", .oid = 1700, .array = true},
        {.name = "s", .oid = FIRST_OID, .type_name = "sparsevec"},
        {.name = "g", .oid = FIRST_OID, .type_name = "geometry"},
    };
    Fixture *f = *state;
    assert_true(avro_fingerprint(slice_text("\"null\"")) == UINT64_C(7195948357588979594));
    assert_true(avro_fingerprint(slice_text("\"int\"")) == UINT64_C(8247732601305521295));
    Writer form = writer_new(10000);
    f->table = table_make(f->arena, columns, 6);
    avro_canonical_write(&form, event_row(f->arena, f->table));
    for (size_t at = 0; at < form.len; at++) /* for the eye */
        form.at[at] = form.at[at] == '"' ? '\'' : form.at[at];
    assert_string_equal(
        writer_string(&form),
        "{'name':'shop.public.t.Value','type':'record','fields':["
        "{'name':'id','type':['null','int']},{'name':'v','type':['string','null']},"
        "{'name':'a_b','type':['null',{'name':'io.debezium.data.VariableScaleDecimal','type':'record',"
        "'fields':[{'name':'scale','type':'int'},{'name':'value','type':'bytes'}]}]},"
        "{'name':'ns','type':['null',{'type':'array','items':['null','io.debezium.data.VariableScaleDecimal']"
        "}]},"
        "{'name':'s','type':['null',{'name':'io.debezium.data.SparseDoubleVector','type':'record',"
        "'fields':[{'name':'dimensions','type':'int'},{'name':'vector','type':{'type':'array',"
        "'items':{'name':'io.confluent.connect.avro.MapEntry','type':'record','fields':["
        "{'name':'key','type':'int'},{'name':'value','type':'double'}]}}}]}]},"
        "{'name':'g','type':['null',{'name':'io.debezium.data.geometry.Geometry','type':'record',"
        "'fields':[{'name':'wkb','type':'bytes'},{'name':'srid','type':['null','int']},"
        "{'name':'extensions','type':['null',{'type':'map','values':'string'}]}]}]}]}");
    writer_free(&form);
}

static void single_objects_need_no_registry(void **state) {
    Fixture *f = *state;
    const Event event = {
        .op = EVENT_CREATE, .place = &PLACE, .after = values_make(f->arena, f->table, ROW_TEXT)};
    const FormatTable *plain = table_of(f, FORMAT_AVRO);
    assert_true(format_event(plain, &event, f->arena, &f->json, &f->e));
    f->format.single_object = true;
    const FormatTable *single = table_of(f, FORMAT_AVRO);
    assert_true(format_event(single, &event, f->arena, &f->avro, &f->e));
    const Span spans[2][2] = {{f->json.list[0].key, f->avro.list[0].key},
                              {f->json.list[0].value, f->avro.list[0].value}};
    const uint64_t fingerprints[] = {format_key_fingerprint(single), format_value_fingerprint(single)};
    assert_true(fingerprints[0] != fingerprints[1]);
    for (int at = 0; at < 2; at++) {
        Slice body = records_view(&f->json, spans[at][0]), object = records_view(&f->avro, spans[at][1]);
        Reader head = reader_new(object);
        uint64_t sum = 0;
        assert_int_equal(reader_u16(&head), 0xc301);
        for (int byte = 0; byte < 8; byte++)
            sum |= (uint64_t)reader_u8(&head) << 8 * byte;
        assert_true(sum == fingerprints[at]);
        assert_true(
            slice_equal((Slice){object.at + 10, object.len - 10}, (Slice){body.at + 5, body.len - 5}));
    }
    f->format.name = FORMAT_AVRO;
    assert_false(format_has_ids(&f->format));
    f->format.name = FORMAT_PROTOBUF;
    assert_true(format_has_ids(&f->format));
}

static void names_that_fall_together_are_refused(void **state) {
    static const ColumnMake columns[] = {
        {.name = "a-b", .oid = 25}, {.name = "x", .oid = 25}, {.name = "a_b", .oid = 25}};
    static const ColumnMake mark[] = {{.name = "__op", .oid = 25}};
    Fixture *f = *state;
    f->format.name = FORMAT_AVRO;
    EventTable *table = table_make(f->arena, columns, 3);
    assert_null(format_table_new(f->arena, &f->format, table, &f->e));
    assert_int_equal(f->e.kind, ERR_CONFIG);
    assert_true(f->e.hint[0] != '\0');
    f->format.name = FORMAT_JSON;
    assert_non_null(format_table_new(f->arena, &f->format, table, &f->e));
    f->format.envelope = ENVELOPE_FLAT;
    table = table_make(f->arena, mark, 1);
    assert_null(format_table_new(f->arena, &f->format, table, &f->e));
    assert_string_equal(f->e.text, "\"__op\" and \"__op\" of public.t have one name in the topic, \"__op\"");
    f->format.envelope = ENVELOPE_ROW;
    assert_non_null(format_table_new(f->arena, &f->format, table, &f->e));
}

/* ---- records that are not of a table ---- */

static FormatTable *(*const MAKERS[])(Arena *, const Format *) = {format_messages_new, format_heartbeats_new,
                                                                  format_transactions_new};

static bool write_other(Fixture *f, int which, bool ends, const FormatTable *table, Records *out) {
    static const EventCount counts[] = {{"public.a", 2}, {"public.b", 1}};
    const EventMessage message = {.place = &PLACE, .prefix = slice_text("p\"x"), .content = {"\0\1\2", 3}};
    const EventTransaction transaction = {
        .place = &PLACE, .id = "571:24023128", .ends = ends, .count = 3, .table_count = 2, .tables = counts};
    switch (which) {
    case 0: return format_message(table, &message, out, &f->e);
    case 1: return format_heartbeat(table, 1700000001000999, out, &f->e);
    default: return format_transaction(table, &transaction, f->arena, out, &f->e);
    }
}

static void other_records_in_both_formats(void **state) {
    Fixture *f = *state;
    Format formats[2] = {f->format, f->format};
    formats[0].name = FORMAT_AVRO;
    for (int which = 0; which < 4; which++) {
        int maker = which > 2 ? 2 : which;
        FormatTable *avro = MAKERS[maker](f->arena, &formats[0]),
                    *json = MAKERS[maker](f->arena, &formats[1]);
        format_table_ids(avro, KEY_ID, VALUE_ID);
        assert_true(write_other(f, maker, which == 3, avro, &f->avro));
        assert_true(write_other(f, maker, which == 3, json, &f->json));
        compare_records(f, avro);
    }
}

static void other_records_are_debeziums(void **state) {
    static const char *const keys[] = {"{\"prefix\":\"p\\\"x\"}", "{\"serverName\":\"shop\"}",
                                       "{\"id\":\"571:24023128\"}", "{\"id\":\"571:24023128\"}"};
    static const char *const values[] = {
        NULL, "{\"ts_ms\":1700000001000}",
        "{\"status\":\"BEGIN\",\"id\":\"571:24023128\",\"event_count\":null,\"data_collections\":null,"
        "\"ts_ms\":1700000000123}",
        "{\"status\":\"END\",\"id\":\"571:24023128\",\"event_count\":3,\"data_collections\":["
        "{\"data_collection\":\"public.a\",\"event_count\":2},{\"data_collection\":\"public.b\","
        "\"event_count\":1}],\"ts_ms\":1700000000123}"};
    Fixture *f = *state;
    for (int which = 0; which < 4; which++) {
        int maker = which > 2 ? 2 : which;
        assert_true(write_other(f, maker, which == 3, MAKERS[maker](f->arena, &f->format), &f->json));
        assert_true(slice_is(records_view(&f->json, f->json.list[0].key), keys[which]));
        if (values[which] != NULL)
            assert_true(slice_is(records_view(&f->json, f->json.list[0].value), values[which]));
        assert_int_equal(f->json.list[0].header_count, maker == 1 ? 0 : 3);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(bodies_say_what_json_says),
                                       TEST(a_table_without_a_key),
                                       TEST(bytes_are_those_of_the_specification),
                                       TEST(longs_at_their_limits),
                                       TEST(floats_are_rounded_once),
                                       TEST(fingerprints_are_avros),
                                       TEST(single_objects_need_no_registry),
                                       TEST(names_that_fall_together_are_refused),
                                       TEST(other_records_in_both_formats),
                                       TEST(other_records_are_debeziums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
