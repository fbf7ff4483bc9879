#include <string.h>

#include "core/clock.h"
#include "core/metrics.h"
#include "testing.h"

static void a_new_run_checks_and_knows_no_lag(void **unused) {
    (void)unused;
    int64_t before_us = clock_wall_us();
    Metrics *m = metrics_new();
    assert_int_equal(m->phase, PHASE_CHECKING);
    assert_int_equal(m->state, RUN_RUNNING);
    assert_in_range(m->since_us, before_us, clock_wall_us());
    assert_int_equal(m->lag_ms, -1);
    assert_int_equal(m->received_ms, -1);
    assert_int_equal(m->decoded_ms, -1);
    assert_int_equal(m->queued_ms, -1);
    assert_int_equal(m->applied_ms, -1);
    assert_int_equal(m->safe_wal_bytes, -1);
    assert_int_equal(m->changes, 0);
    assert_int_equal(m->table_count, 0);
    assert_null(metrics_table(m, "public.orders"));
    metrics_free(m);
    metrics_free(NULL);
}

static void names_are_the_documented_ones(void **unused) {
    (void)unused;
    static const char *const PHASES[] = {"checking", "schema",       "full",     "catching-up",
                                         "running",  "cutting-over", "completed"};
    static const char *const STATES[] = {"running", "paused", "retrying", "stopped", "failed"};
    static const char *const STAGES[] = {"pending", "copying", "loaded", "streaming"};
    for (int phase = PHASE_CHECKING; phase <= PHASE_COMPLETED; phase++) {
        Phase back = PHASE_CHECKING;
        assert_string_equal(phase_name((Phase)phase), PHASES[phase]);
        assert_true(phase_parse(PHASES[phase], &back));
        assert_int_equal(back, phase);
    }
    for (int state = RUN_RUNNING; state <= RUN_FAILED; state++)
        assert_string_equal(run_state_name((RunState)state), STATES[state]);
    for (int stage = TABLE_PENDING; stage <= TABLE_STREAMING; stage++)
        assert_string_equal(table_stage_name((TableStage)stage), STAGES[stage]);
    Phase untouched = PHASE_FULL;
    assert_false(phase_parse("catching_up", &untouched));
    assert_false(phase_parse("", &untouched));
    assert_int_equal(untouched, PHASE_FULL);
}

static void since_is_when_the_phase_began(void **unused) {
    (void)unused;
    Metrics *m = metrics_new();
    atomic_store(&m->since_us, 1);
    metrics_phase(m, PHASE_FULL);
    assert_int_equal(m->phase, PHASE_FULL);
    assert_true(m->since_us > 1);
    atomic_store(&m->since_us, 1);
    metrics_phase(m, PHASE_FULL); /* the same one goes on */
    assert_int_equal(m->since_us, 1);
    metrics_free(m);
}

static void texts_are_set_cut_and_cleared(void **unused) {
    (void)unused;
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    Metrics *m = metrics_new();
    metrics_state(m, RUN_RETRYING, "the server is gone");
    assert_int_equal(m->state, RUN_RETRYING);
    assert_string_equal(m->reason, "the server is gone");
    metrics_state(m, RUN_RUNNING, NULL);
    assert_int_equal(m->state, RUN_RUNNING);
    assert_string_equal(m->reason, "");
    metrics_error(m, text);
    assert_int_equal(strlen(m->error), sizeof m->error - 1);
    metrics_activity(m, "index %d of %d", 3, 7);
    assert_string_equal(m->activity, "index 3 of 7");
    metrics_activity(m, "%s", text);
    assert_int_equal(strlen(m->activity), sizeof m->activity - 1);
    metrics_free(m);
}

static void tables_have_copies_of_their_names(void **unused) {
    (void)unused;
    char name[] = "public.orders";
    const char *const names[] = {name, "public.items"};
    const char *const targets[] = {"shop.orders", "shop.items"};
    Metrics *m = metrics_new();
    metrics_tables(m, names, targets, 2);
    name[0] = 'X';
    assert_int_equal(m->table_count, 2);
    assert_string_equal(m->tables[0].name, "public.orders");
    assert_string_equal(m->tables[1].target, "shop.items");
    assert_int_equal(m->tables[0].stage, TABLE_PENDING);
    assert_int_equal(m->tables[1].rows, 0);
    assert_ptr_equal(metrics_table(m, "public.orders"), &m->tables[0]);
    assert_ptr_equal(metrics_table(m, "public.items"), &m->tables[1]);
    assert_null(metrics_table(m, "public.other"));
    metrics_free(m);
    m = metrics_new();
    metrics_tables(m, NULL, NULL, 0);
    assert_int_equal(m->table_count, 0);
    metrics_free(m);
}

static void a_share_is_known_by_rows_then_bytes_and_never_whole_before_the_end(void **unused) {
    (void)unused;
    TableMetrics t = {
        .stage = TABLE_PENDING, .rows = 50, .rows_estimated = 100, .bytes = 9, .bytes_estimated = 10};
    assert_true(metrics_share(&t) == 0);
    metrics_copying(&t, 7);
    metrics_copying(&t, 9); /* the next range of the same table */
    assert_int_equal(t.began_us, 7);
    assert_true(metrics_share(&t) == 0.5);
    t.rows_estimated = 0;
    assert_true(metrics_share(&t) == 0.9);
    t.bytes = 100;
    assert_true(metrics_share(&t) == 0.99);
    t.bytes_estimated = 0;
    assert_true(metrics_share(&t) == -1);
    t.stage = TABLE_LOADED;
    assert_true(metrics_share(&t) == 1);
}

static void builds_come_and_go_by_session(void **unused) {
    (void)unused;
    Metrics *m = metrics_new();
    for (int pid = 1; pid <= BUILDS_SHOWN_MAX + 2; pid++)
        metrics_build_begin(m, pid, "INDEX a.b");
    assert_int_equal(m->build_count, BUILDS_SHOWN_MAX);
    BuildMetrics told = {.pid = 2, .table = "public.a", .step = "index: scanning", .done = 1, .total = 2};
    metrics_build_progress(m, &told);
    told.pid = BUILDS_SHOWN_MAX + 2; /* not shown */
    metrics_build_progress(m, &told);
    assert_int_equal(m->builds[0].total, 0);
    assert_int_equal(m->builds[1].total, 2);
    assert_string_equal(m->builds[1].name, "INDEX a.b");
    assert_string_equal(m->builds[1].step, "index: scanning");
    metrics_build_begin(m, 2, "INDEX a.c");
    assert_string_equal(m->builds[1].name, "INDEX a.c");
    assert_string_equal(m->builds[1].step, "");
    for (int pid = BUILDS_SHOWN_MAX + 2; pid >= 1; pid--)
        metrics_build_end(m, pid);
    assert_int_equal(m->build_count, 0);
    metrics_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_run_checks_and_knows_no_lag),
        cmocka_unit_test(names_are_the_documented_ones),
        cmocka_unit_test(since_is_when_the_phase_began),
        cmocka_unit_test(texts_are_set_cut_and_cleared),
        cmocka_unit_test(a_share_is_known_by_rows_then_bytes_and_never_whole_before_the_end),
        cmocka_unit_test(builds_come_and_go_by_session),
        cmocka_unit_test(tables_have_copies_of_their_names),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
