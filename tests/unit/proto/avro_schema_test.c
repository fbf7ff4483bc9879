#include "proto/avro_schema.h"

#include <jansson.h>

#include "proto/events.h"
#include "testing.h"

static int arena_make(void **state) {
    *state = arena_new();
    return 0;
}

static int arena_drop(void **state) {
    arena_free(*state);
    return 0;
}

static const char *schema_of(Arena *arena, const Kind *kind) {
    Writer out = writer_new(1 << 20);
    avro_schema_write(&out, kind);
    const char *text = arena_text(arena, writer_slice(&out));
    writer_free(&out);
    json_error_t error;
    json_t *parsed = json_loads(text, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (parsed == NULL)
        fail_test("no JSON (%s): %s", error.text, text);
    json_decref(parsed);
    return text;
}

static void assert_schema(Arena *arena, const Kind *kind, const char *expected) {
    const char *text = schema_of(arena, kind);
    if (strcmp(text, expected) != 0)
        fail_test("%s\nis not\n%s", text, expected);
}

#define SOURCE                                                                                               \
    "{\"type\":\"record\",\"name\":\"Source\",\"namespace\":\"io.debezium.connector.postgresql\","           \
    "\"fields\":["                                                                                           \
    "{\"name\":\"version\",\"type\":\"string\"},{\"name\":\"connector\",\"type\":\"string\"},"               \
    "{\"name\":\"name\",\"type\":\"string\"},{\"name\":\"ts_ms\",\"type\":\"long\"},"                        \
    "{\"name\":\"snapshot\",\"type\":[{\"type\":\"string\",\"connect.version\":1,"                           \
    "\"connect.parameters\":{\"allowed\":\"true,first,first_in_data_collection,last_in_data_collection,"     \
    "last,false,incremental\"},\"connect.default\":\"false\",\"connect.name\":\"io.debezium.data.Enum\"},"   \
    "\"null\"],\"default\":\"false\"},{\"name\":\"db\",\"type\":\"string\"},"                                \
    "{\"name\":\"sequence\",\"type\":[\"null\",\"string\"],\"default\":null},"                               \
    "{\"name\":\"ts_us\",\"type\":[\"null\",\"long\"],\"default\":null},"                                    \
    "{\"name\":\"ts_ns\",\"type\":[\"null\",\"long\"],\"default\":null},"                                    \
    "{\"name\":\"schema\",\"type\":\"string\"},{\"name\":\"table\",\"type\":\"string\"},"                    \
    "{\"name\":\"txId\",\"type\":[\"null\",\"long\"],\"default\":null},"                                     \
    "{\"name\":\"lsn\",\"type\":[\"null\",\"long\"],\"default\":null},"                                      \
    "{\"name\":\"xmin\",\"type\":[\"null\",\"long\"],\"default\":null},"                                     \
    "{\"name\":\"origin\",\"type\":[\"null\",\"string\"],\"default\":null},"                                 \
    "{\"name\":\"origin_lsn\",\"type\":[\"null\",\"long\"],\"default\":null}],"                              \
    "\"connect.version\":1,\"connect.name\":\"io.debezium.connector.postgresql.Source\"}"

static void the_envelope(void **state) {
    static const ColumnMake columns[] = {
        {.name = "id", .oid = 23, .key = true, .default_expression = "nextval('s'::regclass)"},
        {.name = "name", .oid = 25, .not_null = true},
        {.name = "note", .oid = 25},
        {.name = "at", .oid = 1114, .default_expression = "now()"},
    };
    const EventTable *table = table_make(*state, columns, 4);
    assert_schema(*state, event_key(*state, table),
                  "{\"type\":\"record\",\"name\":\"Key\",\"namespace\":\"shop.public.t\",\"fields\":["
                  "{\"name\":\"id\",\"type\":{\"type\":\"int\",\"connect.default\":0},\"default\":0}],"
                  "\"connect.name\":\"shop.public.t.Key\"}");
    assert_schema(
        *state, event_envelope(*state, table),
        "{\"type\":\"record\",\"name\":\"Envelope\",\"namespace\":\"shop.public.t\",\"fields\":["
        "{\"name\":\"before\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"Value\",\"fields\":["
        "{\"name\":\"id\",\"type\":{\"type\":\"int\",\"connect.default\":0},\"default\":0},"
        "{\"name\":\"name\",\"type\":\"string\"},"
        "{\"name\":\"note\",\"type\":[\"null\",\"string\"],\"default\":null},"
        "{\"name\":\"at\",\"type\":[{\"type\":\"long\",\"connect.version\":1,\"connect.default\":0,"
        "\"connect.name\":\"io.debezium.time.MicroTimestamp\"},\"null\"],\"default\":0}],"
        "\"connect.name\":\"shop.public.t.Value\"}],\"default\":null},"
        "{\"name\":\"after\",\"type\":[\"null\",\"Value\"],\"default\":null},"
        "{\"name\":\"source\",\"type\":" SOURCE "},"
        "{\"name\":\"transaction\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"block\","
        "\"namespace\":\"event\",\"fields\":[{\"name\":\"id\",\"type\":\"string\"},"
        "{\"name\":\"total_order\",\"type\":\"long\"},{\"name\":\"data_collection_order\",\"type\":\"long\"}]"
        ","
        "\"connect.version\":1,\"connect.name\":\"event.block\"}],\"default\":null},"
        "{\"name\":\"op\",\"type\":\"string\"},{\"name\":\"ts_ms\",\"type\":[\"null\",\"long\"],\"default\":"
        "null},"
        "{\"name\":\"ts_us\",\"type\":[\"null\",\"long\"],\"default\":null},"
        "{\"name\":\"ts_ns\",\"type\":[\"null\",\"long\"],\"default\":null}],"
        "\"connect.version\":2,\"connect.name\":\"shop.public.t.Envelope\"}");
}

static void fields_by_type(void **state) {
    static const struct {
        ColumnMake column;
        const char *field;
    } cases[] = {
        {{.oid = 16}, "\"type\":[\"null\",\"boolean\"],\"default\":null"},
        {{.oid = 21}, "\"type\":[\"null\",{\"type\":\"int\",\"connect.type\":\"int16\"}],\"default\":null"},
        {{.oid = 700, .not_null = true}, "\"type\":\"float\""},
        {{.oid = 701, .not_null = true}, "\"type\":\"double\""},
        {{.oid = 17, .not_null = true}, "\"type\":\"bytes\""},
        {{.oid = 1700, .modifier = NUMERIC(10, 2), .not_null = true, .default_expression = "1.50"},
         "\"type\":{\"type\":\"bytes\",\"scale\":2,\"precision\":10,\"connect.version\":1,"
         "\"connect.parameters\":{\"scale\":\"2\",\"connect.decimal.precision\":\"10\"},"
         "\"connect.default\":\"\\u0000\\u0096\",\"connect.name\":\"org.apache.kafka.connect.data.Decimal\","
         "\"logicalType\":\"decimal\"},\"default\":\"\\u0000\\u0096\""},
        {{.oid = 1700, .modifier = NUMERIC(10, 2), .default_expression = "1.005"}, /* not of its scale */
         "\"type\":[\"null\",{\"type\":\"bytes\",\"scale\":2,\"precision\":10,\"connect.version\":1,"
         "\"connect.parameters\":{\"scale\":\"2\",\"connect.decimal.precision\":\"10\"},"
         "\"connect.name\":\"org.apache.kafka.connect.data.Decimal\",\"logicalType\":\"decimal\"}],"
         "\"default\":null"},
        {{.oid = 1700, .modifier = NUMERIC(2, 5), .not_null = true}, /* no decimal of Avro */
         "\"type\":{\"type\":\"bytes\",\"scale\":5,\"precision\":2,\"connect.version\":1,"
         "\"connect.parameters\":{\"scale\":\"5\",\"connect.decimal.precision\":\"2\"},"
         "\"connect.name\":\"org.apache.kafka.connect.data.Decimal\"}"},
        {{.oid = 790, .not_null = true},
         "\"type\":{\"type\":\"bytes\",\"scale\":2,\"precision\":64,\"connect.version\":1,"
         "\"connect.parameters\":{\"scale\":\"2\"},\"connect.name\":\"org.apache.kafka.connect.data."
         "Decimal\","
         "\"logicalType\":\"decimal\"}"},
        {{.oid = 701, .default_expression = "'NaN'::double precision"},
         "\"type\":[\"null\",\"double\"],\"default\":null"},
        {{.oid = 25, .array = true},
         "\"type\":[\"null\",{\"type\":\"array\",\"items\":[\"null\",\"string\"]}],\"default\":null"},
        {{.oid = FIRST_OID, .type_name = "vector", .not_null = true},
         "\"type\":{\"type\":\"array\",\"items\":\"double\",\"connect.version\":1,"
         "\"connect.name\":\"io.debezium.data.DoubleVector\"}"},
        {{.oid = 21, .default_expression = "3"},
         "\"type\":[{\"type\":\"int\",\"connect.default\":3,\"connect.type\":\"int16\"},\"null\"],"
         "\"default\":3"},
        {{.oid = 701, .not_null = true, .default_expression = "1"},
         "\"type\":{\"type\":\"double\",\"connect.default\":1.0},\"default\":1.0"},
        {{.oid = FIRST_OID, .type_name = "geometry", .not_null = true},
         "\"type\":[\"null\",{\"type\":\"record\",\"name\":\"Geometry\",\"namespace\":"
         "\"io.debezium.data.geometry\",\"fields\":[{\"name\":\"wkb\",\"type\":\"bytes\"},"
         "{\"name\":\"srid\",\"type\":[\"null\",\"int\"],\"default\":null},"
         "{\"name\":\"extensions\",\"type\":[\"null\",{\"type\":\"map\",\"values\":\"string\"}],\"default\":"
         "null}],"
         "\"connect.doc\":\"Geometry\",\"connect.version\":2,"
         "\"connect.name\":\"io.debezium.data.geometry.Geometry\"}],\"default\":null"},
        {{.oid = FIRST_OID, .type_name = "sparsevec", .not_null = true},
         "\"type\":{\"type\":\"record\",\"name\":\"SparseDoubleVector\",\"namespace\":\"io.debezium.data\","
         "\"fields\":["
         "{\"name\":\"dimensions\",\"type\":{\"type\":\"int\",\"connect.type\":\"int16\"}},"
         "{\"name\":\"vector\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":"
         "\"MapEntry\","
         "\"namespace\":\"io.confluent.connect.avro\",\"fields\":["
         "{\"name\":\"key\",\"type\":{\"type\":\"int\",\"connect.type\":\"int16\"}},"
         "{\"name\":\"value\",\"type\":\"double\"}]}}}],\"connect.doc\":\"Sparse double "
         "vector\",\"connect.version\":1,"
         "\"connect.name\":\"io.debezium.data.SparseDoubleVector\"}"},
    };
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
        ColumnMake column = cases[at].column;
        column.name = "c";
        const EventTable *table = table_make(*state, &column, 1);
        Writer expected = writer_new(10000);
        writer_format(&expected, "\"fields\":[{\"name\":\"c\",%s},{\"name\":\"__op\"", cases[at].field);
        const Kind *flat = event_flat(*state, table);
        KindField fields[5];
        memcpy(fields, flat->fields, sizeof fields);
        fields[0].kind = table->columns[0].kind; /* required, where it is */
        Kind kind = *flat;
        kind.fields = fields;
        const char *text = schema_of(*state, &kind);
        if (strstr(text, writer_string(&expected)) == NULL)
            fail_test("%s\nis not in\n%s", writer_string(&expected), text);
        writer_free(&expected);
    }
}

static void a_record_is_defined_once(void **state) {
    static const ColumnMake columns[] = {
        {.name = "a", .oid = 1700},
        {.name = "b", .oid = 1700, .not_null = true},
        {.name = "c", .oid = 1700, .array = true},
    };
    const EventTable *table = table_make(*state, columns, 3);
    const char *text = schema_of(*state, event_envelope(*state, table));
    const char *expected =
        "{\"name\":\"a\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"VariableScaleDecimal\","
        "\"namespace\":\"io.debezium.data\",\"fields\":[{\"name\":\"scale\",\"type\":\"int\"},"
        "{\"name\":\"value\",\"type\":\"bytes\"}],\"connect.doc\":\"Variable scaled decimal\","
        "\"connect.version\":1,\"connect.name\":\"io.debezium.data.VariableScaleDecimal\"}],"
        "\"default\":null},{\"name\":\"b\",\"type\":\"io.debezium.data.VariableScaleDecimal\"},"
        "{\"name\":\"c\",\"type\":[\"null\",{\"type\":\"array\",\"items\":"
        "[\"null\",\"io.debezium.data.VariableScaleDecimal\"]}],\"default\":null}";
    if (strstr(text, expected) == NULL)
        fail_test("%s", text);
}

static void names_are_adjusted(void **state) {
    static const ColumnMake columns[] = {{.name = "2nd-column \"x\"", .oid = 25, .key = true},
                                         {.name = "a.b", .oid = 25, .key = true},
                                         {.name = "na\xc3\xafve\xf0\x9f\x90\x98", .oid = 25, .key = true}};
    EventTable *table = table_make(*state, columns, 3);
    table->topic = "my-shop.public.2nd order";
    assert_schema(
        *state, event_key(*state, table),
        "{\"type\":\"record\",\"name\":\"Key\",\"namespace\":\"my_shop.public._2nd_order\",\"fields\":["
        "{\"name\":\"_2nd_column__x_\",\"type\":\"string\"},{\"name\":\"a_b\",\"type\":\"string\"},"
        "{\"name\":\"na_ve__\",\"type\":\"string\"}],\"connect.name\":\"my_shop.public._2nd_order.Key\"}");
}

static void messages_and_their_key(void **state) {
    assert_schema(
        *state, &event_message_key,
        "{\"type\":\"record\",\"name\":\"MessageKey\",\"namespace\":\"io.debezium.connector.postgresql\","
        "\"fields\":[{\"name\":\"prefix\",\"type\":[\"null\",\"string\"],\"default\":null}],"
        "\"connect.version\":1,\"connect.name\":\"io.debezium.connector.postgresql.MessageKey\"}");
    const char *text = schema_of(*state, &event_message);
    /* in the same namespace: none is named */
    assert_non_null(
        strstr(text, "{\"name\":\"source\",\"type\":{\"type\":\"record\",\"name\":\"Source\",\"fields\":["));
    assert_non_null(strstr(
        text, "{\"name\":\"message\",\"type\":{\"type\":\"record\",\"name\":\"Message\",\"fields\":["));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_make, arena_drop)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(the_envelope), TEST(fields_by_type),
                                       TEST(a_record_is_defined_once), TEST(names_are_adjusted),
                                       TEST(messages_and_their_key)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
