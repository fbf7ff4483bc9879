#include <string.h>

#include "batches.h"
#include "sink/postgres/set_rows.h"
#include "sink/postgres/set_statement.h"
#include "testing.h"

enum { COLUMNS = 3 };

/* A plan for s.t (id, v, w): id is the key. */
typedef struct Fixture {
    Arena *arena;
    Plan plan;
    PlanColumn columns[COLUMNS];
    Writer out;
} Fixture;

static int fixture_make(void **state) {
    static const char *const quoted[COLUMNS] = {"\"id\"", "\"v\"", "\"w\""};
    static const char *const types[COLUMNS] = {"integer", "text", "integer[]"};
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    f->arena = arena;
    f->out = writer_new(1 << 16);
    f->plan = (Plan){.rel = relation_make(arena, 0, "s", "t", 'd', "id*,v,w"),
                     .table = "\"s\".\"t\"",
                     .columns = f->columns};
    for (int column = 0; column < COLUMNS; column++)
        f->columns[column] = (PlanColumn){.quoted = quoted[column],
                                          .equal = " = ",
                                          .type = types[column],
                                          .writable = true,
                                          .key = column == 0};
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    writer_free(&f->out);
    arena_free(f->arena);
    return 0;
}

/* `forms`: of written columns, then of key columns: "t" text, "b" binary, "." left out. */
static SetShape *shape(Fixture *f, SetKind kind, const char *forms) {
    uint8_t list[2 * COLUMNS];
    uint32_t next = 0;
    for (int at = 0; at < 2 * COLUMNS; at++)
        list[at] = forms[at] == 't' ? SET_TEXT : forms[at] == 'b' ? SET_BINARY : SET_LEFT_OUT;
    return plan_set(&f->plan, f->arena, kind, list, &next);
}

static void assert_sql(Fixture *f, SetKind kind, const char *forms, const char *expected) {
    writer_reset(&f->out);
    set_statement_write(&f->out, &f->plan, shape(f, kind, forms));
    assert_string_equal(writer_string(&f->out), expected);
}

static void statements(void **state) {
    Fixture *f = *state;
    assert_sql(f, SET_DELETE, "...t..",
               "DELETE FROM \"s\".\"t\" AS t USING (SELECT pg_catalog.unnest($1::text[]) AS c1) AS n"
               " WHERE t.\"id\" = n.c1::integer");
    assert_sql(f, SET_UPDATE, ".ttt..",
               "UPDATE \"s\".\"t\" AS t SET \"v\" = n.c1::text, \"w\" = n.c2::integer[] FROM"
               " (SELECT pg_catalog.unnest($1::text[]) AS c1, pg_catalog.unnest($2::text[]) AS c2,"
               " pg_catalog.unnest($3::text[]) AS c3) AS n WHERE t.\"id\" = n.c3::integer");
    assert_sql(f, SET_UPDATE, "bb.b..",
               "UPDATE \"s\".\"t\" AS t SET \"id\" = n.c1, \"v\" = n.c2 FROM"
               " (SELECT pg_catalog.unnest($1::integer[]) AS c1, pg_catalog.unnest($2::text[]) AS c2,"
               " pg_catalog.unnest($3::integer[]) AS c3) AS n WHERE t.\"id\" = n.c3");
    f->columns[0].always = true;
    assert_sql(f, SET_INSERT, "tt....",
               "INSERT INTO \"s\".\"t\" (\"id\", \"v\") OVERRIDING SYSTEM VALUE SELECT n.c1::integer, "
               "n.c2::text FROM"
               " (SELECT pg_catalog.unnest($1::text[]) AS c1, pg_catalog.unnest($2::text[]) AS c2) AS n");
    f->plan.only = true;
    f->columns[0].equal = " OPERATOR(ext.=) ";
    assert_sql(f, SET_DELETE, "...t..",
               "DELETE FROM ONLY \"s\".\"t\" AS t USING (SELECT pg_catalog.unnest($1::text[]) AS c1) AS n"
               " WHERE t.\"id\" OPERATOR(ext.=) n.c1::integer");
}

static void a_shape_is_made_once(void **state) {
    Fixture *f = *state;
    assert_ptr_equal(shape(f, SET_UPDATE, ".ttt.."), shape(f, SET_UPDATE, ".ttt.."));
    assert_ptr_not_equal(shape(f, SET_UPDATE, ".ttt.."), shape(f, SET_UPDATE, ".bbb.."));
    assert_ptr_not_equal(shape(f, SET_DELETE, "...t.."), shape(f, SET_UPDATE, "...t.."));
    assert_int_equal(shape(f, SET_INSERT, "tt....")->written, 2);
}

static void arrays_are_as_array_recv_reads_them(void **state) {
    Fixture *f = *state;
    SetRows *rows = set_rows_new();
    const char *values[2 * COLUMNS];
    int lengths[2 * COLUMNS], formats[2 * COLUMNS];
    NetRow one = {.values = row_make(f->arena, f->plan.rel, "7|ab|x"),
                  .origin = row_make(f->arena, f->plan.rel, "6|-|-")};
    NetRow two = {.values = row_make(f->arena, f->plan.rel, "8|\\N|x"),
                  .origin = row_make(f->arena, f->plan.rel, "8|-|-")};
    set_rows_begin(rows, &f->plan, shape(f, SET_UPDATE, ".t.t.."));
    assert_true(set_rows_add(rows, &one) && set_rows_add(rows, &two));
    assert_int_equal(set_rows_count(rows), 2);
    assert_int_equal(set_rows_values(rows, values, lengths, formats), 2);
    static const char V[] = "\0\0\0\1\0\0\0\1\0\0\0\31\0\0\0\2\0\0\0\1"
                            "\0\0\0\2ab\377\377\377\377";
    static const char KEY[] = "\0\0\0\1\0\0\0\1\0\0\0\31\0\0\0\2\0\0\0\1"
                              "\0\0\0\0016\0\0\0\0018";
    assert_int_equal(lengths[0], sizeof V - 1);
    assert_memory_equal(values[0], V, sizeof V - 1);
    assert_int_equal(lengths[1], sizeof KEY - 1);
    assert_memory_equal(values[1], KEY, sizeof KEY - 1);
    assert_int_equal(formats[0], 1);
    set_rows_begin(rows, &f->plan, shape(f, SET_UPDATE, ".b.b.."));
    assert_false(set_rows_add(rows, &one)); /* text where binary was to come */
    set_rows_free(rows);
}

static void copy_escapes_what_it_has_to(void **state) {
    Fixture *f = *state;
    SetShape *text = shape(f, SET_INSERT, "ttt...");
    NetRow row = {.values = row_make(f->arena, f->plan.rel, "1|a\tb\\c\nd\re\bf\fg\vh\x7f\xc3\xa4|\\N")};
    writer_reset(&f->out);
    set_rows_copy_begin(&f->out, text);
    assert_true(set_rows_copy_add(&f->out, &f->plan, text, &row));
    set_rows_copy_end(&f->out, text);
    assert_string_equal(writer_string(&f->out), "1\ta\\tb\\\\c\\nd\\re\\bf\\fg\\vh\x7f\xc3\xa4\t\\N\n");
    writer_reset(&f->out);
    set_statement_write_copy(&f->out, &f->plan, text);
    assert_string_equal(writer_string(&f->out), "COPY \"s\".\"t\" (\"id\", \"v\", \"w\") FROM STDIN");
}

static void copy_in_binary_has_its_frame(void **state) {
    Fixture *f = *state;
    SetShape *binary = shape(f, SET_INSERT, "bb....");
    Value *values = row_make(f->arena, f->plan.rel, "1|\\N|x");
    values[0].kind = VALUE_BINARY;
    NetRow row = {.values = values};
    writer_reset(&f->out);
    set_rows_copy_begin(&f->out, binary);
    assert_true(set_rows_copy_add(&f->out, &f->plan, binary, &row));
    set_rows_copy_end(&f->out, binary);
    static const char EXPECTED[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"
                                   "\0\2\0\0\0\0011\377\377\377\377"
                                   "\377\377";
    assert_int_equal(f->out.len, sizeof EXPECTED - 1);
    assert_memory_equal(f->out.at, EXPECTED, sizeof EXPECTED - 1);
    writer_reset(&f->out);
    set_statement_write_copy(&f->out, &f->plan, binary);
    assert_string_equal(writer_string(&f->out),
                        "COPY \"s\".\"t\" (\"id\", \"v\") FROM STDIN (FORMAT binary)");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(statements), TEST(a_shape_is_made_once),
                                       TEST(arrays_are_as_array_recv_reads_them),
                                       TEST(copy_escapes_what_it_has_to), TEST(copy_in_binary_has_its_frame)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
