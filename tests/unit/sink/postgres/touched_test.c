#include "batches.h"
#include "sink/postgres/touched.h"
#include "testing.h"

/* A table s.t (id, u, v): id is the key, u has a unique index of its own; several runs, each with a net of its own. */
enum { COLUMNS = 3, RUNS_MOST = 4 };

typedef struct Fixture {
    Arena *arena;
    Plan plan;
    PlanColumn columns[COLUMNS];
    Net *nets[RUNS_MOST];
    Touched *runs[RUNS_MOST];
    NetTable *tables[RUNS_MOST];
    bool bound[RUNS_MOST]; /* all of the next run's rows */
    int run;
    Maker m;
} Fixture;

static PlanUnique *unique_new(Arena *arena, uint32_t oid, int column, PlanUnique *next) {
    PlanUnique *unique = arena_alloc(arena, sizeof *unique + COLUMNS * sizeof(bool));
    unique->oid = oid;
    unique->columns[column] = true;
    unique->next = next;
    return unique;
}

static int fixture_make(void **state) {
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    f->arena = arena;
    f->m = maker_new(100);
    for (int column = 0; column < COLUMNS; column++)
        f->columns[column] = (PlanColumn){.writable = true, .key = column == 0};
    f->plan = (Plan){.rel = relation_make(arena, 0, "s", "t", 'd', "id*,u,v"),
                     .table = "\"s\".\"t\"",
                     .where = PLAN_WHERE_KEY,
                     .uniques = unique_new(arena, 11, 0, unique_new(arena, 12, 1, NULL)),
                     .columns = f->columns};
    for (int run = 0; run < RUNS_MOST; run++) {
        f->nets[run] = net_new();
        f->runs[run] = touched_new();
    }
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    for (int run = 0; run < RUNS_MOST; run++) {
        net_free(f->nets[run]);
        touched_free(f->runs[run]);
    }
    batch_drop(maker_batch(&f->m));
    arena_free(f->arena);
    return 0;
}

static void added(Fixture *f) {
    assert_true(net_add(f->nets[f->run], &f->plan, &f->m.changes[f->m.change_count - 1]));
}

static void insert(Fixture *f, const char *after) {
    maker_insert(&f->m, f->plan.rel, after);
    added(f);
}

static void update(Fixture *f, const char *before, const char *after) {
    maker_update(&f->m, f->plan.rel, before, after);
    added(f);
}

static void delete (Fixture *f, const char *before) {
    maker_delete(&f->m, f->plan.rel, before);
    added(f);
}

/* The run is whole; so many of its rows are bound by those before it. */
static void assert_bound(Fixture *f, uint32_t count) {
    NetTable *lacking = NULL, **tables = &f->tables[f->run];
    assert_true(net_settle(f->nets[f->run], tables, &lacking));
    net_detach(f->nets[f->run]);
    if (*tables != NULL)
        (*tables)->bound = f->bound[f->run];
    assert_int_equal(touched_add(f->runs[f->run], *tables, f->runs, f->run), count);
    f->run++;
}

static void other_rows_are_free(void **state) {
    Fixture *f = *state;
    insert(f, "1|1|a");
    update(f, NULL, "2|2|a");
    delete (f, "3|-|-");
    assert_bound(f, 0);
    insert(f, "4|4|a");
    update(f, NULL, "5|5|a");
    delete (f, "6|-|-");
    assert_bound(f, 0);
}

static void the_same_row_is_bound(void **state) {
    Fixture *f = *state;
    insert(f, "1|1|a");
    delete (f, "2|-|-");
    update(f, NULL, "3|3|a");
    assert_bound(f, 0);
    update(f, NULL, "1|1|b");
    insert(f, "2|9|b");
    delete (f, "3|-|-");
    update(f, NULL, "4|4|b");
    assert_bound(f, 3);
}

static void rows_of_every_older_run_bind(void **state) {
    Fixture *f = *state;
    update(f, NULL, "1|?|a");
    assert_bound(f, 0);
    update(f, NULL, "2|?|a");
    assert_bound(f, 0);
    update(f, NULL, "1|?|b");
    update(f, NULL, "2|?|b");
    update(f, NULL, "3|?|b");
    assert_bound(f, 2);
    update(f, NULL, "3|?|c"); /* a bound row binds as others do */
    update(f, NULL, "1|?|c");
    assert_bound(f, 2);
}

static void keys_that_a_row_had_and_gets_bind(void **state) {
    Fixture *f = *state;
    update(f, "1|-|-", "2|5|a");
    insert(f, "7|7|a");
    delete (f, "7|-|-"); /* a probe */
    assert_bound(f, 0);
    insert(f, "1|6|b");
    update(f, "3|-|-", "2|8|b");
    insert(f, "7|9|b");
    update(f, "8|-|-", "9|10|b");
    assert_bound(f, 3);
}

static void unique_values_that_are_sent_bind(void **state) {
    Fixture *f = *state;
    insert(f, "1|1|a");
    update(f, NULL, "2|2|a");
    assert_bound(f, 0);
    insert(f, "11|1|b");
    update(f, NULL, "12|2|b");
    insert(f, "13|3|b");
    assert_bound(f, 2);
}

static void nulls_and_values_that_are_not_sent_do_not(void **state) {
    Fixture *f = *state;
    insert(f, "1|\\N|a");
    update(f, NULL, "2|?|a");
    assert_bound(f, 0);
    insert(f, "3|\\N|b");
    update(f, NULL, "4|?|b");
    assert_bound(f, 0);
}

/* They have to be sent in the order of their kinds. */
static void rows_that_change_places_are_bound_together(void **state) {
    Fixture *f = *state;
    update(f, NULL, "4|40|a");
    assert_bound(f, 0);
    update(f, "1|-|-", "101|10|b");
    update(f, "2|-|-", "1|20|b");
    update(f, "3|-|-", "2|30|b");
    update(f, "4|-|-", "3|41|b");
    update(f, "8|-|-", "9|80|b");
    assert_bound(f, 4);
}

static void a_table_may_be_bound_whole(void **state) {
    Fixture *f = *state;
    insert(f, "1|1|a");
    assert_bound(f, 0);
    f->bound[1] = true;
    insert(f, "2|2|a");
    insert(f, "3|3|a");
    assert_bound(f, 2);
    insert(f, "3|4|a");
    assert_bound(f, 1);
}

static void tables_are_told_apart(void **state) {
    Fixture *f = *state;
    insert(f, "1|1|a");
    assert_bound(f, 0);
    f->plan.table = "\"s\".\"other\"";
    insert(f, "1|1|a");
    assert_bound(f, 0);
}

static void without_a_key_rows_only_come(void **state) {
    Fixture *f = *state;
    f->plan.where = PLAN_WHERE_NONE;
    f->plan.uniques = NULL;
    insert(f, "1|1|a");
    insert(f, "1|1|a");
    assert_bound(f, 0);
    insert(f, "1|1|a");
    assert_bound(f, 0);
}

static void many_rows_are_kept_apart(void **state) {
    Fixture *f = *state;
    Maker m = maker_new(40000);
    f->plan.uniques = NULL;
    for (int run = 0; run < 2; run++) {
        for (int row = 0; row < 20000; row++) {
            char text[40];
            snprintf(text, sizeof text, "%d|?|x", run * 19990 + row); /* ten of them in both */
            maker_update(&m, f->plan.rel, NULL, text);
            assert_true(net_add(f->nets[f->run], &f->plan, &m.changes[m.change_count - 1]));
        }
        assert_bound(f, run == 0 ? 0 : 10);
    }
    batch_drop(maker_batch(&m));
}

#define PURE(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        PURE(other_rows_are_free),
        PURE(the_same_row_is_bound),
        PURE(rows_of_every_older_run_bind),
        PURE(keys_that_a_row_had_and_gets_bind),
        PURE(unique_values_that_are_sent_bind),
        PURE(nulls_and_values_that_are_not_sent_do_not),
        PURE(rows_that_change_places_are_bound_together),
        PURE(a_table_may_be_bound_whole),
        PURE(tables_are_told_apart),
        PURE(without_a_key_rows_only_come),
        PURE(many_rows_are_kept_apart),
    };
    return cmocka_run_group_tests_name("touched", tests, NULL, NULL);
}
