#include <string.h>

#include "sink/postgres/ddl_message.h"
#include "testing.h"

static bool read_text(Arena *arena, const char *text, DdlMessage *out) {
    return ddl_message_read(arena, slice_text(text), out);
}

static void a_definition_is_read(void **state) {
    (void)state;
    Arena *arena = arena_new();
    DdlMessage m;
    assert_true(read_text(
        arena,
        "{\"oid\": 17, \"schema\": \"s\", \"name\": \"t\", \"columns\": ["
        "[\"id\", 23, -1, 1, \"\", \"integer\", true, null, \"a\", \"\", null],"
        "[\"w\", 4294967295, 20, 4, \"my\", \"odd(16)\", false, \"'x'::my.odd\", \"\", \"\", \"x\"],"
        "[\"g\", 23, -1, 5, \"\", \"integer\", false, \"(id * 2)\", \"\", \"s\", null]]}",
        &m));
    assert_int_equal(m.oid, 17);
    assert_false(m.rewrite);
    assert_null(m.index);
    assert_int_equal(m.definition->count, 3);
    assert_string_equal(m.definition->schema, "s");
    const DefinedColumn *w = &m.definition->columns[1];
    assert_string_equal(w->name, "w");
    assert_true(w->type == 4294967295u && w->modifier == 20 && w->number == 4);
    assert_true(m.columns[0].not_null && m.columns[0].value == NULL && m.columns[0].missing == NULL);
    assert_string_equal(m.columns[1].type_schema, "my");
    assert_string_equal(m.columns[1].type_text, "odd(16)");
    assert_string_equal(m.columns[1].value, "'x'::my.odd");
    assert_string_equal(m.columns[1].missing, "x");
    assert_true(!m.columns[1].generated && m.columns[2].generated);
    arena_free(arena);
}

static void a_rewrite_and_indexes_are_read(void **state) {
    (void)state;
    Arena *arena = arena_new();
    DdlMessage m;
    assert_true(read_text(arena, "{\"rewrite\": 17}", &m));
    assert_true(m.rewrite && m.oid == 17 && m.definition == NULL);
    assert_true(
        read_text(arena,
                  "{\"index\": 17, \"create\": \"CREATE INDEX i\", \"schema\": \"s\", \"name\": \"i\","
                  " \"partitioned\": true}",
                  &m));
    assert_true(!m.rewrite && m.oid == 17);
    assert_string_equal(m.index, "i");
    assert_string_equal(m.index_schema, "s");
    assert_string_equal(m.index_create, "CREATE INDEX i");
    assert_true(m.partitioned);
    assert_false(read_text(arena, "{\"index\": 17, \"create\": \"CREATE INDEX i\", \"schema\": \"s\"}", &m));
    assert_false(read_text(arena, "{\"drop_index\": [\"s\"]}", &m));
    assert_true(read_text(arena, "{\"drop_index\": [\"s\", \"i\"]}", &m));
    assert_int_equal(m.oid, 0);
    assert_string_equal(m.index, "i");
    arena_free(arena);
}

static void what_is_no_message_of_ours_is_refused(void **state) {
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"oid\": \"17\"}",
        "{\"oid\": 17}",
        "{\"oid\": 17, \"schema\": \"s\", \"name\": \"t\", \"columns\": [[\"id\"]]}",
        "{\"oid\":17,\"schema\":\"s\",\"name\":\"t\",\"columns\":[[\"id\",23,-1,1,\"\",\"int\",true]]}",
    };
    (void)state;
    Arena *arena = arena_new();
    DdlMessage m;
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++)
        assert_false(read_text(arena, texts[at], &m));
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_definition_is_read),
        cmocka_unit_test(a_rewrite_and_indexes_are_read),
        cmocka_unit_test(what_is_no_message_of_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
