/* Runs of sets on several connections, on a real server: each batch is a run, and the oldest is held up by a lock of
 * somebody else, so that the others are on their way beside it. */
#include <unistd.h>

#include "live_fixture.h"

static const char TABLES[] =
    "CREATE TABLE s.a (k int PRIMARY KEY, u numeric UNIQUE, v text); CREATE TABLE s.h (k int PRIMARY KEY, v "
    "text);"
    "CREATE TABLE s.x (k int PRIMARY KEY, u int, EXCLUDE (u WITH =)); CREATE TABLE s.f (y text);"
    "INSERT INTO s.h VALUES (1, ''); INSERT INTO s.a SELECT i, i, '' FROM generate_series(1, 5) i;"
    "INSERT INTO s.x SELECT i, i FROM generate_series(1, 5) i";
static const char A_ROWS[] =
    "SELECT string_agg(k || '=' || coalesce(u::text, '-') || v, ' ' ORDER BY k) FROM s.a";
static const char X_ROWS[] = "SELECT string_agg(k || '=' || u, ' ' ORDER BY k) FROM s.x";
static const char PROGRESS[] =
    "SELECT string_agg((lsn - '0/0')::text, ' ' ORDER BY lsn) FROM walferry.progress";

typedef struct Work {
    Fixture *f;
    Relation *a, *h, *x, *y;
    Pg *holder;
    uint64_t end;
} Work;

static Work work_new(Fixture *f, int workers) {
    f->cfg.target.gear = GEAR_CHOICE_CATCH_UP;
    f->cfg.target.workers = workers;
    f->cfg.memory_bytes = 100; /* every batch is a run */
    start_with(f, TABLES, "a,h,x,f");
    PgAddress to = {.dsn = f->server->dsn, .side = "target", .job = "holder"};
    Work w = {.f = f,
              .a = relation(f, "a", 'd', "k*,u,v"),
              .h = relation(f, "h", 'd', "k*,v"),
              .x = relation(f, "x", 'd', "k*,u"),
              .y = relation(f, "f", 'd', "y"),
              .holder = pg_open(&to, 5000, &f->e),
              .end = 0x1f00};
    return w;
}

static void end(Work *w) {
    pg_close(w->holder);
}

/* Somebody keeps the row of s.h for so long. */
static void hold(Work *w, int ms) {
    char sql[160];
    snprintf(sql, sizeof sql, "BEGIN; SELECT FROM s.h FOR UPDATE; SELECT pg_sleep(%d / 1000.0); COMMIT", ms);
    assert_true(PQsendQuery(w->holder->conn, sql) == 1);
    char found[8] = "";
    for (int tries = 0; tries < 200 && strcmp(found, "1") != 0; tries++) {
        usleep(10000);
        assert_true(pg_value(w->f->eye,
                             "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
                             " AND application_name = 'walferry_holder'",
                             0, NULL, found, sizeof found, &w->f->e));
    }
    assert_string_equal(found, "1");
}

typedef struct Run {
    Work *w;
    Maker m;
} Run;

static Run run_new(Work *w) {
    return (Run){w, maker_new(20)};
}

/* On its way; as one transaction. */
static void run_write(Run *r) {
    maker_commit(&r->m, (uint32_t)r->w->end, r->w->end);
    r->w->end += 0x100;
    if (!write_batch(r->w->f, &r->m))
        fail_test("write: %s", r->w->f->e.text);
}

/* The first rows of a table begin its record, for which everything else waits. */
static Work begin(Fixture *f, int workers) {
    Work w = work_new(f, workers);
    Run first = run_new(&w);
    maker_update(&first.m, w.a, NULL, "1|1|");
    maker_update(&first.m, w.h, NULL, "1|");
    maker_update(&first.m, w.x, NULL, "1|1");
    maker_insert(&first.m, w.y, "0");
    run_write(&first);
    settled(f, true, 0);
    return w;
}

/* The oldest, which waits for the holder before it does anything of s.a or s.x: what is collected last goes first. */
static Run held_new(Work *w) {
    return run_new(w);
}

static void held_write(Run *r) {
    maker_update(&r->m, r->w->h, NULL, "1|held");
    run_write(r);
}

static long long early(const Work *w) {
    return atomic_load(&w->f->metrics->runs_early);
}

static long long again(const Work *w) {
    return atomic_load(&w->f->metrics->runs_again);
}

/* How many have done something at the destination. */
static void assert_open(Work *w, const char *count) {
    char found[8] = "";
    for (int tries = 0; tries < 100 && strcmp(found, count) != 0; tries++) {
        usleep(10000);
        assert_true(pg_value(w->f->eye,
                             "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walferry_shop'"
                             " AND backend_xid IS NOT NULL",
                             0, NULL, found, sizeof found, &w->f->e));
    }
    assert_string_equal(found, count);
}

static void what_touches_nothing_of_an_older_run_goes_before_its_turn(void **state) {
    Work w = begin(*state, 3);
    hold(&w, 600);
    Run first = held_new(&w);
    held_write(&first);
    for (int number = 1; number <= 2; number++) {
        char row[40];
        Run other = run_new(&w);
        snprintf(row, sizeof row, "%d|%d|new", number, number);
        maker_update(&other.m, w.a, NULL, row);
        snprintf(row, sizeof row, "%d|%d|more", 10 + number, 10 + number);
        maker_insert(&other.m, w.a, row);
        run_write(&other);
    }
    assert_open(&w, "3");
    assert_value(w.f, A_ROWS, "1=1 2=2 3=3 4=4 5=5"); /* nobody sees it before its turn */
    settled(w.f, true, 0);
    assert_value(w.f, A_ROWS, "1=1new 2=2new 3=3 4=4 5=5 11=11more 12=12more");
    assert_value(w.f, PROGRESS, "4096 7936 8192 8448 8704");
    assert_true(early(&w) == 2 && again(&w) == 0);
    assert_int_equal(atomic_load(&w.f->metrics->workers), 3);
    end(&w);
}

static void what_touches_an_older_run_waits(void **state) {
    Work w = begin(*state, 2);
    hold(&w, 300);
    Run first = held_new(&w);
    maker_update(&first.m, w.a, NULL, "1|1|one");
    maker_delete(&first.m, w.a, "2|-|-");
    held_write(&first);
    Run second = run_new(&w);
    maker_update(&second.m, w.a, NULL, "1|1|two");
    maker_insert(&second.m, w.a, "2|2|back");
    maker_update(&second.m, w.a, "3|-|-", "6|3|moved");
    run_write(&second);
    Run third = run_new(&w); /* its row takes over a unique value and a key that the second one sets */
    maker_update(&third.m, w.a, "6|-|-", "7|3|on");
    maker_update(&third.m, w.a, "4|-|-", "6|4|behind");
    run_write(&third);
    settled(w.f, true, 0);
    assert_value(w.f, A_ROWS, "1=1two 2=2back 5=5 6=4behind 7=3on");
    assert_int_equal(again(&w), 0);
    end(&w);
}

/* DELETE u=1 / INSERT u=1: what the stream does not show is found out. */
static void trap_B2_a_unique_value_that_a_deleted_row_had(void **state) {
    Work w = begin(*state, 2);
    hold(&w, 300);
    Run first = held_new(&w);
    maker_delete(&first.m, w.a, "1|-|-");
    held_write(&first);
    Run second = run_new(&w);
    maker_insert(&second.m, w.a, "6|1|took it");
    run_write(&second);
    settled(w.f, true, 0);
    assert_value(w.f, A_ROWS, "2=2 3=3 4=4 5=5 6=1took it");
    assert_true(early(&w) == 1 && again(&w) == 1);
    end(&w);
}

static void trap_B2_an_exclusion_constraint(void **state) {
    Work w = begin(*state, 2);
    hold(&w, 300);
    Run first = held_new(&w);
    maker_update(&first.m, w.x, NULL, "1|10");
    held_write(&first);
    Run second = run_new(&w);
    maker_insert(&second.m, w.x, "6|1");
    run_write(&second);
    settled(w.f, true, 0);
    assert_value(w.f, X_ROWS, "1=10 2=2 3=3 4=4 5=5 6=1");
    assert_true(early(&w) == 1 && again(&w) == 1);
    end(&w);
}

/* The younger holds what the oldest waits for, and waits for its turn in walferry: the server sees no deadlock. */
static void trap_A7b_the_younger_gives_way(void **state) {
    Work w = begin(*state, 2);
    hold(&w, 300);
    Run first = held_new(&w);
    maker_insert(&first.m, w.a, "6|9.0|first");
    held_write(&first);
    Run second = run_new(&w);
    maker_delete(&second.m, w.a, "6|-|-");
    maker_insert(&second.m, w.a, "7|9.00|second"); /* equal, and looks different */
    run_write(&second);
    settled(w.f, true, 0);
    assert_value(w.f, A_ROWS, "1=1 2=2 3=3 4=4 5=5 7=9.00second");
    assert_true(early(&w) == 1 && again(&w) == 1);
    end(&w);
}

/* A table that was the reason is left in order for a while. */
static void what_was_the_reason_is_learnt(void **state) {
    Work w = begin(*state, 2);
    for (int round = 0; round < 3; round++) {
        char row[40];
        hold(&w, 200);
        Run first = held_new(&w);
        snprintf(row, sizeof row, "%d|-|-", 1 + round);
        maker_delete(&first.m, w.a, row);
        held_write(&first);
        Run second = run_new(&w);
        snprintf(row, sizeof row, "%d|%d|", 11 + round, 1 + round);
        maker_insert(&second.m, w.a, row);
        run_write(&second);
        settled(w.f, true, 0);
        PGresult *result;
        while ((result = PQgetResult(w.holder->conn)) != NULL)
            PQclear(result);
    }
    assert_value(w.f, A_ROWS, "4=4 5=5 11=1 12=2 13=3");
    assert_int_equal(again(&w), 1);
    end(&w);
}

/* What the oldest is refused for is told as it is, with everything before it applied and nothing behind it. */
static void only_the_oldest_is_refused(void **state) {
    Work w = begin(*state, 3);
    hold(&w, 300);
    Run first = held_new(&w);
    held_write(&first);
    Run second = run_new(&w);
    maker_update(&second.m, w.a, NULL, "99|9|nobody");
    run_write(&second);
    Run third = run_new(&w);
    maker_update(&third.m, w.a, NULL, "1|1|behind");
    run_write(&third);
    uint64_t durable;
    assert_false(try_settle(w.f, true, 0, &durable));
    assert_said(w.f, ERR_DATA, "update of \"s.a\" (k=99)");
    assert_value(w.f, A_ROWS, "1=1 2=2 3=3 4=4 5=5");
    assert_value(w.f, "SELECT v FROM s.h", "held");
    assert_value(w.f, PROGRESS, "4096 7936 8192");
    start(w.f);
    assert_int_equal(w.f->at.applied.at, 0x2000);
    end(&w);
}

/* Tables without a key, and TRUNCATE, wait for everything before them. */
static void barriers_go_alone(void **state) {
    Work w = begin(*state, 3);
    Relation *full = relation(w.f, "f", 'f', "y");
    for (int round = 0; round < 4; round++) {
        Run rows = run_new(&w);
        maker_insert(&rows.m, w.y, "a");
        maker_insert(&rows.m, full, "b");
        maker_delete(&rows.m, full, "a");
        maker_update(&rows.m, w.a, NULL, "1|1|x");
        run_write(&rows);
    }
    Run empty = run_new(&w);
    maker_truncate(&empty.m, w.a, NULL, false);
    maker_insert(&empty.m, w.a, "1|1|left");
    run_write(&empty);
    Run last = run_new(&w);
    maker_update(&last.m, w.a, NULL, "1|1|right");
    run_write(&last);
    settled(w.f, true, 0);
    assert_value(w.f, A_ROWS, "1=1right");
    assert_value(w.f, "SELECT string_agg(y, '') FROM s.f", "0bbbb");
    end(&w);
}

static void large_runs_are_sent_as_far_as_they_need_not_wait(void **state) {
    Work w = begin(*state, 2);
    enum { ROWS = 6000 };
    char text[2001];
    memset(text, 'x', 2000);
    text[2000] = '\0';
    hold(&w, 500);
    Run first = held_new(&w);
    held_write(&first);
    for (int part = 0; part < 2; part++) {
        Maker m = maker_new(ROWS);
        for (int row = 0; row < ROWS; row++) {
            char written[2100];
            snprintf(written, sizeof written, "%d|\\N|%s", 100 + part * ROWS + row, text);
            maker_insert(&m, w.a, written);
        }
        Run large = {&w, m};
        run_write(&large);
    }
    settled(w.f, true, 0);
    assert_value(w.f, "SELECT sum(length(v)) FROM s.a WHERE k >= 100", "24000000");
    end(&w);
}

static void trap_A6_a_lost_connection_ends_the_session(void **state) {
    Work w = begin(*state, 2);
    hold(&w, 300);
    Run first = held_new(&w);
    held_write(&first);
    Run second = run_new(&w);
    maker_update(&second.m, w.a, NULL, "1|1|lost");
    run_write(&second);
    assert_open(&w, "2");
    run(w.f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walferry_shop'"
             " AND backend_xid IS NOT NULL AND wait_event_type IS DISTINCT FROM 'Lock'");
    uint64_t durable;
    assert_false(try_settle(w.f, true, 0, &durable));
    assert_true(w.f->e.connection);
    start(w.f);
    assert_value(w.f, A_ROWS, "1=1 2=2 3=3 4=4 5=5");
    assert_int_equal(w.f->at.applied.at, 0x2000);
    end(&w);
}

static void trap_A6_each_connection_holds_the_lock_of_the_job(void **state) {
    Work w = begin(*state, 3);
    Run only = run_new(&w);
    maker_update(&only.m, w.a, NULL, "1|1|x");
    run_write(&only);
    assert_value(
        w.f, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted",
        "4");
    end(&w);
}

static void without_further_connections_there_is_one(void **state) {
    Work w = work_new(*state, 4);
    char nowhere[] = "host=/nonexistent";
    w.f->cfg.target.dsn = nowhere;
    for (int number = 1; number <= 3; number++) {
        char row[40];
        Run one = run_new(&w);
        snprintf(row, sizeof row, "%d|%d|x", number, number);
        maker_update(&one.m, w.a, NULL, row);
        run_write(&one);
    }
    settled(w.f, true, 0);
    assert_value(w.f, A_ROWS, "1=1x 2=2x 3=3x 4=4 5=5");
    assert_int_equal(atomic_load(&w.f->metrics->workers), 1);
    w.f->cfg.target.dsn = w.f->server->dsn;
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_touches_nothing_of_an_older_run_goes_before_its_turn),
        TEST(what_touches_an_older_run_waits),
        TEST(trap_B2_a_unique_value_that_a_deleted_row_had),
        TEST(trap_B2_an_exclusion_constraint),
        TEST(trap_A7b_the_younger_gives_way),
        TEST(what_was_the_reason_is_learnt),
        TEST(only_the_oldest_is_refused),
        TEST(barriers_go_alone),
        TEST(large_runs_are_sent_as_far_as_they_need_not_wait),
        TEST(trap_A6_a_lost_connection_ends_the_session),
        TEST(trap_A6_each_connection_holds_the_lock_of_the_job),
        TEST(without_further_connections_there_is_one),
    };
    return cmocka_run_group_tests_name("live_runs", tests, group_start, group_stop);
}
