/* What the front decides for all formats, seen in JSON. */
#include "proto/format.h"

#include <stdio.h>

#include "proto/events.h"
#include "testing.h"

static const ColumnMake COLUMNS[] = {
    {.name = "id", .oid = 23, .key = true}, {.name = "v", .oid = 25}, {.name = "big", .oid = 25}};

typedef struct Fixture {
    Arena *arena;
    Records out;
    EventTable *table;
    Format format;
    Error e;
} Fixture;

static int fixture_make(void **state) {
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    f->arena = arena;
    f->out = records_new(1 << 20);
    f->table = table_make(arena, COLUMNS, 3);
    f->format = (Format){.envelope = ENVELOPE_ROW, .tombstones = true, .origin = &ORIGIN};
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    records_free(&f->out);
    arena_free(f->arena);
    return 0;
}

static void encode(Fixture *f, EventOp op, const char *before, const char *after) {
    const FormatTable *table = format_table_new(f->arena, &f->format, f->table, &f->e);
    const Event event = {.op = op,
                         .place = &PLACE,
                         .before = values_make(f->arena, f->table, before),
                         .after = values_make(f->arena, f->table, after)};
    assert_true(format_event(table, &event, f->arena, &f->out, &f->e));
}

static const char *text_of(Fixture *f, Span span) {
    return span.exists ? arena_text(f->arena, records_view(&f->out, span)) : "(null)";
}

/* "key value name=value name=value": headers behind the three that are always there. */
static void assert_record(Fixture *f, int number, const char *expected) {
    const Record *record = &f->out.list[number];
    Writer text = writer_new(10000);
    writer_format(&text, "%s %s", text_of(f, record->key), text_of(f, record->value));
    assert_string_equal(record->headers[0].name, "walferry.lsn");
    for (int at = 3; at < record->header_count; at++)
        writer_format(&text, " %s=%s", record->headers[at].name, text_of(f, record->headers[at].value));
    assert_string_equal(writer_string(&text), expected);
    writer_free(&text);
}

static void a_row_has_its_marks_in_headers(void **state) {
    Fixture *f = *state;
#define MARKS(op) " walferry.op=" op " walferry.ts_us=1700000000123456"
    encode(f, EVENT_CREATE, NULL, "1|a|\\N");
    assert_record(f, 0, "{\"id\":1} {\"id\":1,\"v\":\"a\",\"big\":null}" MARKS("c"));
    encode(f, EVENT_UPDATE, NULL, "1|b|?");
    assert_record(f, 0, "{\"id\":1} {\"id\":1,\"v\":\"b\"}" MARKS("u") " walferry.unchanged=[\"big\"]");
    encode(f, EVENT_DELETE, "1|-|-", NULL);
    assert_int_equal(f->out.count, 2);
    assert_record(f, 0, "{\"id\":1} {\"id\":1}" MARKS("d"));
    assert_record(f, 1, "{\"id\":1} (null)");
    encode(f, EVENT_TRUNCATE, NULL, NULL);
    assert_record(f, 0, "(null) {}" MARKS("t"));
    encode(f, EVENT_UPDATE, "1|a|x", "2|b|?");
    assert_int_equal(f->out.count, 3);
    assert_record(
        f, 0, "{\"id\":1} {\"id\":1,\"v\":\"a\",\"big\":\"x\"}" MARKS("d") " __debezium.newkey={\"id\":2}");
    assert_record(f, 1, "{\"id\":1} (null) __debezium.newkey={\"id\":2}");
    assert_record(f, 2,
                  "{\"id\":2} {\"id\":2,\"v\":\"b\"}" MARKS("c") " walferry.unchanged=[\"big\"]"
                                                                 " __debezium.oldkey={\"id\":1}");
}

#define CONTEXT                                                                                              \
    " __debezium.context.connectorLogicalName=shop __debezium.context.taskId=0"                              \
    " __debezium.context.connectorName=postgresql"

/* As Debezium's connector has them by default: on changes and tombstones. */
static void headers_name_the_connector_where_that_is_wished(void **state) {
    Fixture *f = *state;
    f->format.context = true;
    encode(f, EVENT_DELETE, "1|-|-", NULL);
    assert_record(f, 0, "{\"id\":1} {\"id\":1}" MARKS("d") CONTEXT);
    assert_record(f, 1, "{\"id\":1} (null)" CONTEXT);
}

/* Every header that one record can have fits. */
static void all_headers_at_once(void **state) {
    static const ColumnMake columns[] = {
        {.name = "id", .oid = 23, .key = true}, {.name = "day", .oid = 1082}, {.name = "big", .oid = 25}};
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 3);
    f->format.context = true;
    encode(f, EVENT_UPDATE, "1|-|-", "2|infinity|?");
    assert_record(f, 2,
                  "{\"id\":2} {\"id\":2,\"day\":null}" MARKS(
                      "c") " walferry.special={\"after\":{\"day\":\"infinity\"}}"
                           " walferry.unchanged=[\"big\"] __debezium.oldkey={\"id\":1}" CONTEXT);
}

static void complete_takes_the_old_value_in_every_envelope(void **state) {
    Fixture *f = *state;
    f->format.toast = TOAST_COMPLETE;
    for (int envelope = 0; envelope < 3; envelope++) {
        f->format.envelope = (FormatEnvelope)envelope;
        encode(f, EVENT_UPDATE, "1|a|long", "1|b|?");
        assert_non_null(strstr(text_of(f, f->out.list[0].value), "\"v\":\"b\",\"big\":\"long\""));
        encode(f, EVENT_UPDATE, "1|a|\\N", "1|b|?"); /* cannot be, but is NULL then */
        assert_non_null(strstr(text_of(f, f->out.list[0].value), "\"v\":\"b\",\"big\":null"));
        for (int at = 0; at < f->out.list[0].header_count; at++)
            assert_string_not_equal(f->out.list[0].headers[at].name, "walferry.unchanged");
    }
    f->format.envelope = ENVELOPE_DEBEZIUM;
    f->format.toast = TOAST_ABSENT;
    encode(f, EVENT_UPDATE, "1|a|long", "1|b|?");
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "\"after\":{\"id\":1,\"v\":\"b\"}"));
}

static void a_route_adds_a_field_to_the_key(void **state) {
    Fixture *f = *state;
    f->table->key_field = "__dbz__physicalTableIdentifier";
    f->table->key_value = "shop.public.t";
#define KEY(id) "{\"id\":" id ",\"__dbz__physicalTableIdentifier\":\"shop.public.t\"}"
    encode(f, EVENT_CREATE, NULL, "1|a|b");
    assert_record(f, 0, KEY("1") " {\"id\":1,\"v\":\"a\",\"big\":\"b\"}" MARKS("c"));
    encode(f, EVENT_UPDATE, "1|a|x", "2|b|y");
    assert_record(f, 1, KEY("1") " (null) __debezium.newkey={\"id\":2}");
    encode(f, EVENT_TRUNCATE, NULL, NULL);
    assert_record(f, 0, "(null) {}" MARKS("t"));
    f->table->key_field = "id";
    assert_null(format_table_new(f->arena, &f->format, f->table, &f->e));
    assert_string_equal(f->e.text, "the key of public.t has a field \"id\" already");
}

/* On the record of the new row only. */
static void values_that_were_read_later_are_marked(void **state) {
    Fixture *f = *state;
    f->format.toast = TOAST_COMPLETE;
    const FormatTable *table = format_table_new(f->arena, &f->format, f->table, &f->e);
    const bool columns[] = {false, true, true};
    const EventRead read = {.columns = columns, .at = {0x16B3800}};
    const Event event = {.op = EVENT_UPDATE,
                         .place = &PLACE,
                         .before = values_make(f->arena, f->table, "1|-|-"),
                         .after = values_make(f->arena, f->table, "2|read|\\N"),
                         .read = &read};
    assert_true(format_event(table, &event, f->arena, &f->out, &f->e));
    assert_record(f, 0, "{\"id\":1} {\"id\":1}" MARKS("d") " __debezium.newkey={\"id\":2}");
    assert_record(f, 1, "{\"id\":1} (null) __debezium.newkey={\"id\":2}");
    assert_record(f, 2,
                  "{\"id\":2} {\"id\":2,\"v\":\"read\",\"big\":null}" MARKS(
                      "c") " walferry.toast={\"lsn\":\"0/16B3800\",\"columns\":[\"v\",\"big\"]}"
                           " __debezium.oldkey={\"id\":1}");
}

static void records_can_be_used_by_tables_of_any_width(void **state) {
    static ColumnMake wide[COLUMNS_MAX];
    Fixture *f = *state;
    Writer row = writer_new(100000);
    for (int at = 0; at < COLUMNS_MAX; at++) {
        char name[16];
        snprintf(name, sizeof name, "c%d", at);
        wide[at] = (ColumnMake){.name = arena_text(f->arena, slice_text(name)), .oid = 23, .key = at < 32};
        writer_format(&row, "%s%d", at > 0 ? "|" : "", at);
    }
    f->format.name = FORMAT_AVRO;
    encode(f, EVENT_CREATE, NULL, "1|a|b");
    f->table = table_make(f->arena, wide, COLUMNS_MAX);
    encode(f, EVENT_UPDATE, writer_string(&row), writer_string(&row));
    assert_int_equal(f->out.count, 1);
    f->table = table_make(f->arena, COLUMNS, 3);
    encode(f, EVENT_CREATE, NULL, "1|a|b");
    writer_free(&row);
}

/* ---- shapes ---- */

static void a_shape_is_said_as_of_connectors_with_a_history(void **state) {
    static const char *const labels[] = {"red", "green"};
    static const EventType types[] = {
        {.oid = 23,
         .modifier = -1,
         .name = "int4",
         .not_null = true,
         .default_expression = "nextval('s'::regclass)"},
        {.oid = 1700, .modifier = (5 << 16 | (-2 & 0x7ff)) + 4, .name = "numeric"},
        {.oid = 99999, .modifier = -1, .name = "color", .label_count = 2, .labels = labels}};
    Fixture *f = *state;
    f->table->types = types;
    f->format.envelope = ENVELOPE_DEBEZIUM;
    const EventShape shape = {.place = &PLACE, .table = f->table, .altered = true};
    FormatTable *shapes = format_shapes_new(f->arena, &f->format);
    assert_true(format_shape(shapes, &shape, f->arena, &f->out, &f->e));
    assert_string_equal(text_of(f, f->out.list[0].key), "{\"databaseName\":\"shopdb\"}");
    const char *value = text_of(f, f->out.list[0].value);
    assert_non_null(strstr(value, "\"schema\":\"public\",\"table\":\"t\",\"txId\":571,\"lsn\":24023128,"));
    assert_string_equal(
        strstr(value, ",\"ts_ms\":1700000001000,"),
        ",\"ts_ms\":1700000001000,\"databaseName\":\"shopdb\",\"schemaName\":\"public\",\"ddl\":null,"
        "\"tableChanges\":[{\"type\":\"ALTER\",\"id\":\"\\\"public\\\".\\\"t\\\"\",\"table\":{"
        "\"defaultCharsetName\":null,"
        "\"primaryKeyColumnNames\":[\"id\"],\"columns\":["
        "{\"name\":\"id\",\"jdbcType\":4,\"nativeType\":23,\"typeName\":\"int4\",\"typeExpression\":\"int4\","
        "\"charsetName\":null,\"length\":null,\"scale\":null,\"position\":1,\"optional\":false,"
        "\"autoIncremented\":true,\"generated\":null,\"comment\":null,"
        "\"defaultValueExpression\":\"nextval('s'::regclass)\",\"enumValues\":null},"
        "{\"name\":\"v\",\"jdbcType\":2,\"nativeType\":1700,\"typeName\":\"numeric\",\"typeExpression\":"
        "\"numeric\","
        "\"charsetName\":null,\"length\":5,\"scale\":-2,\"position\":2,\"optional\":true,"
        "\"autoIncremented\":null,\"generated\":null,\"comment\":null,\"defaultValueExpression\":null,"
        "\"enumValues\":null},"
        "{\"name\":\"big\",\"jdbcType\":12,\"nativeType\":99999,\"typeName\":\"color\",\"typeExpression\":"
        "\"color\","
        "\"charsetName\":null,\"length\":null,\"scale\":null,\"position\":3,\"optional\":true,"
        "\"autoIncremented\":null,\"generated\":null,\"comment\":null,\"defaultValueExpression\":null,"
        "\"enumValues\":[\"red\",\"green\"]}],\"comment\":null}}]}");
}

/* Any part of it that differs. */
static void shapes_are_told_apart(void **state) {
    Fixture *f = *state;
    EventType types[3] = {{.oid = 23, .modifier = -1, .name = "int4"},
                          {.oid = 25, .modifier = -1, .name = "text"},
                          {.oid = 25, .modifier = -1, .name = "text"}};
    Writer was = writer_new(10000), is = writer_new(10000);
    f->table->types = types;
    event_shape_text(f->table, &was);
#define DIFFERS(change, back)                                                                                \
    change;                                                                                                  \
    writer_reset(&is);                                                                                       \
    event_shape_text(f->table, &is);                                                                         \
    assert_string_not_equal(writer_string(&was), writer_string(&is));                                        \
    back
    DIFFERS(types[1].not_null = true, types[1].not_null = false);
    DIFFERS(types[1].modifier = 24, types[1].modifier = -1);
    DIFFERS(types[1].default_expression = "", types[1].default_expression = NULL);
    DIFFERS(f->table->key_count = 0, f->table->key_count = 1);
    DIFFERS(f->table->column_count = 2, f->table->column_count = 3);
    DIFFERS(f->table->name = "u", f->table->name = "t");
    writer_reset(&is);
    event_shape_text(f->table, &is);
    assert_string_equal(writer_string(&was), writer_string(&is));
    writer_free(&was);
    writer_free(&is);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(a_row_has_its_marks_in_headers),
                                       TEST(all_headers_at_once),
                                       TEST(a_shape_is_said_as_of_connectors_with_a_history),
                                       TEST(shapes_are_told_apart),
                                       TEST(headers_name_the_connector_where_that_is_wished),
                                       TEST(a_route_adds_a_field_to_the_key),
                                       TEST(values_that_were_read_later_are_marked),
                                       TEST(complete_takes_the_old_value_in_every_envelope),
                                       TEST(records_can_be_used_by_tables_of_any_width)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
