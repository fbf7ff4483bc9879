#include <stdlib.h>
#include <string.h>

#include "batches.h"
#include "sink/postgres/plan.h"
#include "testing.h"

/* The columns of PLAN_QUERY. */
enum {
    CELLS = 15,
    KIND = 0,
    CHILDREN,
    NAME,
    TYPE,
    GENERATED,
    ALWAYS,
    IN_KEY,
    INDEXED,
    EQUAL_SCHEMA,
    EQUAL_NAME,
    UNIQUES,
    TYPE_OID,
    WATCHED,
    CASTABLE,
    BASE
};

typedef struct Fixture {
    Arena *arena;
    Pg pg; /* quotes only: never connected */
    PGresult *result;
    Error e;
} Fixture;

static int fixture_make(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new();
    f->pg.conn = PQconnectStart("host=/nonexistent dbname=x");
    f->result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[CELLS] = {{.name = NULL}};
    char names[CELLS][4];
    for (int cell = 0; cell < CELLS; cell++) {
        snprintf(names[cell], sizeof names[cell], "c%d", cell);
        attributes[cell].name = names[cell];
    }
    assert_true(PQsetResultAttrs(f->result, CELLS, attributes));
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    PQclear(f->result);
    PQfinish(f->pg.conn);
    arena_free(f->arena);
    free(f);
    return 0;
}

static void cell_set(Fixture *f, int row, int cell, const char *text) {
    char copy[100]; /* libpq's parameter is not const */
    snprintf(copy, sizeof copy, "%s", text == NULL ? "" : text);
    assert_true(
        PQsetvalue(f->result, row, cell, text == NULL ? NULL : copy, text == NULL ? -1 : (int)strlen(copy)));
}

/* A column at the destination; flags: "g" generated, "a" always identity, "k" in its key, "i" indexed. */
static int target_column(Fixture *f, const char *name, const char *type, const char *flags) {
    int row = PQntuples(f->result);
    const char *cells[CELLS] = {[KIND] = "r", [CHILDREN] = "f", [NAME] = name, [TYPE] = type};
    cells[GENERATED] = strchr(flags, 'g') != NULL ? "t" : "f";
    cells[ALWAYS] = strchr(flags, 'a') != NULL ? "t" : "f";
    cells[IN_KEY] = strchr(flags, 'k') != NULL ? "t" : "f";
    cells[INDEXED] = strchr(flags, 'i') != NULL ? "t" : "f";
    cells[EQUAL_SCHEMA] = "pg_catalog";
    cells[EQUAL_NAME] = "=";
    for (int cell = 0; cell < CELLS; cell++)
        cell_set(f, row, cell, cells[cell]);
    return row;
}

static Plan *plan_for(Fixture *f, char identity, const char *columns) {
    Relation *rel = relation_make(f->arena, 0, "sales", "orders", identity, columns);
    return plan_build(f->arena, &f->pg, NULL, rel, f->result, (Lsn){100}, &f->e);
}

static void assert_keys(const Plan *plan, const char *keys) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        assert_int_equal(plan->columns[column].key, keys[column] == 'k');
}

static void identity_default_takes_the_sources_key(void **state) {
    Fixture *f = *state;
    target_column(f, "id", "integer", "");
    target_column(f, "v", "text", "k");
    Plan *plan = plan_for(f, 'd', "id*,v");
    assert_non_null(plan);
    assert_int_equal(plan->where, PLAN_WHERE_KEY);
    assert_keys(plan, "k.");
    assert_string_equal(plan->table, "\"sales\".\"orders\"");
    assert_true(lsn_equal(plan->start, (Lsn){100}));
    assert_false(plan->only || plan->partitioned || plan->has_always);
}

static void identity_index_takes_the_sources_key(void **state) {
    Fixture *f = *state;
    target_column(f, "id", "integer", "k");
    target_column(f, "u", "integer", "");
    Plan *plan = plan_for(f, 'i', "id,u*");
    assert_int_equal(plan->where, PLAN_WHERE_KEY);
    assert_keys(plan, ".k");
}

static void without_identity_no_row_can_be_found(void **state) {
    Fixture *f = *state;
    target_column(f, "id", "integer", "k");
    assert_int_equal(plan_for(f, 'n', "id")->where, PLAN_WHERE_NONE);
    assert_int_equal(plan_for(f, 'd', "id")->where, PLAN_WHERE_NONE);
}

static void identity_full_takes_the_destinations_key(void **state) {
    Fixture *f = *state;
    target_column(f, "a", "integer", "k");
    target_column(f, "b", "integer", "");
    target_column(f, "c", "integer", "k");
    Plan *plan = plan_for(f, 'f', "c,b,a");
    assert_int_equal(plan->where, PLAN_WHERE_KEY);
    assert_keys(plan, "k.k");
}

static void identity_full_without_a_key_there_takes_the_whole_row(void **state) {
    Fixture *f = *state;
    target_column(f, "a", "integer", "i");
    target_column(f, "b", "json", "");
    Plan *plan = plan_for(f, 'f', "a,b");
    assert_int_equal(plan->where, PLAN_WHERE_WHOLE_ROW);
    assert_keys(plan, "..");
    assert_true(plan->columns[0].indexed);
    assert_false(plan->columns[1].indexed);
}

static void a_key_there_that_the_source_does_not_send_whole_finds_nothing(void **state) {
    Fixture *f = *state;
    target_column(f, "a", "integer", "k");
    target_column(f, "extra", "integer", "k");
    Plan *plan = plan_for(f, 'f', "a");
    assert_int_equal(plan->where, PLAN_WHERE_WHOLE_ROW);
    assert_keys(plan, ".");
}

static void a_missing_table_is_named(void **state) {
    Fixture *f = *state;
    assert_null(plan_for(f, 'd', "id*"));
    assert_int_equal(f->e.kind, ERR_DATA);
    assert_string_equal(f->e.text, "table \"sales.orders\" does not exist at the target");
    assert_true(f->e.hint[0] != '\0');
}

static void a_missing_column_is_named(void **state) {
    Fixture *f = *state;
    target_column(f, "id", "integer", "k");
    assert_null(plan_for(f, 'd', "id*,Id"));
    assert_int_equal(f->e.kind, ERR_DATA);
    assert_string_equal(f->e.text, "table \"sales.orders\" has no column \"Id\" at the target");
    assert_true(f->e.hint[0] != '\0');
}

static void more_columns_there_and_another_order_do_no_harm(void **state) {
    Fixture *f = *state;
    target_column(f, "extra", "integer", "");
    target_column(f, "v", "text", "");
    target_column(f, "id", "bigint", "k");
    Plan *plan = plan_for(f, 'd', "id*,v");
    assert_string_equal(plan->columns[0].type, "bigint");
    assert_string_equal(plan->columns[1].type, "text");
}

static void generated_columns_are_not_written(void **state) {
    Fixture *f = *state;
    target_column(f, "id", "integer", "k");
    target_column(f, "sum", "integer", "g");
    Plan *plan = plan_for(f, 'd', "id*,sum");
    assert_true(plan->columns[0].writable);
    assert_false(plan->columns[1].writable);
}

static void an_always_identity_is_noted(void **state) {
    Fixture *f = *state;
    target_column(f, "id", "integer", "ka");
    target_column(f, "v", "text", "");
    Plan *plan = plan_for(f, 'd', "id*,v");
    assert_true(plan->has_always);
    assert_true(plan->columns[0].always && plan->columns[0].writable);
    assert_false(plan->columns[1].always);
}

static void an_always_identity_that_the_source_does_not_send_does_not_count(void **state) {
    Fixture *f = *state;
    target_column(f, "id", "integer", "k");
    target_column(f, "own", "integer", "a");
    assert_false(plan_for(f, 'd', "id*")->has_always);
}

static void tables_with_children_and_partitions_are_told_apart(void **state) {
    Fixture *f = *state;
    int row = target_column(f, "id", "integer", "k");
    cell_set(f, row, CHILDREN, "t");
    Plan *parent = plan_for(f, 'd', "id*");
    assert_true(parent->only && !parent->partitioned);
    cell_set(f, row, KIND, "p");
    Plan *partitioned = plan_for(f, 'd', "id*");
    assert_true(!partitioned->only && partitioned->partitioned);
}

static void names_are_quoted(void **state) {
    Fixture *f = *state;
    target_column(f, "I\"d", "integer", "k");
    Relation *rel = relation_make(f->arena, 0, "Sales 1", "or.ders", 'd', "I\"d*");
    Plan *plan = plan_build(f->arena, &f->pg, NULL, rel, f->result, LSN_NONE, &f->e);
    assert_string_equal(plan->table, "\"Sales 1\".\"or.ders\"");
    assert_string_equal(plan->columns[0].quoted, "\"I\"\"d\"");
}

static void equality_is_the_types_own(void **state) {
    Fixture *f = *state;
    int citext = target_column(f, "id", "public.citext", "k");
    int json = target_column(f, "v", "json", "");
    target_column(f, "w", "text", "");
    cell_set(f, citext, EQUAL_SCHEMA, "My ext");
    cell_set(f, json, EQUAL_SCHEMA, NULL);
    cell_set(f, json, EQUAL_NAME, NULL);
    Plan *plan = plan_for(f, 'd', "id*,v,w");
    assert_string_equal(plan->columns[0].equal, " OPERATOR(\"My ext\".=) ");
    assert_string_equal(plan->columns[1].equal, " = ");
    assert_string_equal(plan->columns[2].equal, " = ");
}

static void a_domain_is_known_by_its_base(void **state) {
    Fixture *f = *state;
    cell_set(f, target_column(f, "a", "public.real_mood", ""), BASE, "public.mood");
    target_column(f, "b", "integer", "");
    Plan *plan = plan_for(f, 'd', "a*,b");
    assert_string_equal(plan->columns[0].base, "public.mood");
    assert_null(plan->columns[1].base);
}

static void types_with_floats_and_types_of_users_have_many_images(void **state) {
    Fixture *f = *state;
    static const char *const types[] = {"real", "point[]", "public.mood", "realm", "integer", "numeric[]"};
    for (size_t at = 0; at < 6; at++)
        target_column(f, (const char[]){(char)('a' + (int)at), '\0'}, types[at], "");
    Plan *plan = plan_for(f, 'f', "a,b,c,d,e,f");
    for (size_t at = 0; at < 6; at++)
        assert_int_equal(plan->columns[at].by_text, at < 3);
}

static void a_shape_is_made_once_and_found_again(void **state) {
    Fixture *f = *state;
    uint32_t next = 7;
    target_column(f, "id", "integer", "k");
    target_column(f, "v", "text", "");
    Plan *plan = plan_for(f, 'd', "id*,v");
    const bool both[] = {true, true}, second[] = {false, true};
    Shape *insert = plan_shape(plan, f->arena, SHAPE_INSERT, both, -1, &next);
    Shape *update = plan_shape(plan, f->arena, SHAPE_UPDATE, both, -1, &next);
    Shape *narrow = plan_shape(plan, f->arena, SHAPE_UPDATE, second, -1, &next);
    Shape *found = plan_shape(plan, f->arena, SHAPE_UPDATE, second, 0, &next);
    assert_string_equal(insert->name, "w7");
    assert_string_equal(update->name, "w8");
    assert_string_equal(narrow->name, "w9");
    assert_string_equal(found->name, "w10");
    assert_int_equal(next, 11);
    insert->prepared = true;
    assert_ptr_equal(plan_shape(plan, f->arena, SHAPE_INSERT, both, -1, &next), insert);
    assert_ptr_equal(plan_shape(plan, f->arena, SHAPE_UPDATE, both, -1, &next), update);
    assert_ptr_equal(plan_shape(plan, f->arena, SHAPE_UPDATE, second, -1, &next), narrow);
    assert_ptr_equal(plan_shape(plan, f->arena, SHAPE_UPDATE, second, 0, &next), found);
    assert_int_equal(next, 11);
    assert_true(insert->prepared && !update->prepared);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(identity_default_takes_the_sources_key),
        TEST(identity_index_takes_the_sources_key),
        TEST(without_identity_no_row_can_be_found),
        TEST(identity_full_takes_the_destinations_key),
        TEST(identity_full_without_a_key_there_takes_the_whole_row),
        TEST(a_key_there_that_the_source_does_not_send_whole_finds_nothing),
        TEST(a_missing_table_is_named),
        TEST(a_missing_column_is_named),
        TEST(more_columns_there_and_another_order_do_no_harm),
        TEST(generated_columns_are_not_written),
        TEST(an_always_identity_is_noted),
        TEST(an_always_identity_that_the_source_does_not_send_does_not_count),
        TEST(tables_with_children_and_partitions_are_told_apart),
        TEST(names_are_quoted),
        TEST(equality_is_the_types_own),
        TEST(a_domain_is_known_by_its_base),
        TEST(types_with_floats_and_types_of_users_have_many_images),
        TEST(a_shape_is_made_once_and_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
