#include <string.h>

#include "batches.h"
#include "sink/postgres/statement.h"
#include "testing.h"

enum { COLUMNS = 3 };

/* A plan for public.t (id, v, w): id is the key. */
typedef struct Fixture {
    Arena *arena;
    Plan plan;
    PlanColumn columns[COLUMNS];
    Writer sql;
} Fixture;

static int fixture_make(void **state) {
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    static const char *const quoted[COLUMNS] = {"\"id\"", "\"v\"", "\"w\""};
    static const char *const types[COLUMNS] = {"integer", "text", "json"};
    f->arena = arena;
    f->sql = writer_new(1 << 16);
    f->plan = (Plan){.rel = relation_make(arena, 0, "public", "t", 'd', "id*,v,w"),
                     .table = "\"public\".\"t\"",
                     .columns = f->columns};
    for (int column = 0; column < COLUMNS; column++)
        f->columns[column] =
            (PlanColumn){.quoted = quoted[column], .equal = " = ", .type = types[column], .writable = true};
    f->columns[0].key = true;
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    writer_free(&f->sql);
    arena_free(f->arena);
    return 0;
}

/* `written`: one character a column, "x" where it is. */
static void assert_sql_found(Fixture *f, ShapeKind kind, const char *written, int finder,
                             const char *expected, uint16_t parameters) {
    Shape *shape = arena_alloc(f->arena, sizeof *shape + COLUMNS);
    shape->kind = kind;
    shape->finder = finder;
    for (int column = 0; column < COLUMNS; column++)
        shape->written[column] = written[column] == 'x';
    writer_reset(&f->sql);
    uint16_t count = statement_write(&f->sql, &f->plan, shape);
    assert_string_equal(writer_string(&f->sql), expected);
    assert_int_equal(count, parameters);
}

static void assert_sql(Fixture *f, ShapeKind kind, const char *written, const char *expected,
                       uint16_t parameters) {
    assert_sql_found(f, kind, written, -1, expected, parameters);
}

static void whole_row(Fixture *f) {
    f->plan.where = PLAN_WHERE_WHOLE_ROW;
    f->columns[0].key = false;
}

static void an_insert_names_its_columns(void **state) {
    assert_sql(*state, SHAPE_INSERT, "xxx",
               "INSERT INTO \"public\".\"t\" (\"id\", \"v\", \"w\") VALUES ($1, $2, $3)", 3);
    assert_sql(*state, SHAPE_INSERT, "x.x", "INSERT INTO \"public\".\"t\" (\"id\", \"w\") VALUES ($1, $2)",
               2);
}

static void an_insert_without_columns_takes_the_defaults(void **state) {
    assert_sql(*state, SHAPE_INSERT, "...", "INSERT INTO \"public\".\"t\" DEFAULT VALUES", 0);
}

static void an_insert_overrides_an_always_identity_it_names(void **state) {
    Fixture *f = *state;
    f->columns[0].always = f->plan.has_always = true;
    assert_sql(f, SHAPE_INSERT, "xx.",
               "INSERT INTO \"public\".\"t\" (\"id\", \"v\") OVERRIDING SYSTEM VALUE VALUES ($1, $2)", 2);
    assert_sql(f, SHAPE_INSERT, ".x.", "INSERT INTO \"public\".\"t\" (\"v\") VALUES ($1)", 1);
}

static void an_update_finds_its_row_by_the_key(void **state) {
    assert_sql(*state, SHAPE_UPDATE, ".xx",
               "UPDATE \"public\".\"t\" SET \"v\" = $1, \"w\" = $2 WHERE \"id\" = $3::integer", 3);
    assert_sql(*state, SHAPE_UPDATE, "x..",
               "UPDATE \"public\".\"t\" SET \"id\" = $1 WHERE \"id\" = $2::integer", 2);
}

static void a_key_of_several_columns_needs_all_of_them(void **state) {
    Fixture *f = *state;
    f->columns[2].key = true;
    assert_sql(f, SHAPE_UPDATE, ".x.",
               "UPDATE \"public\".\"t\" SET \"v\" = $1 WHERE \"id\" = $2::integer AND \"w\" = $3::json", 3);
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM \"public\".\"t\" WHERE \"id\" = $1::integer AND \"w\" = $2::json", 2);
}

static void an_update_of_nothing_still_looks_for_its_row(void **state) {
    Fixture *f = *state;
    assert_sql(f, SHAPE_UPDATE, "...",
               "UPDATE \"public\".\"t\" SET \"id\" = \"id\" WHERE \"id\" = $1::integer", 1);
    f->columns[0].always = f->plan.has_always = true;
    f->columns[1].writable = false;
    assert_sql(f, SHAPE_UPDATE, "...", "UPDATE \"public\".\"t\" SET \"w\" = \"w\" WHERE \"id\" = $1::integer",
               1);
}

static void a_delete_finds_its_row_by_the_key(void **state) {
    assert_sql(*state, SHAPE_DELETE, "...", "DELETE FROM \"public\".\"t\" WHERE \"id\" = $1::integer", 1);
}

static void a_parent_table_is_changed_alone(void **state) {
    Fixture *f = *state;
    f->plan.only = true;
    assert_sql(f, SHAPE_UPDATE, ".x.",
               "UPDATE ONLY \"public\".\"t\" SET \"v\" = $1 WHERE \"id\" = $2::integer", 2);
    assert_sql(f, SHAPE_DELETE, "...", "DELETE FROM ONLY \"public\".\"t\" WHERE \"id\" = $1::integer", 1);
    assert_sql(f, SHAPE_INSERT, "x..", "INSERT INTO \"public\".\"t\" (\"id\") VALUES ($1)", 1);
    whole_row(f);
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM ONLY \"public\".\"t\" WHERE ctid = (SELECT ctid FROM ONLY \"public\".\"t\" WHERE"
               " ROW(\"id\", \"v\", \"w\")::record *= ROW($1::integer, $2::text, $3::json)::record LIMIT 1)",
               3);
}

static void an_operator_outside_pg_catalog_is_named_whole(void **state) {
    Fixture *f = *state;
    f->columns[0].equal = " OPERATOR(\"public\".=) ";
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM \"public\".\"t\" WHERE \"id\" OPERATOR(\"public\".=) $1::integer", 1);
}

static void a_domain_is_compared_as_what_it_is_in_the_end(void **state) {
    Fixture *f = *state;
    f->columns[0].type = "public.real_mood";
    f->columns[0].base = "public.mood";
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM \"public\".\"t\" WHERE \"id\"::public.mood = $1::public.mood", 1);
}

static void names_are_taken_as_they_were_quoted(void **state) {
    Fixture *f = *state;
    f->plan.table = "\"my \"\"schema\"\"\".\"a.b\"";
    f->columns[0].quoted = "\"I d\"";
    f->columns[1].quoted = "\"sel\"\"ect\"";
    assert_sql(f, SHAPE_UPDATE, ".x.",
               "UPDATE \"my \"\"schema\"\"\".\"a.b\" SET \"sel\"\"ect\" = $1 WHERE \"I d\" = $2::integer", 2);
}

static void trap_B9_a_whole_row_is_matched_by_its_image_and_one_row_only(void **state) {
    Fixture *f = *state;
    whole_row(f);
    assert_sql(f, SHAPE_UPDATE, "xx.",
               "UPDATE \"public\".\"t\" SET \"id\" = $1, \"v\" = $2 WHERE ctid = (SELECT ctid FROM"
               " \"public\".\"t\" WHERE ROW(\"id\", \"v\", \"w\")::record *="
               " ROW($3::integer, $4::text, $5::json)::record LIMIT 1)",
               5);
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM \"public\".\"t\" WHERE ctid = (SELECT ctid FROM \"public\".\"t\" WHERE"
               " ROW(\"id\", \"v\", \"w\")::record *= ROW($1::integer, $2::text, $3::json)::record LIMIT 1)",
               3);
}

static void types_with_many_images_are_matched_by_their_text(void **state) {
    Fixture *f = *state;
    whole_row(f);
    f->columns[1].type = "real";
    f->columns[1].by_text = true;
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM \"public\".\"t\" WHERE ctid = (SELECT ctid FROM \"public\".\"t\" WHERE"
               " ROW(\"id\", \"v\"::text, \"w\")::record *="
               " ROW($1::integer, $2::real::text, $3::json)::record LIMIT 1)",
               3);
}

static void generated_columns_are_no_part_of_a_whole_row(void **state) {
    Fixture *f = *state;
    whole_row(f);
    f->columns[1].writable = false;
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM \"public\".\"t\" WHERE ctid = (SELECT ctid FROM \"public\".\"t\" WHERE"
               " ROW(\"id\", \"w\")::record *= ROW($1::integer, $2::json)::record LIMIT 1)",
               2);
}

static void an_indexed_column_finds_the_candidates_of_a_whole_row(void **state) {
    Fixture *f = *state;
    whole_row(f);
    f->columns[0].writable = false;
    assert_sql_found(
        f, SHAPE_UPDATE, "..x", 1,
        "UPDATE \"public\".\"t\" SET \"w\" = $1 WHERE ctid = (SELECT ctid FROM \"public\".\"t\""
        " WHERE \"v\" = $2::text AND ROW(\"v\", \"w\")::record *= ROW($2::text, $3::json)::record"
        " LIMIT 1)",
        3);
}

static void a_row_of_a_partitioned_table_is_in_one_of_its_partitions(void **state) {
    Fixture *f = *state;
    whole_row(f);
    f->plan.partitioned = true;
    assert_sql(f, SHAPE_DELETE, "...",
               "DELETE FROM \"public\".\"t\" WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM"
               " \"public\".\"t\" WHERE ROW(\"id\", \"v\", \"w\")::record *="
               " ROW($1::integer, $2::text, $3::json)::record LIMIT 1)",
               3);
}

static void a_reinsert_takes_from_the_row_what_is_not_written(void **state) {
    Fixture *f = *state;
    f->columns[0].always = f->plan.has_always = true;
    assert_sql(f, SHAPE_REINSERT, "x.x",
               "WITH old AS (DELETE FROM \"public\".\"t\" WHERE \"id\" = $3::integer RETURNING *) INSERT INTO"
               " \"public\".\"t\" (\"id\", \"v\", \"w\") OVERRIDING SYSTEM VALUE"
               " SELECT $1::integer, old.\"v\", $2::json FROM old",
               3);
    f->columns[1].writable = false;
    assert_sql(f, SHAPE_REINSERT, "x..",
               "WITH old AS (DELETE FROM \"public\".\"t\" WHERE \"id\" = $2::integer RETURNING *) INSERT INTO"
               " \"public\".\"t\" (\"id\", \"w\") OVERRIDING SYSTEM VALUE"
               " SELECT $1::integer, old.\"w\" FROM old",
               2);
    f->plan.beside = (const char *[]){"\"own\""};
    f->plan.beside_count = 1;
    assert_sql(f, SHAPE_REINSERT, "x..",
               "WITH old AS (DELETE FROM \"public\".\"t\" WHERE \"id\" = $2::integer RETURNING *) INSERT INTO"
               " \"public\".\"t\" (\"id\", \"w\", \"own\") OVERRIDING SYSTEM VALUE"
               " SELECT $1::integer, old.\"w\", old.\"own\" FROM old",
               2);
}

static void a_reinsert_by_the_whole_row_binds_it_behind_what_is_written(void **state) {
    Fixture *f = *state;
    whole_row(f);
    f->plan.only = true;
    f->columns[0].always = f->plan.has_always = true;
    assert_sql(f, SHAPE_REINSERT, "xx.",
               "WITH old AS (DELETE FROM ONLY \"public\".\"t\" WHERE ctid = (SELECT ctid FROM ONLY"
               " \"public\".\"t\" WHERE ROW(\"id\", \"v\", \"w\")::record *="
               " ROW($3::integer, $4::text, $5::json)::record LIMIT 1) RETURNING *) INSERT INTO"
               " \"public\".\"t\" (\"id\", \"v\", \"w\") OVERRIDING SYSTEM VALUE"
               " SELECT $1::integer, $2::text, old.\"w\" FROM old",
               5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

/* A kept table with the keys (id) and (v, w). */
static void kept(Fixture *f) {
    static const bool keys[2][COLUMNS] = {{false, true, true}, {true, false, false}};
    f->plan.kept = true;
    for (size_t key = 0; key < sizeof keys / sizeof *keys; key++) {
        PlanUnique *unique = arena_alloc(f->arena, sizeof *unique + COLUMNS);
        memcpy(unique->columns, keys[key], COLUMNS);
        unique->next = f->plan.uniques;
        f->plan.uniques = unique;
    }
}

static void a_kept_table_s_insert_takes_the_place_of_what_it_meets(void **state) {
    Fixture *f = *state;
    kept(f);
    assert_sql(
        f, SHAPE_REPLACE, "xxx",
        "WITH gone AS (DELETE FROM \"public\".\"t\" WHERE (\"id\" = $1::integer) OR (\"v\" = $2::text AND"
        " \"w\" = $3::json) RETURNING 1) INSERT INTO \"public\".\"t\" (\"id\", \"v\", \"w\") OVERRIDING "
        "SYSTEM"
        " VALUE SELECT $1::integer, $2::text, $3::json FROM (SELECT pg_catalog.count(*) FROM gone) AS "
        "counted",
        3);
}

static void a_kept_table_s_update_does_so_beside_the_old_row(void **state) {
    Fixture *f = *state;
    kept(f);
    f->plan.only = true;
    assert_sql(
        f, SHAPE_REPLACE_OLD, "xxx",
        "WITH gone AS (DELETE FROM ONLY \"public\".\"t\" WHERE (\"id\" = $4::integer) OR (\"id\" = "
        "$1::integer) OR"
        " (\"v\" = $2::text AND \"w\" = $3::json) RETURNING 1) INSERT INTO \"public\".\"t\" (\"id\", \"v\","
        " \"w\") OVERRIDING SYSTEM VALUE SELECT $1::integer, $2::text, $3::json FROM (SELECT"
        " pg_catalog.count(*) FROM gone) AS counted",
        4);
}

static void what_was_not_sent_comes_from_the_old_row(void **state) {
    Fixture *f = *state;
    kept(f);
    assert_sql(
        f, SHAPE_REINSERT_OVER, "x.x",
        "WITH old AS (DELETE FROM \"public\".\"t\" WHERE \"id\" = $3::integer RETURNING *), gone AS (DELETE "
        "FROM"
        " \"public\".\"t\" WHERE NOT (\"id\" = $3::integer) AND ((\"id\" = $1::integer)) RETURNING 1) INSERT "
        "INTO"
        " \"public\".\"t\" (\"id\", \"v\", \"w\") OVERRIDING SYSTEM VALUE SELECT $1::integer, old.\"v\","
        " $2::json FROM old, (SELECT pg_catalog.count(*) FROM gone) AS counted",
        3);
    assert_sql(
        f, SHAPE_REINSERT_OVER, ".x.",
        "WITH old AS (DELETE FROM \"public\".\"t\" WHERE \"id\" = $2::integer RETURNING *), gone AS (DELETE "
        "FROM"
        " \"public\".\"t\" WHERE NOT (\"id\" = $2::integer) AND false RETURNING 1) INSERT INTO "
        "\"public\".\"t\""
        " (\"id\", \"v\", \"w\") OVERRIDING SYSTEM VALUE SELECT old.\"id\", $1::text, old.\"w\" FROM old,"
        " (SELECT pg_catalog.count(*) FROM gone) AS counted",
        2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_insert_names_its_columns),
        TEST(an_insert_without_columns_takes_the_defaults),
        TEST(an_insert_overrides_an_always_identity_it_names),
        TEST(an_update_finds_its_row_by_the_key),
        TEST(a_key_of_several_columns_needs_all_of_them),
        TEST(an_update_of_nothing_still_looks_for_its_row),
        TEST(a_delete_finds_its_row_by_the_key),
        TEST(a_parent_table_is_changed_alone),
        TEST(a_kept_table_s_insert_takes_the_place_of_what_it_meets),
        TEST(a_kept_table_s_update_does_so_beside_the_old_row),
        TEST(what_was_not_sent_comes_from_the_old_row),
        TEST(an_operator_outside_pg_catalog_is_named_whole),
        TEST(a_domain_is_compared_as_what_it_is_in_the_end),
        TEST(names_are_taken_as_they_were_quoted),
        TEST(trap_B9_a_whole_row_is_matched_by_its_image_and_one_row_only),
        TEST(types_with_many_images_are_matched_by_their_text),
        TEST(generated_columns_are_no_part_of_a_whole_row),
        TEST(an_indexed_column_finds_the_candidates_of_a_whole_row),
        TEST(a_row_of_a_partitioned_table_is_in_one_of_its_partitions),
        TEST(a_reinsert_takes_from_the_row_what_is_not_written),
        TEST(a_reinsert_by_the_whole_row_binds_it_behind_what_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
