#include "proto/json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/events.h"
#include "proto/json_value.h"
#include "testing.h"

static const ColumnMake COLUMNS[] = {
    {.name = "id", .oid = 23, .key = true},
    {.name = "name", .oid = 25, .not_null = true},
    {.name = "price", .oid = 1700, .modifier = NUMERIC(10, 2)},
    {.name = "big", .oid = 25},
};
enum { COLUMN_COUNT = sizeof COLUMNS / sizeof *COLUMNS };

typedef struct Fixture {
    Arena *arena;
    Records out;
    EventTable *table;
    JsonOptions options;
    EventPlace place;
    EventBlock *block;
    Error e;
} Fixture;

static int fixture_make(void **state) {
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    f->arena = arena;
    f->out = records_new(1 << 20);
    f->table = table_make(arena, COLUMNS, COLUMN_COUNT);
    f->options.tombstones = true;
    f->place = PLACE;
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    records_free(&f->out);
    arena_free(f->arena);
    return 0;
}

static bool encode(Fixture *f, EventOp op, const char *before, const char *after) {
    const JsonTable *table = json_table_new(f->arena, f->table, &ORIGIN, f->options);
    const Event event = {.op = op,
                         .place = &f->place,
                         .block = f->block,
                         .before = values_make(f->arena, f->table, before),
                         .after = values_make(f->arena, f->table, after)};
    f->e = (Error){0};
    return json_event(table, &event, f->arena, &f->out, &f->e);
}

static const char *text_of(Fixture *f, Span span) {
    Slice view = records_view(&f->out, span);
    return view.at == NULL ? "(null)" : arena_text(f->arena, view);
}

static void assert_span(Fixture *f, Span span, const char *expected) {
    assert_string_equal(text_of(f, span), expected);
}

/* Headers behind the three that are always there: "name=value name=value". */
static void assert_headers(Fixture *f, int number, const char *expected) {
    const Record *record = &f->out.list[number];
    Writer more = writer_new(10000);
    static const char *const names[] = {"walferry.lsn", "walferry.seq", "walferry.xid"};
    static const char *const values[] = {"0/16B3748", "2", "571"};
    assert_true(record->header_count >= 3);
    for (int at = 0; at < record->header_count; at++) {
        const RecordHeader *header = &record->headers[at];
        if (at < 3) {
            assert_string_equal(header->name, names[at]);
            assert_span(f, header->value, values[at]);
            continue;
        }
        writer_format(&more, "%s%s=%s", at > 3 ? " " : "", header->name, text_of(f, header->value));
    }
    assert_string_equal(writer_string(&more), expected);
    writer_free(&more);
}

#define SOURCE                                                                                               \
    "\"source\":{\"version\":\"0.1.0\",\"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":"            \
    "1700000000123,"                                                                                         \
    "\"snapshot\":\"false\",\"db\":\"shopdb\",\"sequence\":\"[\\\"24023120\\\",\\\"24023128\\\"]\","         \
    "\"ts_us\":1700000000123456,\"ts_ns\":1700000000123456000,\"schema\":\"public\",\"table\":\"t\","        \
    "\"txId\":571,\"lsn\":24023128,\"xmin\":null,\"origin\":null,\"origin_lsn\":null}"
#define REST(op)                                                                                             \
    SOURCE ",\"transaction\":null,\"op\":\"" op                                                              \
           "\",\"ts_ms\":1700000001000,\"ts_us\":1700000001000000,\"ts_ns\":1700000001000000000}"

static void an_insert(void **state) {
    Fixture *f = *state;
    assert_true(encode(f, EVENT_CREATE, NULL, "1|a \"b\"\\\n|12.50|\\N"));
    assert_int_equal(f->out.count, 1);
    assert_span(f, f->out.list[0].key, "{\"id\":1}");
    assert_span(f, f->out.list[0].value,
                "{\"before\":null,\"after\":{\"id\":1,\"name\":\"a \\\"b\\\"\\\\\\n\",\"price\":\"BOI=\","
                "\"big\":null}," REST("c"));
    assert_headers(f, 0, "");
}

static void updates_by_identity(void **state) {
    Fixture *f = *state;
    assert_true(encode(f, EVENT_UPDATE, NULL, "1|b|\\N|x"));
    assert_int_equal(f->out.count, 1);
    assert_span(
        f, f->out.list[0].value,
        "{\"before\":null,\"after\":{\"id\":1,\"name\":\"b\",\"price\":null,\"big\":\"x\"}," REST("u"));
    assert_true(encode(f, EVENT_UPDATE, "1|a|\\N|x", "1|b|\\N|x")); /* FULL */
    assert_span(f, f->out.list[0].value,
                "{\"before\":{\"id\":1,\"name\":\"a\",\"price\":null,\"big\":\"x\"},"
                "\"after\":{\"id\":1,\"name\":\"b\",\"price\":null,\"big\":\"x\"}," REST("u"));
}

static void a_delete_has_its_tombstone(void **state) {
    Fixture *f = *state;
    assert_true(encode(f, EVENT_DELETE, "1|-|-|-", NULL));
    assert_int_equal(f->out.count, 2);
    assert_span(f, f->out.list[0].value,
                "{\"before\":{\"id\":1,\"name\":\"\",\"price\":null,\"big\":null},\"after\":null," REST("d"));
    assert_span(f, f->out.list[1].key, "{\"id\":1}");
    assert_false(f->out.list[1].value.exists);
    assert_headers(f, 0, "");
    assert_headers(f, 1, "");
    f->options.tombstones = false;
    assert_true(encode(f, EVENT_DELETE, "1|-|-|-", NULL));
    assert_int_equal(f->out.count, 1);
}

static void a_key_change_is_three_records(void **state) {
    Fixture *f = *state;
    assert_true(encode(f, EVENT_UPDATE, "1|-|-|-", "2|b|\\N|?"));
    assert_int_equal(f->out.count, 3);
    assert_span(f, f->out.list[0].key, "{\"id\":1}");
    assert_span(f, f->out.list[0].value,
                "{\"before\":{\"id\":1,\"name\":\"\",\"price\":null,\"big\":null},\"after\":null," REST("d"));
    assert_headers(f, 0, "__debezium.newkey={\"id\":2}");
    assert_span(f, f->out.list[1].key, "{\"id\":1}");
    assert_false(f->out.list[1].value.exists);
    assert_headers(f, 1, "__debezium.newkey={\"id\":2}");
    assert_span(f, f->out.list[2].key, "{\"id\":2}");
    assert_span(f, f->out.list[2].value,
                "{\"before\":null,\"after\":{\"id\":2,\"name\":\"b\",\"price\":null,"
                "\"big\":\"__debezium_unavailable_value\"}," REST("c"));
    assert_headers(f, 2, "walferry.unchanged=[\"big\"] __debezium.oldkey={\"id\":1}");
    f->options.tombstones = false;
    assert_true(encode(f, EVENT_UPDATE, "1|-|-|-", "2|b|\\N|?"));
    assert_int_equal(f->out.count, 2);
}

/* Its create is the next event of the transaction; the tombstone is none. */
static void a_key_change_is_two_events(void **state) {
    Fixture *f = *state;
    EventBlock block = {.id = "571:24023128", .total_order = 7, .data_collection_order = 3};
    f->block = &block;
    assert_true(encode(f, EVENT_UPDATE, "1|-|-|-", "2|b|\\N|x"));
    assert_int_equal(f->out.count, 3);
    assert_int_equal(records_events(&f->out), 2);
    assert_non_null(strstr(text_of(f, f->out.list[0].value),
                           "\"transaction\":{\"id\":\"571:24023128\",\"total_order\":7,"
                           "\"data_collection_order\":3},\"op\":\"d\""));
    assert_non_null(strstr(text_of(f, f->out.list[2].value),
                           "\"transaction\":{\"id\":\"571:24023128\",\"total_order\":8,"
                           "\"data_collection_order\":4},\"op\":\"c\""));
    assert_int_equal(block.total_order, 7);
    assert_true(encode(f, EVENT_DELETE, "1|-|-|-", NULL));
    assert_int_equal(f->out.count, 2);
    assert_int_equal(records_events(&f->out), 1);
}

/* As Connect's SimpleHeaderConverter writes them, which is its default. */
static void headers_name_keys_without_schema_and_with_numbers(void **state) {
    static const ColumnMake columns[] = {{.name = "t\"", .oid = 25, .key = true},
                                         {.name = "n", .oid = 1700, .modifier = NUMERIC(10, 2), .key = true},
                                         {.name = "u", .oid = 1700, .key = true},
                                         {.name = "b", .oid = 17, .key = true}};
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 4);
    f->options.schema = true;
    assert_true(encode(f, EVENT_UPDATE, "a\"|-1.50|1.5|\\x00ff", "a\"|0.05|1.5|\\x00ff"));
    assert_int_equal(f->out.count, 3);
    assert_headers(f, 0,
                   "__debezium.newkey={\"t\\\"\":\"a\\\"\",\"n\":0.05,\"u\":{\"scale\":1,\"value\":\"Dw==\"},"
                   "\"b\":\"AP8=\"}");
    assert_headers(f, 2,
                   "__debezium.oldkey={\"t\\\"\":\"a\\\"\",\"n\":-1.50,\"u\":{\"scale\":1,\"value\":\"Dw==\"}"
                   ",\"b\":\"AP8=\"}");
}

static void headers_name_decimals_of_every_length(void **state) {
    static const struct {
        int precision, scale;
        const char *value, *said;
    } cases[] = {
        {10, 0, "0", "0"},
        {10, 0, "-1", "-1"},
        {10, 0, "-128", "-128"},
        {10, 0, "255", "255"},
        {10, 0, "256", "256"},
        {10, 3, "0.000", "0.000"},
        {10, 3, "-0.001", "-0.001"},
        {10, 3, "12.340", "12.340"},
        {3, -2, "12300", "12300"},
        {3, -2, "0", "0"},
        {2, 5, "0.00012", "0.00012"},
        {40, 10, "-123456789012345678901234567890.0123456789", "-123456789012345678901234567890.0123456789"},
    };
    Fixture *f = *state;
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
        const ColumnMake columns[] = {{.name = "n",
                                       .oid = 1700,
                                       .modifier = NUMERIC(cases[at].precision, cases[at].scale),
                                       .key = true}};
        f->table = table_make(f->arena, columns, 1);
        assert_true(encode(f, EVENT_UPDATE, cases[at].value, "100"));
        char header[100];
        snprintf(header, sizeof header, "__debezium.oldkey={\"n\":%s}", cases[at].said);
        assert_headers(f, 2, header);
    }
    static char nines[1100], header[1200];
    memset(nines, '9', 1000);
    const ColumnMake columns[] = {{.name = "n", .oid = 1700, .modifier = NUMERIC(1000, 0), .key = true}};
    f->table = table_make(f->arena, columns, 1);
    assert_true(encode(f, EVENT_UPDATE, nines, "100"));
    snprintf(header, sizeof header, "__debezium.oldkey={\"n\":%s}", nines);
    assert_headers(f, 2, header);
}

static void the_same_key_in_other_words_is_no_change(void **state) {
    static const ColumnMake columns[] = {{.name = "n", .oid = 1700, .key = true}, {.name = "v", .oid = 25}};
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 2);
    assert_true(encode(f, EVENT_UPDATE, "1.0|-", "1.00|x"));
    assert_int_equal(f->out.count, 1);
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "\"op\":\"u\""));
    assert_headers(f, 0, "");
}

static void what_is_unchanged_is_taken_from_the_old_row(void **state) {
    Fixture *f = *state;
    assert_true(encode(f, EVENT_UPDATE, "1|a|\\N|long", "1|b|\\N|?")); /* FULL */
    assert_non_null(strstr(text_of(f, f->out.list[0].value),
                           "\"after\":{\"id\":1,\"name\":\"b\",\"price\":null,\"big\":\"long\"}"));
    assert_headers(f, 0, "");
    assert_true(encode(f, EVENT_UPDATE, "1|a|\\N|long", "2|b|\\N|?"));
    assert_int_equal(f->out.count, 3);
    assert_non_null(strstr(text_of(f, f->out.list[2].value), "\"big\":\"long\"}"));
    assert_headers(f, 2, "__debezium.oldkey={\"id\":1}");
    assert_true(encode(f, EVENT_UPDATE, "1|-|-|-", "1|b|\\N|?")); /* a key tuple */
    assert_headers(f, 0, "walferry.unchanged=[\"big\"]");
    f->options.envelope = JSON_FLAT;
    assert_true(encode(f, EVENT_UPDATE, "1|a|\\N|long", "1|b|\\N|?"));
    assert_null(strstr(text_of(f, f->out.list[0].value), "big"));
    assert_headers(f, 0, "walferry.unchanged=[\"big\"]");
}

static void other_ops_and_the_block(void **state) {
    Fixture *f = *state;
    EventBlock block = {.id = "571:24023128", .total_order = 3, .data_collection_order = 1};
    f->block = &block;
    f->place.seq = -1;
    f->place.snapshot = SNAPSHOT_FIRST;
    f->place.last_commit = LSN_NONE;
    assert_true(encode(f, EVENT_READ, NULL, "1|a|\\N|\\N"));
    const char *value = text_of(f, f->out.list[0].value);
    assert_non_null(strstr(value, "\"snapshot\":\"first\""));
    assert_non_null(strstr(value, "\"sequence\":\"[null,\\\"24023128\\\"]\""));
    assert_non_null(strstr(value, "\"transaction\":{\"id\":\"571:24023128\",\"total_order\":3,"
                                  "\"data_collection_order\":1},\"op\":\"r\""));
    assert_span(f, f->out.list[0].headers[1].value, "-1");
    f->place.snapshot = SNAPSHOT_INCREMENTAL;
    assert_true(encode(f, EVENT_READ, NULL, "1|a|\\N|\\N"));
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "\"txId\":null,\"lsn\":null,"));
    f->block = NULL;
    f->place = PLACE;
    assert_true(encode(f, EVENT_TRUNCATE, NULL, NULL));
    assert_int_equal(f->out.count, 1);
    assert_false(f->out.list[0].key.exists);
    assert_span(f, f->out.list[0].value, "{\"before\":null,\"after\":null," REST("t"));
}

static void times_before_1970_are_floored(void **state) {
    Fixture *f = *state;
    f->place.committed_us = -1;
    assert_true(encode(f, EVENT_TRUNCATE, NULL, NULL));
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "\"ts_ms\":-1,"));
    f->place.committed_us = INT64_MAX;
    assert_true(encode(f, EVENT_TRUNCATE, NULL, NULL));
}

static void flat_is_the_row_and_marks(void **state) {
    Fixture *f = *state;
    f->options.envelope = JSON_FLAT;
    assert_true(encode(f, EVENT_UPDATE, NULL, "1|b|\\N|?"));
    assert_span(f, f->out.list[0].key, "{\"id\":1}");
    assert_span(f, f->out.list[0].value,
                "{\"id\":1,\"name\":\"b\",\"price\":null,\"__op\":\"u\",\"__lsn\":23803720,\"__seq\":2,"
                "\"__ts_ms\":1700000000123}");
    assert_headers(f, 0, "walferry.unchanged=[\"big\"]");
    assert_true(encode(f, EVENT_DELETE, "1|-|-|-", NULL));
    assert_int_equal(f->out.count, 2);
    assert_span(f, f->out.list[0].value,
                "{\"id\":1,\"__op\":\"d\",\"__lsn\":23803720,\"__seq\":2,\"__ts_ms\":1700000000123}");
    assert_true(encode(f, EVENT_TRUNCATE, NULL, NULL));
    assert_span(f, f->out.list[0].value,
                "{\"__op\":\"t\",\"__lsn\":23803720,\"__seq\":2,\"__ts_ms\":1700000000123}");
}

#define VALUE_FIELDS                                                                                         \
    "[{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"},"                                             \
    "{\"type\":\"string\",\"optional\":false,\"field\":\"name\"},"                                           \
    "{\"type\":\"bytes\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":"  \
    "1,"                                                                                                     \
    "\"parameters\":{\"scale\":\"2\",\"connect.decimal.precision\":\"10\"},\"field\":\"price\"},"            \
    "{\"type\":\"string\",\"optional\":true,\"field\":\"big\"}]"
#define SOURCE_SCHEMA                                                                                        \
    "{\"type\":\"struct\",\"fields\":["                                                                      \
    "{\"type\":\"string\",\"optional\":false,\"field\":\"version\"},"                                        \
    "{\"type\":\"string\",\"optional\":false,\"field\":\"connector\"},"                                      \
    "{\"type\":\"string\",\"optional\":false,\"field\":\"name\"},"                                           \
    "{\"type\":\"int64\",\"optional\":false,\"field\":\"ts_ms\"},"                                           \
    "{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\"version\":1,"               \
    "\"parameters\":{\"allowed\":\"true,first,first_in_data_collection,last_in_data_collection,last,false,"  \
    "incremental\"},\"default\":\"false\",\"field\":\"snapshot\"},"                                          \
    "{\"type\":\"string\",\"optional\":false,\"field\":\"db\"},"                                             \
    "{\"type\":\"string\",\"optional\":true,\"field\":\"sequence\"},"                                        \
    "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_us\"},"                                            \
    "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ns\"},"                                            \
    "{\"type\":\"string\",\"optional\":false,\"field\":\"schema\"},"                                         \
    "{\"type\":\"string\",\"optional\":false,\"field\":\"table\"},"                                          \
    "{\"type\":\"int64\",\"optional\":true,\"field\":\"txId\"},"                                             \
    "{\"type\":\"int64\",\"optional\":true,\"field\":\"lsn\"},"                                              \
    "{\"type\":\"int64\",\"optional\":true,\"field\":\"xmin\"},"                                             \
    "{\"type\":\"string\",\"optional\":true,\"field\":\"origin\"},"                                          \
    "{\"type\":\"int64\",\"optional\":true,\"field\":\"origin_lsn\"}],\"optional\":false,"                   \
    "\"name\":\"io.debezium.connector.postgresql.Source\",\"version\":1,\"field\":\"source\"}"
#define BLOCK_SCHEMA                                                                                         \
    "{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":false,\"field\":\"id\"},"            \
    "{\"type\":\"int64\",\"optional\":false,\"field\":\"total_order\"},"                                     \
    "{\"type\":\"int64\",\"optional\":false,\"field\":\"data_collection_order\"}],\"optional\":true,"        \
    "\"name\":\"event.block\",\"version\":1,\"field\":\"transaction\"}"

static void with_its_schema(void **state) {
    Fixture *f = *state;
    f->options.schema = true;
    assert_true(encode(f, EVENT_TRUNCATE, NULL, NULL));
    assert_span(f, f->out.list[0].value,
                "{\"schema\":{\"type\":\"struct\",\"fields\":["
                "{\"type\":\"struct\",\"fields\":" VALUE_FIELDS
                ",\"optional\":true,\"name\":\"shop.public.t.Value\",\"field\":\"before\"},"
                "{\"type\":\"struct\",\"fields\":" VALUE_FIELDS
                ",\"optional\":true,\"name\":\"shop.public.t.Value\",\"field\":\"after\"}," SOURCE_SCHEMA
                "," BLOCK_SCHEMA ",{\"type\":\"string\",\"optional\":false,\"field\":\"op\"},"
                "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ms\"},"
                "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_us\"},"
                "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ns\"}],\"optional\":false,"
                "\"name\":\"shop.public.t.Envelope\",\"version\":2},"
                "\"payload\":{\"before\":null,\"after\":null," REST("t") "}");
    assert_true(encode(f, EVENT_DELETE, "1|-|-|-", NULL));
    assert_span(
        f, f->out.list[1].key,
        "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,"
        "\"field\":\"id\"}],\"optional\":false,\"name\":\"shop.public.t.Key\"},\"payload\":{\"id\":1}}");
    f->options.envelope = JSON_FLAT;
    assert_true(encode(f, EVENT_TRUNCATE, NULL, NULL));
    assert_non_null(
        strstr(text_of(f, f->out.list[0].value), "{\"type\":\"int32\",\"optional\":true,\"field\":\"id\"}"));
    assert_non_null(strstr(text_of(f, f->out.list[0].value),
                           "\"field\":\"__ts_ms\"}],\"optional\":false,\"name\":\"shop.public.t.Value\"},"
                           "\"payload\":{\"__op\":\"t\""));
}

static void defaults_stand_in_the_schema(void **state) {
    static const ColumnMake columns[] = {
        {.name = "a", .oid = 23, .not_null = true, .default_expression = "7"},
        {.name = "b", .oid = 25, .default_expression = "'x'::text"},
        {.name = "c", .oid = 1700, .modifier = NUMERIC(10, 2), .default_expression = "1.005"},
    };
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 3);
    f->options.schema = true;
    assert_true(encode(f, EVENT_CREATE, NULL, "1|\\N|\\N"));
    const char *value = text_of(f, f->out.list[0].value);
    assert_non_null(strstr(value, "{\"type\":\"int32\",\"optional\":false,\"default\":7,\"field\":\"a\"}"));
    assert_non_null(
        strstr(value, "{\"type\":\"string\",\"optional\":true,\"default\":\"x\",\"field\":\"b\"}"));
    assert_null(strstr(value, "\"default\":\"AGQ")); /* not of its scale: none */
    f->options.schema = false;
    assert_true(encode(f, EVENT_DELETE, "-|-|-", NULL));
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "{\"a\":7,\"b\":null,\"c\":null}"));
    assert_int_equal(f->out.count, 1); /* no key, so nothing that a tombstone could mark */
    assert_false(f->out.list[0].key.exists);
    f->options.null_is_default = true;
    assert_true(encode(f, EVENT_CREATE, NULL, "1|\\N|\\N"));
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "{\"a\":1,\"b\":\"x\",\"c\":null}"));
    f->options.envelope = JSON_FLAT; /* says what is in the row */
    assert_true(encode(f, EVENT_CREATE, NULL, "1|\\N|\\N"));
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "{\"a\":1,\"b\":null,\"c\":null,"));
}

static void placeholders_by_type(void **state) {
    static const ColumnMake columns[] = {
        {.name = "id", .oid = 23, .key = true},
        {.name = "text", .oid = 25},
        {.name = "bytes", .oid = 17, .not_null = true},
        {.name = "json", .oid = 3802},
        {.name = "texts", .oid = 25, .array = true},
        {.name = "bytess", .oid = 17, .array = true},
        {.name = "ints", .oid = 23, .array = true},
        {.name = "longs", .oid = 20, .array = true},
        {.name = "uuids", .oid = 2950, .array = true},
        {.name = "n", .oid = 1700},
        {.name = "m", .oid = 1700, .not_null = true, .modifier = NUMERIC(9, 1)},
        {.name = "dates", .oid = 1082, .array = true, .not_null = true},
        {.name = "lsn", .oid = 3220},
        {.name = "map", .oid = FIRST_OID, .type_name = "hstore"},
        {.name = "decimals", .oid = 1700, .array = true, .not_null = true},
    };
#define NUMBERS                                                                                              \
    "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,"    \
    "101]"
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, sizeof columns / sizeof *columns);
    assert_true(encode(f, EVENT_UPDATE, NULL, "1|?|?|?|?|?|?|?|?|?|?|?|?|?|?"));
    const char *expected =
        "\"after\":{\"id\":1,\"text\":\"__debezium_unavailable_value\","
        "\"bytes\":\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\","
        "\"json\":\"__debezium_unavailable_value\","
        "\"texts\":[\"__debezium_unavailable_value\"],"
        "\"bytess\":[\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"],"
        "\"ints\":" NUMBERS ",\"longs\":" NUMBERS ","
        "\"uuids\":[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"],"
        "\"n\":null,\"m\":\"AA==\",\"dates\":" NUMBERS ",\"map\":\"{\\\"__debezium_unavailable_value\\\":"
        "\\\"__debezium_unavailable_value\\\"}\",\"decimals\":[]}";
    if (strstr(text_of(f, f->out.list[0].value), expected) == NULL)
        fail_test("%s", text_of(f, f->out.list[0].value));
    assert_headers(f, 0,
                   "walferry.unchanged=[\"text\",\"bytes\",\"json\",\"texts\",\"bytess\",\"ints\",\"longs\","
                   "\"uuids\",\"n\",\"m\",\"dates\",\"map\",\"decimals\"]");
    f->options.toast_absent = true;
    assert_true(encode(f, EVENT_UPDATE, NULL, "1|?|?|?|?|?|?|?|?|?|?|?|?|?|?"));
    assert_non_null(strstr(text_of(f, f->out.list[0].value), "\"after\":{\"id\":1},"));
}

static void specials_go_into_a_header(void **state) {
    static const ColumnMake columns[] = {
        {.name = "n", .oid = 1700, .key = true},
        {.name = "d\"", .oid = 1082},
        {.name = "m", .oid = 1700, .not_null = true, .modifier = NUMERIC(9, 1)},
        {.name = "x", .oid = 701},
        {.name = "list", .oid = 23, .array = true},
    };
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 5);
    assert_true(encode(f, EVENT_UPDATE, "NaN|infinity|0.0|-0|{}", "NaN|-infinity|NaN|NaN|{{1}}"));
    assert_int_equal(f->out.count, 1);
    assert_span(f, f->out.list[0].key, "{\"n\":{\"scale\":0,\"value\":\"AA==\"}}");
    const char *value = text_of(f, f->out.list[0].value);
    assert_non_null(strstr(value,
                           "\"before\":{\"n\":{\"scale\":0,\"value\":\"AA==\"},\"d\\\"\":null,\"m\":\"AA==\","
                           "\"x\":-0.0,\"list\":[]},"));
    assert_non_null(strstr(value,
                           "\"after\":{\"n\":{\"scale\":0,\"value\":\"AA==\"},\"d\\\"\":null,\"m\":\"AA==\","
                           "\"x\":\"NaN\",\"list\":null},"));
    assert_headers(f, 0,
                   "walferry.special={\"after\":{\"n\":\"NaN\",\"d\\\"\":\"-infinity\",\"m\":\"NaN\","
                   "\"list\":\"{{1}}\"},\"before\":{\"n\":\"NaN\",\"d\\\"\":\"infinity\"}}");
    f->options.special_fails = true;
    assert_false(encode(f, EVENT_CREATE, NULL, "1|infinity|0.0|0|{}"));
    assert_int_equal(f->e.kind, ERR_DATA);
    assert_string_equal(f->e.text,
                        "column \"d\"\" of public.t: its type in the topic has no place for \"infinity\"");
}

static void values_of_every_shape(void **state) {
    static const ColumnMake columns[] = {
        {.name = "flag", .oid = 16},
        {.name = "small", .oid = 21},
        {.name = "long", .oid = 20},
        {.name = "float", .oid = 701},
        {.name = "inf", .oid = 700},
        {.name = "bytes", .oid = 17},
        {.name = "point", .oid = 600},
        {.name = "at", .oid = 1184},
        {.name = "sparse", .oid = FIRST_OID, .type_name = "sparsevec"},
        {.name = "list", .oid = 25, .array = true},
    };
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, sizeof columns / sizeof *columns);
    assert_true(encode(f, EVENT_CREATE, NULL,
                       "t|-5|-9223372036854775808|1e+20|-Infinity|\\x010203ff|(1,2)|2024-02-29 12:00:00+00|"
                       "{1:1.5,3:2}/5|{a,NULL,\"b\\\"\"}"));
    const char *expected =
        "\"after\":{\"flag\":true,\"small\":-5,\"long\":-9223372036854775808,\"float\":1e+20,"
        "\"inf\":\"-Infinity\",\"bytes\":\"AQID/w==\","
        "\"point\":{\"x\":1.0,\"y\":2.0,\"wkb\":\"AQEAAAAAAAAAAADwPwAAAAAAAABA\",\"srid\":null},"
        "\"at\":\"2024-02-29T12:00:00.000000Z\","
        "\"sparse\":{\"dimensions\":5,\"vector\":[[1,1.5],[3,2.0]]},\"list\":[\"a\",null,\"b\\\"\"]}";
    if (strstr(text_of(f, f->out.list[0].value), expected) == NULL)
        fail_test("%s", text_of(f, f->out.list[0].value));
}

static void what_cannot_be_said_is_refused(void **state) {
    Fixture *f = *state;
    assert_false(encode(f, EVENT_CREATE, NULL, "x|a|\\N|\\N"));
    assert_int_equal(f->e.kind, ERR_DATA);
    assert_string_equal(f->e.text, "column \"id\" of public.t: an integer expected, but the text is \"x\"");
    assert_false(encode(f, EVENT_DELETE, "-|a|-|-", NULL));
    assert_string_equal(f->e.text, "column \"id\" of public.t: the key's value did not come along");
    assert_true(f->e.hint[0] != '\0');
    const JsonTable *table = json_table_new(f->arena, f->table, &ORIGIN, f->options);
    static const int columns[] = {0, 3}; /* of the key, and not */
    for (int at = 0; at < 2; at++) {
        Value *row = values_make(f->arena, f->table, "1|a|\\N|x");
        row[columns[at]].kind = VALUE_BINARY;
        const Event event = {.op = EVENT_CREATE, .place = &PLACE, .after = row};
        assert_false(json_event(table, &event, f->arena, &f->out, &f->e));
        assert_int_equal(f->e.kind, ERR_DATA);
        assert_non_null(strstr(f->e.text, "the value came in binary form"));
    }
    records_free(&f->out);
    f->out = records_new(100);
    assert_false(encode(f, EVENT_CREATE, NULL, "1|a|\\N|x"));
    assert_int_equal(f->e.kind, ERR_LIMIT);
}

static void only_utf8_goes_into_a_topic(void **state) {
    static const char *const wrong[] = {"\xff", "abcdefgh\x80", "abcdefghijk\xc3", "\xed\xa0\x80",
                                        "\xc0\x80"};
    Fixture *f = *state;
    for (size_t at = 0; at < sizeof wrong / sizeof *wrong; at++) {
        Value *row = values_make(f->arena, f->table, "1|a|\\N|x");
        row[3].bytes = slice_text(wrong[at]);
        const Event event = {.op = EVENT_CREATE, .place = &PLACE, .after = row};
        const JsonTable *table = json_table_new(f->arena, f->table, &ORIGIN, f->options);
        assert_false(json_event(table, &event, f->arena, &f->out, &f->e));
        assert_int_equal(f->e.kind, ERR_DATA);
        assert_string_equal(f->e.text, "column \"big\" of public.t: the text is not UTF-8");
        const EventMessage message = {.place = &PLACE, .prefix = slice_text(wrong[at])};
        assert_false(
            json_message(json_messages_new(f->arena, &ORIGIN, f->options), &message, &f->out, &f->e));
        assert_int_equal(f->e.kind, ERR_DATA);
    }
    assert_true(encode(f, EVENT_CREATE, NULL, "1|h\xc3\xa4\xf0\x9f\x90\x98|\\N|\x7f"));
}

static void a_key_that_did_not_change_is_taken_from_before(void **state) {
    Fixture *f = *state;
    f->table->key = (const uint16_t[]){1};
    assert_true(encode(f, EVENT_UPDATE, "1|long key|\\N|\\N", "1|?|\\N|\\N"));
    assert_int_equal(f->out.count, 1);
    assert_span(f, f->out.list[0].key, "{\"name\":\"long key\"}");
}

static void logical_messages(void **state) {
    Fixture *f = *state;
    JsonOptions options = {0};
    EventPlace place = PLACE;
    place.xid = 0;
    const EventMessage message = {.place = &place, .prefix = slice_text("p\"x"), .content = {"\0\1\2", 3}};
    assert_true(json_message(json_messages_new(f->arena, &ORIGIN, options), &message, &f->out, &f->e));
    assert_span(f, f->out.list[0].key, "{\"prefix\":\"p\\\"x\"}");
    const char *value = text_of(f, f->out.list[0].value);
    assert_ptr_equal(strstr(value, "{\"op\":\"m\",\"ts_ms\":1700000001000,\"source\":{\"version\""), value);
    assert_non_null(strstr(value, "\"schema\":\"\",\"table\":\"\",\"txId\":null,\"lsn\":24023128,"));
    /* outside of transactions: committed when it is read, and by itself */
    assert_non_null(strstr(value, "\"name\":\"shop\",\"ts_ms\":1700000001000,"));
    assert_non_null(strstr(value, "\"sequence\":\"[\\\"24023128\\\",\\\"24023128\\\"]\","
                                  "\"ts_us\":1700000001000000,\"ts_ns\":1700000001000000000,"));
    assert_non_null(strstr(value,
                           "\"origin_lsn\":null},\"transaction\":null,\"message\":{\"prefix\":\"p\\\"x\","
                           "\"content\":\"AAEC\"}}"));
    options.schema = true;
    assert_true(json_message(json_messages_new(f->arena, &ORIGIN, options), &message, &f->out, &f->e));
    json_t *parsed = json_loads(text_of(f, f->out.list[0].value), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_object_get(parsed, "schema"), "name")),
                        "io.debezium.connector.postgresql.MessageValue");
    json_decref(parsed);
    records_free(&f->out);
    f->out = records_new(100);
    assert_false(json_message(json_messages_new(f->arena, &ORIGIN, options), &message, &f->out, &f->e));
    assert_int_equal(f->e.kind, ERR_LIMIT);
}

static void schemas_of_every_shape(void **state) {
    static const struct {
        ColumnMake column;
        const char *schema;
    } cases[] = {
        {{.oid = 16, .not_null = true, .default_expression = "true"},
         "{\"type\":\"boolean\",\"optional\":false,\"default\":true,\"field\":\"c\"}"},
        {{.oid = 21}, "{\"type\":\"int16\",\"optional\":true,\"field\":\"c\"}"},
        {{.oid = 700}, "{\"type\":\"float\",\"optional\":true,\"field\":\"c\"}"},
        {{.oid = 701}, "{\"type\":\"double\",\"optional\":true,\"field\":\"c\"}"},
        {{.oid = 1184},
         "{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.time.ZonedTimestamp\",\"version\":1,"
         "\"field\":\"c\"}"},
        {{.oid = 25, .array = true},
         "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"optional\":true},\"optional\":true,"
         "\"field\":\"c\"}"},
        {{.oid = 1700},
         "{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,\"field\":\"scale\"},"
         "{\"type\":\"bytes\",\"optional\":false,\"field\":\"value\"}],\"optional\":true,"
         "\"name\":\"io.debezium.data.VariableScaleDecimal\",\"version\":1,"
         "\"doc\":\"Variable scaled decimal\",\"field\":\"c\"}"},
        {{.oid = FIRST_OID, .type_name = "sparsevec"},
         "{\"type\":\"struct\",\"fields\":[{\"type\":\"int16\",\"optional\":false,"
         "\"field\":\"dimensions\"},{\"type\":\"map\",\"keys\":{\"type\":\"int16\",\"optional\":false},"
         "\"values\":{\"type\":\"double\",\"optional\":false},\"optional\":false,\"field\":\"vector\"}],"
         "\"optional\":true,\"name\":\"io.debezium.data.SparseDoubleVector\",\"version\":1,"
         "\"doc\":\"Sparse double vector\",\"field\":\"c\"}"},
    };
    Fixture *f = *state;
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
        Writer out = writer_new(10000);
        const EventTable *table = table_make(f->arena, &cases[at].column, 1);
        json_schema_write(&out, table->columns[0].kind, "c");
        assert_string_equal(writer_string(&out), cases[at].schema);
        writer_free(&out);
    }
}

static void base64_as_others_write_it(void **state) {
    (void)state;
    static const char *const texts[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const expected[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (int at = 0; at < 7; at++) {
        Writer out = writer_new(100);
        json_base64_write(&out, slice_text(texts[at]));
        assert_memory_equal(out.at + 1, expected[at], strlen(expected[at]));
        assert_int_equal(out.len, strlen(expected[at]) + 2);
        writer_free(&out);
    }
    Writer out = writer_new(2000);
    char zeros[1000] = {0};
    json_base64_write(&out, (Slice){zeros, 999});
    assert_int_equal(out.len, 999 / 3 * 4 + 2);
    assert_int_equal(strspn(out.at + 1, "A"), 999 / 3 * 4);
    writer_free(&out);
}

static void random_texts_come_back(void **state) {
    static const ColumnMake columns[] = {{.name = "a", .oid = 25, .key = true}, {.name = "b", .oid = 25}};
    Fixture *f = *state;
    f->table = table_make(f->arena, columns, 2);
    const JsonTable *table = json_table_new(f->arena, f->table, &ORIGIN, f->options);
    srandom(7);
    for (int round = 0; round < 5000; round++) {
        char text[2][40];
        Value row[2];
        for (int column = 0; column < 2; column++) {
            size_t length = (size_t)(random() % 40);
            for (size_t at = 0; at < length; at++)
                text[column][at] = (char)(1 + random() % 127);
            row[column] = (Value){VALUE_TEXT, {text[column], length}};
        }
        const Event event = {.op = EVENT_CREATE, .place = &PLACE, .after = row};
        assert_true(json_event(table, &event, f->arena, &f->out, &f->e));
        Slice value = records_view(&f->out, f->out.list[0].value);
        json_t *parsed = json_loadb(value.at, value.len, 0, NULL);
        json_t *after = json_object_get(parsed, "after");
        assert_int_equal(json_object_size(parsed), 8);
        for (int column = 0; column < 2; column++) {
            json_t *member = json_object_get(after, columns[column].name);
            assert_true(slice_equal(row[column].bytes,
                                    (Slice){json_string_value(member), json_string_length(member)}));
        }
        json_decref(parsed);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(an_insert),
                                       TEST(updates_by_identity),
                                       TEST(a_delete_has_its_tombstone),
                                       TEST(a_key_change_is_three_records),
                                       TEST(a_key_change_is_two_events),
                                       TEST(headers_name_keys_without_schema_and_with_numbers),
                                       TEST(headers_name_decimals_of_every_length),
                                       TEST(the_same_key_in_other_words_is_no_change),
                                       TEST(what_is_unchanged_is_taken_from_the_old_row),
                                       TEST(other_ops_and_the_block),
                                       TEST(times_before_1970_are_floored),
                                       TEST(flat_is_the_row_and_marks),
                                       TEST(with_its_schema),
                                       TEST(defaults_stand_in_the_schema),
                                       TEST(placeholders_by_type),
                                       TEST(specials_go_into_a_header),
                                       TEST(values_of_every_shape),
                                       TEST(what_cannot_be_said_is_refused),
                                       TEST(only_utf8_goes_into_a_topic),
                                       TEST(a_key_that_did_not_change_is_taken_from_before),
                                       TEST(logical_messages),
                                       TEST(schemas_of_every_shape),
                                       TEST(base64_as_others_write_it),
                                       TEST(random_texts_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
