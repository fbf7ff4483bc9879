#include <string.h>

#include "cli/meter.h"
#include "testing.h"

#define SECOND INT64_C(1000000)

static char shop[] = "shop";
static const char *const names[] = {"public.a", "public.b", "public.c"};

typedef struct Fixture {
    Config cfg;
    Metrics *m;
    Throttle *throttle;
    Meter *meter;
    Progress p;
} Fixture;

static int fixture_make(void **state) {
    static Fixture f;
    memset(&f, 0, sizeof f);
    f.cfg.name = shop;
    f.cfg.source.heartbeat_ms = 1000;
    f.m = metrics_new();
    f.throttle = throttle_new();
    f.meter = meter_new(&f.cfg, f.m, f.throttle, f.throttle, 0);
    *state = &f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    meter_free(f->meter);
    metrics_free(f->m);
    throttle_free(f->throttle);
    meter_free(NULL);
    return 0;
}

static void a_run_that_has_just_begun_knows_no_speed(void **state) {
    Fixture *f = *state;
    meter_read(f->meter, SECOND, &f->p);
    assert_string_equal(f->p.job, "shop");
    assert_string_equal(f->p.phase, "checking");
    assert_string_equal(f->p.state, "running");
    assert_true(f->p.bytes_per_s < 0 && f->p.changes_per_s < 0);
    assert_int_equal(f->p.lag_ms, -1);
    assert_int_equal(f->p.retained_bytes, -1);
    assert_int_equal(f->p.applied_behind_bytes, -1);
    assert_int_equal(f->p.elapsed_ms, 1000);
    assert_false(progress_loads(&f->p) || progress_streams(&f->p));
}

static void a_steady_stream_has_its_speed(void **state) {
    Fixture *f = *state;
    metrics_phase(f->m, PHASE_RUNNING);
    for (int at = 0; at <= 100; at++) {
        atomic_store(&f->m->changes, 40 * at);
        meter_read(f->meter, at * SECOND / 5, &f->p);
    }
    assert_true(progress_streams(&f->p));
    assert_in_range((uint64_t)(f->p.changes_per_s * 100), 19990, 20010);
}

static void the_speed_forgets_what_was_long_ago(void **state) {
    Fixture *f = *state;
    for (int at = 0; at <= 200; at++) {
        if (at <= 100)
            atomic_store(&f->m->changes, 1000 * at);
        meter_read(f->meter, at * SECOND / 5, &f->p);
    }
    assert_true(f->p.changes_per_s >= 0 && f->p.changes_per_s < 100);
}

static void half_a_load_takes_as_long_as_the_other_half(void **state) {
    Fixture *f = *state;
    metrics_phase(f->m, PHASE_FULL);
    metrics_tables(f->m, names, names, 2);
    TableMetrics *table = f->m->tables;
    atomic_store(&table[0].bytes_estimated, 1000);
    atomic_store(&table[0].stage, TABLE_LOADED);
    atomic_store(&table[1].bytes_estimated, 3000);
    atomic_store(&table[1].rows_estimated, 100);
    atomic_store(&table[1].stage, TABLE_COPYING);
    for (int at = 0; at <= 50; at++) {
        atomic_store(&table[1].rows, at);
        atomic_store(&table[1].bytes, 10 * at);
        atomic_store(&f->m->bytes_copied, 10 * at);
        meter_read(f->meter, at * SECOND, &f->p);
    }
    assert_true(progress_loads(&f->p));
    assert_int_equal(f->p.tables, 2);
    assert_int_equal(f->p.loaded, 1);
    assert_int_equal(f->p.copying, 1);
    assert_int_equal(f->p.shown, 1);
    assert_string_equal(f->p.table[0].name, "public.b");
    assert_int_equal(f->p.table[0].share * 100 + 0.5, 50);
    assert_in_range(f->p.table[0].left_ms, 49900, 50100);
    assert_int_equal(f->p.load_bytes, 2500);
    assert_int_equal(f->p.load_bytes_total, 4000);
    assert_in_range(f->p.load_left_ms, 49900, 50100);
    assert_in_range((uint64_t)(f->p.bytes_per_s * 100), 999, 1001);
}

static void a_table_in_work_is_never_full(void **state) {
    Fixture *f = *state;
    metrics_tables(f->m, names, names, 3);
    for (int at = 0; at < 3; at++)
        atomic_store(&f->m->tables[at].stage, TABLE_COPYING);
    atomic_store(&f->m->tables[0].rows_estimated, 10);
    atomic_store(&f->m->tables[0].rows, 500);
    atomic_store(&f->m->tables[1].rows_estimated, -1);
    atomic_store(&f->m->tables[1].bytes_estimated, 100);
    atomic_store(&f->m->tables[1].bytes, 25);
    meter_read(f->meter, SECOND, &f->p);
    assert_true(f->p.table[0].share < 1);
    assert_int_equal(f->p.table[1].share * 100, 25);
    assert_true(f->p.table[2].share < 0);
}

static void a_table_that_begins_again_begins_its_speed_again(void **state) {
    Fixture *f = *state;
    metrics_tables(f->m, names, names, 1);
    atomic_store(&f->m->tables[0].stage, TABLE_COPYING);
    for (int at = 0; at < 5; at++) {
        atomic_store(&f->m->tables[0].bytes, 100 * at);
        meter_read(f->meter, at * SECOND, &f->p);
    }
    assert_true(f->p.table[0].bytes_per_s > 99);
    atomic_store(&f->m->tables[0].bytes, 0);
    meter_read(f->meter, 5 * SECOND, &f->p);
    assert_true(f->p.table[0].bytes_per_s < 0);
}

static void more_tables_in_work_than_fit_are_counted(void **state) {
    enum { MANY = PROGRESS_TABLES_MAX + 9 };
    Fixture *f = *state;
    const char *many[MANY];
    for (int at = 0; at < MANY; at++)
        many[at] = "public.a";
    metrics_tables(f->m, many, many, MANY);
    for (int at = 0; at < MANY; at++)
        atomic_store(&f->m->tables[at].stage, TABLE_COPYING);
    meter_read(f->meter, SECOND, &f->p);
    assert_int_equal(f->p.copying, MANY);
    assert_int_equal(f->p.shown, PROGRESS_TABLES_MAX);
}

static void bytes_behind_are_never_negative(void **state) {
    Fixture *f = *state;
    atomic_store(&f->m->source_lsn, 1000);
    atomic_store(&f->m->received_lsn, 1200);
    atomic_store(&f->m->applied_lsn, 900);
    meter_read(f->meter, SECOND, &f->p);
    assert_int_equal(f->p.received_behind_bytes, 0);
    assert_int_equal(f->p.applied_behind_bytes, 100);
    assert_int_equal(f->p.confirmed_behind_bytes, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_that_has_just_begun_knows_no_speed),
        TEST(a_steady_stream_has_its_speed),
        TEST(the_speed_forgets_what_was_long_ago),
        TEST(half_a_load_takes_as_long_as_the_other_half),
        TEST(a_table_in_work_is_never_full),
        TEST(a_table_that_begins_again_begins_its_speed_again),
        TEST(more_tables_in_work_than_fit_are_counted),
        TEST(bytes_behind_are_never_negative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
