#include "proto/kind.h"

#include <string.h>

#include "proto/types.h"
#include "testing.h"

#define DATA "io.debezium.data."
#define TIME "io.debezium.time."

static int arena_make(void **state) {
    *state = arena_new();
    return 0;
}

static int arena_drop(void **state) {
    arena_free(*state);
    return 0;
}

static void assert_text(const char *what, const char *is, const char *expected) {
    if ((is == NULL) != (expected == NULL) || (is != NULL && strcmp(is, expected) != 0))
        fail_test("%s is %s, not %s", what, is == NULL ? "(none)" : is,
                  expected == NULL ? "(none)" : expected);
}

typedef struct Case {
    uint32_t oid;
    const char *type_name;
    int32_t modifier;
    ConnectType type;
    KindForm form;
    const char *name;
    const char *parameters; /* "name=value name=value" */
} Case;

static const Case CASES[] = {
    {16, "bool", -1, CONNECT_BOOLEAN, FORM_BOOLEAN, NULL, ""},
    {1560, "bit", 1, CONNECT_BOOLEAN, FORM_BIT, NULL, ""},
    {1562, "varbit", 1, CONNECT_BOOLEAN, FORM_BIT, NULL, ""},
    {1560, "bit", 12, CONNECT_BYTES, FORM_BITS, DATA "Bits", "length=12"},
    {1562, "varbit", 9, CONNECT_BYTES, FORM_BITS, DATA "Bits", "length=9"},
    {1562, "varbit", -1, CONNECT_BYTES, FORM_BITS, DATA "Bits", "length=2147483647"},
    {21, "int2", -1, CONNECT_INT16, FORM_INTEGER, NULL, ""},
    {23, "int4", -1, CONNECT_INT32, FORM_INTEGER, NULL, ""},
    {20, "int8", -1, CONNECT_INT64, FORM_INTEGER, NULL, ""},
    {26, "oid", -1, CONNECT_INT64, FORM_INTEGER, NULL, ""},
    {700, "float4", -1, CONNECT_FLOAT32, FORM_FLOAT, NULL, ""},
    {701, "float8", -1, CONNECT_FLOAT64, FORM_FLOAT, NULL, ""},
    {18, "char", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {19, "name", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {25, "text", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {1042, "bpchar", 14, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {1043, "varchar", 14, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {FIRST_OID, "citext", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {FIRST_OID, "isbn", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {869, "inet", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {650, "cidr", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {829, "macaddr", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {774, "macaddr8", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {3904, "int4range", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {3906, "numrange", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {3908, "tsrange", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {3910, "tstzrange", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {3912, "daterange", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {3926, "int8range", -1, CONNECT_STRING, FORM_TEXT, NULL, ""},
    {1700, "numeric", NUMERIC(10, 2), CONNECT_BYTES, FORM_DECIMAL, "org.apache.kafka.connect.data.Decimal",
     "scale=2 connect.decimal.precision=10"},
    {1700, "numeric", NUMERIC(5, 0), CONNECT_BYTES, FORM_DECIMAL, "org.apache.kafka.connect.data.Decimal",
     "scale=0 connect.decimal.precision=5"},
    {1700, "numeric", NUMERIC(3, -2), CONNECT_BYTES, FORM_DECIMAL, "org.apache.kafka.connect.data.Decimal",
     "scale=-2 connect.decimal.precision=3"},
    {1700, "numeric", NUMERIC(1000, 1000), CONNECT_BYTES, FORM_DECIMAL,
     "org.apache.kafka.connect.data.Decimal", "scale=1000 connect.decimal.precision=1000"},
    {1700, "numeric", -1, CONNECT_STRUCT, FORM_VARIABLE_DECIMAL, DATA "VariableScaleDecimal", ""},
    {790, "money", -1, CONNECT_BYTES, FORM_MONEY, "org.apache.kafka.connect.data.Decimal", "scale=2"},
    {2950, "uuid", -1, CONNECT_STRING, FORM_TEXT, DATA "Uuid", ""},
    {114, "json", -1, CONNECT_STRING, FORM_TEXT, DATA "Json", ""},
    {3802, "jsonb", -1, CONNECT_STRING, FORM_TEXT, DATA "Json", ""},
    {142, "xml", -1, CONNECT_STRING, FORM_TEXT, DATA "Xml", ""},
    {FIRST_OID, "ltree", -1, CONNECT_STRING, FORM_TEXT, DATA "Ltree", ""},
    {3614, "tsvector", -1, CONNECT_STRING, FORM_TEXT, DATA "Tsvector", ""},
    {FIRST_OID, "hstore", -1, CONNECT_STRING, FORM_HSTORE, DATA "Json", ""},
    {1082, "date", -1, CONNECT_INT32, FORM_DATE, TIME "Date", ""},
    {1083, "time", -1, CONNECT_INT64, FORM_TIME, TIME "MicroTime", ""},
    {1083, "time", 4, CONNECT_INT64, FORM_TIME, TIME "MicroTime", ""},
    {1083, "time", 3, CONNECT_INT32, FORM_TIME, TIME "Time", ""},
    {1083, "time", 0, CONNECT_INT32, FORM_TIME, TIME "Time", ""},
    {1114, "timestamp", -1, CONNECT_INT64, FORM_TIMESTAMP, TIME "MicroTimestamp", ""},
    {1114, "timestamp", 3, CONNECT_INT64, FORM_TIMESTAMP, TIME "Timestamp", ""},
    {1184, "timestamptz", -1, CONNECT_STRING, FORM_TIMESTAMPTZ, TIME "ZonedTimestamp", ""},
    {1184, "timestamptz", 0, CONNECT_STRING, FORM_TIMESTAMPTZ, TIME "ZonedTimestamp", ""},
    {1266, "timetz", -1, CONNECT_STRING, FORM_TIMETZ, TIME "ZonedTime", ""},
    {1186, "interval", -1, CONNECT_INT64, FORM_INTERVAL, TIME "MicroDuration", ""},
    {600, "point", -1, CONNECT_STRUCT, FORM_POINT, DATA "geometry.Point", ""},
    {601, "lseg", -1, CONNECT_STRUCT, FORM_LSEG, DATA "geometry.Geometry", ""},
    {602, "path", -1, CONNECT_STRUCT, FORM_PATH, DATA "geometry.Geometry", ""},
    {603, "box", -1, CONNECT_STRUCT, FORM_BOX, DATA "geometry.Geometry", ""},
    {604, "polygon", -1, CONNECT_STRUCT, FORM_POLYGON, DATA "geometry.Geometry", ""},
    {628, "line", -1, CONNECT_STRUCT, FORM_LINE, DATA "geometry.Line", ""},
    {718, "circle", -1, CONNECT_STRUCT, FORM_CIRCLE, DATA "geometry.Circle", ""},
    {FIRST_OID, "geometry", -1, CONNECT_STRUCT, FORM_GEOMETRY, DATA "geometry.Geometry", ""},
    {FIRST_OID, "geography", -1, CONNECT_STRUCT, FORM_GEOMETRY, DATA "geometry.Geography", ""},
    {FIRST_OID, "vector", 3, CONNECT_ARRAY, FORM_VECTOR, DATA "DoubleVector", ""},
    {FIRST_OID, "halfvec", 3, CONNECT_ARRAY, FORM_VECTOR, DATA "FloatVector", ""},
    {FIRST_OID, "sparsevec", 3, CONNECT_STRUCT, FORM_SPARSE_VECTOR, DATA "SparseDoubleVector", ""},
    {17, "bytea", -1, CONNECT_BYTES, FORM_BYTES, NULL, ""},
};
enum { CASE_COUNT = sizeof CASES / sizeof *CASES };

static void assert_kind(const Case *wanted, const Kind *kind) {
    char parameters[200] = "";
    for (int at = 0; at < kind->parameter_count; at++) {
        strcat(strcat(parameters, at == 0 ? "" : " "), kind->parameters[at].name);
        strcat(strcat(parameters, "="), kind->parameters[at].value);
    }
    if (kind->type != wanted->type || kind->form != wanted->form)
        fail_test("%s(%d) has type %d and form %d", wanted->type_name, wanted->modifier, kind->type,
                  kind->form);
    assert_text(wanted->type_name, kind->name, wanted->name);
    assert_text(wanted->type_name, parameters, wanted->parameters);
    assert_int_equal(kind->version, wanted->name == NULL                                  ? 0
                                    : strcmp(wanted->name, DATA "geometry.Geometry") == 0 ? 2
                                                                                          : 1);
}

static void every_type_has_its_schema(void **state) {
    for (int at = 0; at < CASE_COUNT; at++) {
        const Kind *kind = kind_plain(*state, CASES[at].oid, CASES[at].type_name, CASES[at].modifier);
        if (kind == NULL)
            fail_test("%s is left out", CASES[at].type_name);
        assert_kind(&CASES[at], kind);
        assert_true(kind->optional);
    }
}

static void so_has_an_array_of_it(void **state) {
    for (int at = 0; at < CASE_COUNT; at++) {
        const TypeFacts *element = type_make(*state, CASES[at].oid, CASES[at].type_name, 'b');
        const Kind *kind = kind_make(*state, type_array(*state, element), CASES[at].modifier);
        assert_true(kind->type == CONNECT_ARRAY && kind->form == FORM_ARRAY && kind->name == NULL);
        assert_kind(&CASES[at], kind->element);
        assert_true(kind->element->optional);
        assert_int_equal(kind->delimiter, ',');
    }
}

static void and_a_domain_over_it(void **state) {
    for (int at = 0; at < CASE_COUNT; at++) {
        const TypeFacts *base = type_make(*state, CASES[at].oid, CASES[at].type_name, 'b');
        const TypeFacts *inner = type_domain(*state, base, CASES[at].modifier);
        const TypeFacts *outer = type_domain(*state, inner, -1);
        assert_kind(&CASES[at], kind_make(*state, outer, -1));
        assert_kind(&CASES[at], kind_make(*state, type_array(*state, outer), -1)->element);
    }
}

static void structs_have_their_fields(void **state) {
    static const char *const lists[][4] = {
        {"scale", "value"}, {"x", "y", "wkb", "srid"}, {"wkb", "srid", "extensions"}, {"wkb", "srid"}};
    const Kind *kinds[] = {kind_plain(*state, 1700, "numeric", -1), kind_plain(*state, 600, "point", -1),
                           kind_plain(*state, FIRST_OID, "geometry", -1),
                           kind_plain(*state, FIRST_OID, "geography", -1)};
    for (int at = 0; at < 4; at++)
        for (int field = 0; field < kinds[at]->field_count; field++)
            assert_text("field", kinds[at]->fields[field].name, lists[at][field]);
    assert_int_equal(kinds[0]->field_count, 2);
    assert_int_equal(kinds[1]->field_count, 4);
    assert_int_equal(kinds[2]->field_count, 3);
    assert_int_equal(kinds[3]->field_count, 2);
    const ColumnFacts facts = {
        .type = type_make(*state, FIRST_OID, "geometry", 'b'), .modifier = -1, .not_null = true};
    assert_true(kind_of(*state, &facts, (KindOptions){0})->optional); /* as in Debezium since 3.7 */
}

static void enums_name_their_labels_in_order(void **state) {
    static const char *const labels[] = {"sad", "ok", "happy"};
    TypeFacts *type = type_make(*state, FIRST_OID, "mood", 'e');
    type->label_count = 3;
    type->labels = labels;
    const Case wanted = {
        FIRST_OID, "mood", -1, CONNECT_STRING, FORM_TEXT, DATA "Enum", "allowed=sad,ok,happy"};
    assert_kind(&wanted, kind_make(*state, type, -1));
    assert_kind(&wanted, kind_make(*state, type_array(*state, type), -1)->element);
}

static void ranges_of_any_kind_are_text(void **state) {
    assert_int_equal(kind_make(*state, type_make(*state, FIRST_OID, "float_range", 'r'), -1)->form,
                     FORM_TEXT);
    assert_int_equal(kind_make(*state, type_make(*state, 4451, "int4multirange", 'm'), -1)->form, FORM_TEXT);
}

static void other_types_are_left_out_or_bytes(void **state) {
    static const struct {
        uint32_t oid;
        const char *name;
        char sort;
    } types[] = {{27, "tid", 'b'},           {3220, "pg_lsn", 'b'},
                 {3615, "tsquery", 'b'},     {FIRST_OID, "address", 'c'},
                 {FIRST_OID, "hstore", 'c'}, {5000, "citext", 'b'}};
    for (size_t at = 0; at < sizeof types / sizeof *types; at++) {
        const TypeFacts *type = type_make(*state, types[at].oid, types[at].name, types[at].sort);
        assert_null(kind_make(*state, type, -1));
        assert_null(kind_make(*state, type_array(*state, type), -1));
        const Kind *kind =
            kind_of(*state, &(ColumnFacts){.type = type, .modifier = -1}, (KindOptions){.unknown = true});
        assert_true(kind->type == CONNECT_BYTES && kind->form == FORM_RAW && kind->name == NULL);
    }
}

static void required_is_what_is_not_null(void **state) {
    const ColumnFacts facts = {.type = type_make(*state, 23, "int4", 'b'), .modifier = -1, .not_null = true};
    const Kind *kind = kind_of(*state, &facts, (KindOptions){0});
    assert_false(kind->optional);
    assert_ptr_equal(kind_optional(*state, kind, false), kind);
    assert_true(kind_optional(*state, kind, true)->optional);
    assert_false(kind->optional);
}

static void defaults(void **state) {
    static const struct {
        uint32_t oid;
        const char *name;
        int32_t modifier;
        const char *expression, *text;
    } cases[] = {
        {23, "int4", -1, "7", "7"},
        {23, "int4", -1, "'-7'::integer", "-7"},
        {23, "int4", -1, "(-7)", "-7"},
        {23, "int4", -1, "nextval('s.seq'::regclass)", "0"},
        {23, "int4", -1, "(1 + 2)", NULL},
        {23, "int4", -1, "1 + 2", NULL},
        {23, "int4", -1, "NULL::integer", NULL},
        {20, "int8", -1, "'9223372036854775807'::bigint", "9223372036854775807"},
        {701, "float8", -1, "1.5", "1.5"},
        {1700, "numeric", NUMERIC(10, 2), "0.00", "0.00"},
        {1700, "numeric", -1, "0", NULL}, /* a struct */
        {25, "text", -1, "'it''s'::text", "it's"},
        {25, "text", -1, "''::text", ""},
        {25, "text", -1, "'a'::text || 'b'::text", NULL},
        {25, "text", -1, "'a' 'b'", NULL},
        {25, "text", -1, "'a", NULL},
        {25, "text", -1, "E'a\\nb'::text", NULL},
        {25, "text", -1, "CURRENT_USER", NULL},
        {25, "text", -1, "upper('x'::text)", ""},
        {1043, "varchar", 14, "'abc'::character varying(10)", "abc"},
        {16, "bool", -1, "true", "t"},
        {16, "bool", -1, "false", "f"},
        {16, "bool", -1, "random_flag()", "f"},
        {16, "bool", -1, "NULL::boolean", NULL},
        {1560, "bit", 3, "B'101'::\"bit\"", "101"},
        {1560, "bit", 1, "B'1'::\"bit\"", "1"},
        {3802, "jsonb", -1, "'{\"a\": 1}'::jsonb", "{\"a\": 1}"},
        {3802, "jsonb", -1, "jsonb_build_object()", "{}"},
        {2950, "uuid", -1, "public.gen_random_uuid()", "00000000-0000-0000-0000-000000000000"},
        {142, "xml", -1, "make()", ""},
        {1082, "date", -1, "CURRENT_DATE", "1970-01-01"},
        {1083, "time", -1, "LOCALTIME(3)", "00:00:00"},
        {1114, "timestamp", -1, "(now() + '1 day'::interval)", "1970-01-01 00:00:00"},
        {1184, "timestamptz", -1, "now()", "1970-01-01 00:00:00+00"},
        {1184, "timestamptz", -1, "'2020-01-01 00:00:00+00'::timestamp with time zone",
         "2020-01-01 00:00:00+00"},
        {1186, "interval", -1, "'01:00:00'::interval", "01:00:00"},
        {1186, "interval", -1, "make_interval()", "00:00:00"},
        {3614, "tsvector", -1, "to_tsvector('x'::text)", NULL},
        {17, "bytea", -1, "'\\x00'::bytea", NULL},
        {790, "money", -1, "'$1.00'::money", NULL},
        {26, "oid", -1, "7", NULL},
        {869, "inet", -1, "'127.0.0.1'::inet", NULL},
        {3904, "int4range", -1, "'[1,2)'::int4range", NULL},
        {19, "name", -1, "'a'::name", NULL},
        {FIRST_OID, "citext", -1, "'a'::citext", NULL},
        {FIRST_OID, "ltree", -1, "'a.b'::ltree", NULL},
    };
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
        const ColumnFacts facts = {.type = type_make(*state, cases[at].oid, cases[at].name, 'b'),
                                   .modifier = cases[at].modifier,
                                   .default_expression = cases[at].expression};
        const Kind *kind = kind_of(*state, &facts, (KindOptions){0});
        assert_text(cases[at].expression, kind->fallback, cases[at].text);
    }
}

static void domains_have_no_defaults(void **state) {
    const TypeFacts *type = type_domain(*state, type_make(*state, 23, "int4", 'b'), -1);
    const ColumnFacts facts = {.type = type, .modifier = -1, .default_expression = "7"};
    assert_text("domain", kind_of(*state, &facts, (KindOptions){0})->fallback, NULL);
}

static void defaults_of_enums_are_labels(void **state) {
    static const char *const labels[] = {"sad"};
    TypeFacts *type = type_make(*state, FIRST_OID, "mood", 'e');
    type->label_count = 1;
    type->labels = labels;
    ColumnFacts facts = {.type = type, .modifier = -1, .default_expression = "'sad'::s.mood"};
    assert_text("enum", kind_of(*state, &facts, (KindOptions){0})->fallback, "sad");
    facts.default_expression = "some_mood()";
    assert_text("enum", kind_of(*state, &facts, (KindOptions){0})->fallback, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_make, arena_drop)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_type_has_its_schema),
                                       TEST(so_has_an_array_of_it),
                                       TEST(and_a_domain_over_it),
                                       TEST(structs_have_their_fields),
                                       TEST(enums_name_their_labels_in_order),
                                       TEST(ranges_of_any_kind_are_text),
                                       TEST(other_types_are_left_out_or_bytes),
                                       TEST(required_is_what_is_not_null),
                                       TEST(defaults),
                                       TEST(domains_have_no_defaults),
                                       TEST(defaults_of_enums_are_labels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
