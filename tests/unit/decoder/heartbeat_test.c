#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "decoder/heartbeat.h"
#include "fake_server.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

static char public_schema[] = "public", beat_table[] = "dts_beat", job_name[] = "shop";
static const Config cfg = {
    .name = job_name,
    .source = {.heartbeat_ms = 1000, .heartbeat_schema = public_schema, .heartbeat_table = beat_table}};
static const char OURS[] = "99|t", THEIRS[] = "99|f";

static Pg *open_at(FakeServer *f) {
    Error e;
    fake_start(f);
    const PgAddress to = {.dsn = f->dsn, .side = "source", .job = "shop"};
    Pg *pg = pg_open(&to, 5000, &e);
    assert_non_null(pg);
    return pg;
}

static void close_both(FakeServer *f, Pg *pg) {
    pg_close(pg);
    fake_stop(f);
}

static void table_is_made_with_a_row(void **state) {
    (void)state;
    FakeServer f = {0};
    HeartbeatForm form;
    Error e;
    Pg *pg = open_at(&f);
    assert_true(heartbeat_make(pg, &cfg, &form, &e));
    close_both(&f, pg);
    assert_int_equal(form, HEARTBEAT_TABLE);
    assert_string_equal(f.statements[2],
                        "CREATE TABLE IF NOT EXISTS \"public\".\"dts_beat\" (job text PRIMARY KEY, "
                        "beat bigint, at timestamptz)");
    assert_non_null(strstr(f.statements[3], "INSERT INTO \"public\".\"dts_beat\" (job, beat, at)"));
    fake_free(&f);
}

static void missing_right_makes_messages(void **state) {
    (void)state;
    static const struct {
        const char *version, *table, *refused;
        bool possible;
    } cases[] = {
        {"15.4", NULL, "CREATE TABLE", true}, {"15.4", OURS, "INSERT INTO", true},
        {"15.4", THEIRS, "no such", true},    {"13.9", NULL, "CREATE TABLE", false},
        {"13.9", THEIRS, "no such", false},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule rules[] = {
            {.contains = "pg_has_role", .rows = cases[n].table},
            {.contains = cases[n].refused, .sqlstate = "42501", .message = "permission denied"},
            {0}};
        FakeServer f = {.version = cases[n].version, .rules = rules};
        HeartbeatForm form;
        Error e = {0};
        Pg *pg = open_at(&f);
        assert_int_equal(heartbeat_make(pg, &cfg, &form, &e), cases[n].possible);
        close_both(&f, pg);
        assert_int_equal(form, HEARTBEAT_MESSAGE);
        assert_int_equal(e.kind == ERR_CONFIG && e.hint[0] == 'G', !cases[n].possible);
        fake_free(&f);
    }
}

static void other_refusals_are_told(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "CREATE TABLE", .sqlstate = "3F000", .message = "no schema", .times = 1},
                        {0}};
    FakeServer f = {.rules = rules};
    HeartbeatForm form;
    Error e;
    Pg *pg = open_at(&f);
    assert_false(heartbeat_make(pg, &cfg, &form, &e));
    assert_string_equal(e.text, "source: no schema");
    close_both(&f, pg);
    fake_free(&f);
}

static void another_job_may_have_made_the_table_meanwhile(void **state) {
    (void)state;
    static const char *const refusals[] = {"42P07", "42710", "23505"};
    for (size_t n = 0; n < sizeof refusals / sizeof *refusals; n++) {
        FakeRule rules[] = {
            {.contains = "CREATE TABLE", .sqlstate = refusals[n], .message = "made meanwhile"}, {0}};
        FakeServer f = {.rules = rules};
        HeartbeatForm form;
        Error e;
        Pg *pg = open_at(&f);
        assert_true(heartbeat_make(pg, &cfg, &form, &e));
        assert_int_equal(form, HEARTBEAT_TABLE);
        close_both(&f, pg);
        fake_free(&f);
    }
}

static void heartbeat_can_be_off(void **state) {
    (void)state;
    FakeServer f = {0};
    Config off = cfg;
    HeartbeatForm form = HEARTBEAT_TABLE;
    Error e;
    off.source.heartbeat_ms = 0;
    Pg *pg = open_at(&f);
    assert_true(heartbeat_make(pg, &off, &form, &e));
    assert_int_equal(form, HEARTBEAT_OFF);
    form = HEARTBEAT_TABLE;
    assert_true(heartbeat_find(pg, &off, &form, &e));
    assert_int_equal(form, HEARTBEAT_OFF);
    close_both(&f, pg);
    assert_int_equal(f.count, 1);
    fake_free(&f);
}

static void form_is_found_without_making(void **state) {
    (void)state;
    static const struct {
        const char *version, *table;
        HeartbeatForm form;
    } cases[] = {{"15.4", OURS, HEARTBEAT_TABLE},
                 {"15.4", THEIRS, HEARTBEAT_MESSAGE},
                 {"14.0", NULL, HEARTBEAT_MESSAGE},
                 {"13.9", NULL, HEARTBEAT_OFF}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule rules[] = {{.contains = "pg_has_role", .rows = cases[n].table}, {0}};
        FakeServer f = {.version = cases[n].version, .rules = rules};
        HeartbeatForm form;
        Error e;
        Pg *pg = open_at(&f);
        assert_true(heartbeat_find(pg, &cfg, &form, &e));
        assert_int_equal(form, cases[n].form);
        close_both(&f, pg);
        assert_int_equal(f.count, 2);
        fake_free(&f);
    }
}

static void beat_gives_the_position_after_it(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "pg_current_wal", .rows = "1/2A"},
                        {.contains = "pg_logical_emit_message", .rows = "1/0"},
                        {0}};
    FakeServer f = {.rules = rules};
    Lsn after;
    Error e;
    Pg *pg = open_at(&f);
    assert_true(heartbeat_beat(pg, &cfg, HEARTBEAT_TABLE, 7, &after, &e));
    assert_int_equal(after.at, 0x10000002A);
    assert_true(heartbeat_beat(pg, &cfg, HEARTBEAT_MESSAGE, 8, &after, &e));
    close_both(&f, pg);
    assert_non_null(strstr(f.statements[1], "ON CONFLICT (job) DO UPDATE SET beat = excluded.beat"));
    assert_non_null(strstr(f.statements[3], "pg_logical_emit_message(true, $1"));
    fake_free(&f);
}

static void table_goes_with_its_last_row(void **state) {
    (void)state;
    for (int others = 0; others <= 1; others++) {
        FakeRule rules[] = {{.contains = "pg_has_role", .rows = OURS},
                            {.contains = "SELECT FROM", .rows = others ? "1" : ""},
                            {0}};
        FakeServer f = {.rules = rules};
        Error e;
        Pg *pg = open_at(&f);
        assert_true(heartbeat_drop(pg, &cfg, &e));
        close_both(&f, pg);
        assert_true(fake_find(&f, "DELETE FROM \"public\".\"dts_beat\" WHERE job = $1") > 0);
        assert_int_equal(fake_find(&f, "DROP TABLE \"public\".\"dts_beat\"") > 0, !others);
        assert_string_equal(f.statements[f.count - 1], "COMMIT");
        fake_free(&f);
    }
}

static void absent_table_is_dropped_already(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "pg_has_role", .rows = THEIRS, .times = 1}, {0}};
    FakeServer f = {.rules = rules};
    Error e;
    Pg *pg = open_at(&f);
    assert_true(heartbeat_drop(pg, &cfg, &e));
    assert_true(heartbeat_drop(pg, &cfg, &e));
    close_both(&f, pg);
    assert_int_equal(f.count, 3);
    fake_free(&f);
}

static void refused_drop_leaves_no_transaction(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "pg_has_role", .rows = OURS},
                        {.contains = "LOCK TABLE", .sqlstate = "55P03", .message = "lock timeout"},
                        {0}};
    FakeServer f = {.rules = rules};
    Error e;
    Pg *pg = open_at(&f);
    assert_false(heartbeat_drop(pg, &cfg, &e));
    assert_int_equal(e.kind, ERR_RETRY);
    close_both(&f, pg);
    assert_string_equal(f.statements[f.count - 1], "ROLLBACK");
    fake_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_made_with_a_row),
        cmocka_unit_test(missing_right_makes_messages),
        cmocka_unit_test(other_refusals_are_told),
        cmocka_unit_test(another_job_may_have_made_the_table_meanwhile),
        cmocka_unit_test(heartbeat_can_be_off),
        cmocka_unit_test(form_is_found_without_making),
        cmocka_unit_test(beat_gives_the_position_after_it),
        cmocka_unit_test(table_goes_with_its_last_row),
        cmocka_unit_test(absent_table_is_dropped_already),
        cmocka_unit_test(refused_drop_leaves_no_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
