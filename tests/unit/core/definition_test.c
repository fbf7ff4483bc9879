#include <stdlib.h>
#include <string.h>

#include "core/definition.h"
#include "testing.h"

typedef struct Case {
    const char *before, *after, *alterations;
} Case;

/* "id int4 1, v text 2": names, types by their OID or a digit, numbers (none: 0). */
static const Definition *definition(Arena *arena, const char *text) {
    DefinedColumn *columns = arena_alloc(arena, 20 * sizeof *columns);
    Definition *d = arena_alloc(arena, sizeof *d);
    *d = (Definition){"s", "t", 0, columns};
    char *rest = arena_text(arena, slice_text(text));
    for (char *word; (word = strsep(&rest, ",")) != NULL && *word != '\0'; d->count++) {
        char *name = arena_alloc(arena, 20);
        unsigned type = 23;
        int number = 0;
        sscanf(word, " %19[a-z]:%u#%d", name, &type, &number);
        columns[d->count] = (DefinedColumn){name, type, -1, number};
    }
    return d;
}

static const char *altered(Arena *arena, const char *before, const char *after) {
    static const char *const verbs[] = {"drop", "rename", "type", "add"};
    Alteration list[80];
    Writer out = writer_new(1000);
    int count = definition_alterations(definition(arena, before), definition(arena, after), list);
    for (int at = 0; at < count; at++)
        writer_format(&out, "%s%s%s %s%s%s", at == 0 ? "" : ", ", verbs[list[at].kind],
                      list[at].doubtful ? "?" : "", list[at].before == NULL ? "" : list[at].before->name,
                      list[at].before == NULL || list[at].after == NULL ? "" : ">",
                      list[at].after == NULL ? "" : list[at].after->name);
    const char *text = arena_text(arena, writer_slice(&out));
    writer_free(&out);
    return text;
}

static void changes_are_told_apart(void **state) {
    static const Case cases[] = {
        {"id,v:25", "id,v:25", ""},
        {"id,v:25", "id,v:25,w", "add w"},
        {"id,v:25,w", "id,w", "drop v"},
        {"id,v:25", "id,v:1043", "type v>v"},
        /* by name alone: certain where an old column follows */
        {"id,v:25,w", "id,u:25,w", "rename v>u"},
        {"id,v:25", "id,u:25", "rename? v>u"},
        {"id,v:25", "id,u:20", "drop v, add u"},
        {"id,a,b", "id,b,a", "rename? a>b, rename? b>a"},
        {"id,a,b,z:25", "id,b,a,z:25", "rename a>b, rename b>a"},
        {"id,a,b", "id,b,c", "drop a, add c"},
        /* by number: never in doubt */
        {"id:23#1,v:25#2", "id:23#1,u:25#2", "rename v>u"},
        {"id:23#1,v:25#2", "id:23#1,u:25#3", "drop v, add u"},
        {"id:23#1,v:25#2", "id:23#1,v:25#3", "drop v, add v"},
        {"id:23#1,a:23#2,b:23#3", "id:23#1,b:23#2,a:23#3", "rename a>b, rename b>a"},
        {"id:23#1,a:23#2", "id:23#1,b:20#2", "rename a>b, type a>b"},
        {"", "id", "add id"},
        {"id", "", "drop id"},
    };
    (void)state;
    Arena *arena = arena_new();
    for (size_t at = 0; at < sizeof cases / sizeof *cases; at++)
        assert_string_equal(altered(arena, cases[at].before, cases[at].after), cases[at].alterations);
    arena_free(arena);
}

static void text_round_trips(void **state) {
    (void)state;
    Arena *arena = arena_new();
    DefinedColumn columns[] = {{"I\"d", 4294967295u, -1, 1}, {"ü", 23, 1028, 7}};
    Definition d = {"S 1", "t\\", 2, columns};
    Writer out = writer_new(1000);
    definition_write(&out, &d);
    const Definition *read = definition_read(arena, writer_string(&out));
    assert_non_null(read);
    assert_true(definition_same_name(&d, read));
    assert_int_equal(read->count, 2);
    for (int at = 0; at < 2; at++) {
        assert_string_equal(read->columns[at].name, columns[at].name);
        assert_true(read->columns[at].type == columns[at].type);
        assert_int_equal(read->columns[at].modifier, columns[at].modifier);
        assert_int_equal(read->columns[at].number, columns[at].number);
    }
    writer_free(&out);
    arena_free(arena);
}

static void other_text_is_refused(void **state) {
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"schema\":\"s\"}",
        "{\"schema\":\"s\",\"name\":\"t\",\"columns\":[[\"a\",1]]}",
        "{\"schema\":\"s\",\"name\":\"t\",\"columns\":[7]}",
    };
    (void)state;
    Arena *arena = arena_new();
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++)
        assert_null(definition_read(arena, texts[at]));
    arena_free(arena);
}

static void a_relation_is_compared_in_order(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Column columns[] = {{"id", 23, -1, true}, {"v", 25, -1, false}};
    Relation rel = {.schema = "s", .name = "t", .column_count = 2, .columns = columns};
    assert_true(definition_describes(definition(arena, "id,v:25"), &rel));
    assert_true(definition_describes(definition_of_relation(arena, &rel), &rel));
    assert_false(definition_describes(definition(arena, "id"), &rel));
    assert_false(definition_describes(definition(arena, "v:25,id"), &rel));
    assert_false(definition_describes(definition(arena, "id,v:20"), &rel));
    columns[1].modifier = 8;
    assert_false(definition_describes(definition(arena, "id,v:25"), &rel));
    columns[1].modifier = -1;
    rel.name = "u";
    assert_false(definition_describes(definition(arena, "id,v:25"), &rel));
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_told_apart),
        cmocka_unit_test(text_round_trips),
        cmocka_unit_test(other_text_is_refused),
        cmocka_unit_test(a_relation_is_compared_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
