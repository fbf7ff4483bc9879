/* Transactions in parts on a real server: what the destination shows, and what their tickets say. */
#include "core/ticket.h"
#include "live_fixture.h"
#include "sink/early.h"

static const char T[] =
    "CREATE TABLE s.t (id int PRIMARY KEY, v text); CREATE TABLE s.u (id int PRIMARY KEY, v text)";
static const char T_ROWS[] = "SELECT coalesce(string_agg(id || '=' || v, ' ' ORDER BY id), '') FROM s.t";
static const char APPLIED[] = "SELECT max(lsn) FROM walferry.progress";
static const char OPEN[] = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walferry_shop'"
                           " AND backend_xid IS NOT NULL";

static Relation *begin(Fixture *f) {
    start_with(f, T, "t,u");
    return relation(f, "t", 'd', "id*,v");
}

/* ---- batches of one transaction in parts ---- */

typedef struct Streamed {
    Fixture *f;
    Ticket *ticket;
    uint32_t xid;
} Streamed;

static Streamed streamed(Fixture *f, uint32_t xid) {
    return (Streamed){f, ticket_new(), xid};
}

static bool try_write(Streamed *x, BatchKind kind, Maker *m) {
    Batch *b = maker_batch(m);
    b->kind = kind;
    b->ticket = x->ticket;
    ticket_use(x->ticket);
    bool ok = sink_apply.write(x->f->sink, b, &x->f->e);
    batch_drop(b);
    return ok;
}

static void write_all(Streamed *x, BatchKind kind, Maker *m) {
    if (!try_write(x, kind, m))
        fail_test("write: %s", x->f->e.text);
}

static Maker run_of(const Relation *rel, uint32_t xid, uint32_t subxid, int first, int count, const char *v) {
    Maker m = maker_new((uint32_t)count);
    for (int id = first; id < first + count; id++) {
        char row[40];
        snprintf(row, sizeof row, "%d|%s", id, v);
        maker_insert(&m, rel, row);
    }
    m.transactions[0] = (Transaction){
        .xid = xid, .subxid = subxid, .count = m.change_count, .changes = m.changes, .begins = true};
    m.transaction_count = 1;
    return m;
}

static void part(Streamed *x, const Relation *rel, uint32_t subxid, int first, int count, const char *v) {
    Maker m = run_of(rel, x->xid, subxid, first, count, v);
    write_all(x, BATCH_PART, &m);
}

static Maker word(uint32_t xid, uint32_t subxid, uint64_t end) {
    Maker m = maker_new(1);
    m.transactions[0] = (Transaction){
        .xid = xid, .subxid = subxid, .commit = {end == 0 ? 0 : end - 8}, .end = {end}, .ends = true};
    m.transaction_count = 1;
    return m;
}

static void cut(Streamed *x, uint32_t subxid) {
    Maker m = word(x->xid, subxid, 0);
    write_all(x, BATCH_CUT, &m);
}

/* The last word; the ticket must say so then. */
static void ends(Streamed *x, BatchKind kind, uint64_t end, TicketOutcome outcome) {
    Maker m = word(x->xid, 0, end);
    write_all(x, kind, &m);
    assert_int_equal(ticket_outcome(x->ticket), outcome);
    ticket_drop(x->ticket);
}

static void given_up(const Streamed *x) {
    assert_int_equal(ticket_outcome(x->ticket), TICKET_GIVEN_UP);
}

static void row_in_order(Fixture *f, const Relation *rel, const char *row, uint64_t end) {
    Maker m = maker_new(1);
    maker_insert(&m, rel, row);
    maker_commit(&m, (uint32_t)end, end);
    apply(f, &m);
}

/* Applied inserts, updates and deletes, and whether they are what was received (core/audit): written as a session begins. */
static void assert_counted(Fixture *f, const char *counts) {
    start(f);
    assert_value(f, "SELECT applied[1:3]::text || (received = applied) FROM walferry.audit", counts);
}

/* ---- commit, abort, savepoints ---- */

static void it_is_visible_at_its_commit_with_its_progress(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 2, "a");
    part(&x, t, 7, 3, 1, "b");
    assert_value(f, T_ROWS, "");
    assert_value(f, OPEN, "1");
    row_in_order(f, t, "9|between", 0x2000);
    assert_value(f, T_ROWS, "9=between");
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    assert_value(f, T_ROWS, "1=a 2=a 3=b 9=between");
    assert_value(f, APPLIED, "0/2100");
    assert_int_equal(atomic_load(&f->metrics->early), 1);
    assert_int_equal(atomic_load(&f->metrics->transactions), 2);
    assert_int_equal(atomic_load(&f->metrics->changes), 4);
    assert_int_equal(settled(f, true, 10), 0x2100);
    row_in_order(f, t, "10|behind", 0x2200);
    assert_value(f, APPLIED, "0/2200");
    start(f);
    assert_int_equal(f->at.applied.at, 0x2200);
}

/* The whole is handed out to others beside it: nothing of it is due here any more. */
static void the_whole_behind_it_is_passed_over(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 1, "a");
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    row_in_order(f, t, "1|a", 0x2100);
    assert_value(f, T_ROWS, "1=a");
}

static void what_waits_in_order_is_committed_first(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Maker m = maker_new(1);
    maker_insert(&m, t, "1|first");
    maker_commit(&m, 5, 0x2000);
    assert_true(write_batch(f, &m));
    assert_value(f, T_ROWS, "");
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 2, 1, "second");
    assert_value(f, T_ROWS, "1=first");
    ends(&x, BATCH_ABORT, 0, TICKET_OPEN);
    assert_value(f, OPEN, "0");
    assert_value(f, T_ROWS, "1=first");
    assert_value(f, APPLIED, "0/2000");
}

static void a_beat_inside_counts_at_the_commit(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 1, "a");
    Maker m = maker_new(1);
    maker_beat(&m, 42);
    m.transactions[0] = (Transaction){.xid = 7, .subxid = 7, .count = 1, .changes = m.changes};
    m.transaction_count = 1;
    write_all(&x, BATCH_PART, &m);
    assert_int_equal(f->metrics->beat.number, 0);
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    assert_value(f, "SELECT beat FROM walferry.progress WHERE beat IS NOT NULL", "42");
    assert_int_equal(f->metrics->beat.number, 42);
}

static void savepoints_are_undone(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 1, "kept");
    part(&x, t, 8, 2, 1, "kept");
    part(&x, t, 9, 3, 1, "gone");
    part(&x, t, 10, 4, 1, "gone");
    part(&x, t, 9, 5, 1, "gone");
    cut(&x, 9);
    cut(&x, 77); /* did nothing for the destination */
    part(&x, t, 11, 3, 1, "again");
    part(&x, t, 8, 6, 1, "kept");
    cut(&x, 11);
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    assert_value(f, T_ROWS, "1=kept 2=kept");
    assert_int_equal(atomic_load(&f->metrics->changes), 2);
    assert_counted(f, "{2,0,0}true");
}

static void so_many_savepoints_that_the_first_are_let_go(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7), y = streamed(f, 5007);
    for (uint32_t sub = 0; sub < 200; sub++)
        part(&x, t, 1000 + sub, (int)sub, 1, "a");
    cut(&x, 1199);
    cut(&x, 1190);
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    assert_value(f, "SELECT count(*) FROM s.t", "190");
    for (uint32_t sub = 0; sub < 200; sub++)
        part(&y, t, 6000 + sub, 1000 + (int)sub, 1, "a");
    cut(&y, 6100);
    given_up(&y);
    ends(&y, BATCH_COMMIT, 0x2200, TICKET_GIVEN_UP);
    assert_value(f, "SELECT count(*) FROM s.t", "190");
    assert_value(f, APPLIED, "0/2100");
    assert_counted(f, "{190,0,0}true");
}

/* ---- giving up ---- */

static void what_is_refused_waits_for_its_turn(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7);
    row_in_order(f, t, "3|there", 0x2000);
    part(&x, t, 7, 1, 2, "a");
    part(&x, t, 7, 3, 1, "b");
    given_up(&x);
    assert_value(f, OPEN, "0");
    part(&x, t, 7, 4, 1, "c"); /* was on its way */
    cut(&x, 9);
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_GIVEN_UP);
    assert_value(f, T_ROWS, "3=there");
    assert_value(f, APPLIED, "0/2000");
    assert_int_equal(atomic_load(&f->metrics->early_given_up), 1);
    assert_counted(f, "{1,0,0}true");
}

/* At COMMIT, as a deferred constraint would; one that acts in replica mode, too. */
static void at_commit_of(Fixture *f, const char *table, const char *does) {
    char sql[600];
    snprintf(sql, sizeof sql,
             "CREATE OR REPLACE FUNCTION s.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s; RETURN "
             "NULL; END $$;"
             " CREATE CONSTRAINT TRIGGER late AFTER INSERT ON s.%s DEFERRABLE INITIALLY DEFERRED"
             " FOR EACH ROW EXECUTE FUNCTION s.late(); ALTER TABLE s.%s ENABLE ALWAYS TRIGGER late",
             does, table, table);
    run(f, sql);
}

static void what_is_refused_at_its_commit_waits_for_its_turn(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    at_commit_of(f, "t", "IF NEW.v = 'bad' THEN RAISE unique_violation; END IF");
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 2, "bad");
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_GIVEN_UP);
    assert_value(f, T_ROWS, "");
    row_in_order(f, t, "1|good", 0x2100);
    assert_value(f, APPLIED, "0/2100");
    assert_counted(f, "{1,0,0}true");
}

/* A set that is refused is no reason to give up: the part is applied again, change by change. */
static void a_refused_set_is_applied_change_by_change(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    run(f, "CREATE UNIQUE INDEX ON s.t (v)");
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 1, "a");
    part(&x, t, 7, 2, 1, "b");
    for (uint32_t subxid = 8; subxid <= 9; subxid++) { /* an exchange, which no set can do */
        Maker m = maker_new(8);
        maker_update(&m, t, NULL, "1|c");
        maker_update(&m, t, NULL, subxid == 8 ? "2|a" : "2|b");
        maker_update(&m, t, NULL, subxid == 8 ? "1|b" : "1|a");
        m.transactions[0] =
            (Transaction){.xid = 7, .subxid = subxid, .count = m.change_count, .changes = m.changes};
        m.transaction_count = 1;
        write_all(&x, BATCH_PART, &m);
    }
    cut(&x, 9);
    part(&x, t, 7, 3, 1, "c");
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    assert_value(f, T_ROWS, "1=b 2=a 3=c");
    assert_counted(f, "{3,3,0}true");
}

static void trap_A2_what_ends_before_a_snapshot_waits_for_its_turn(void **state) {
    Fixture *f = *state;
    run(f, T);
    born(f, "t,u");
    loaded(f, "t", POINT);
    loaded(f, "u", 0x3000);
    start(f);
    Streamed x = streamed(f, 7);
    part(&x, relation(f, "t", 'd', "id*,v"), 7, 1, 1, "a");
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_GIVEN_UP);
    assert_value(f, T_ROWS, "");
}

static void trap_A7b_the_one_in_the_way_gives_way(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7), y = streamed(f, 8);
    part(&x, t, 7, 1, 3, "x");
    part(&y, t, 8, 11, 3, "y");
    assert_value(f, OPEN, "2");
    row_in_order(f, t, "2|in order", 0x2000); /* waits for x */
    given_up(&x);
    assert_int_equal(ticket_outcome(y.ticket), TICKET_OPEN);
    assert_value(f, T_ROWS, "2=in order");
    Streamed z = streamed(f, 9);
    part(&z, t, 9, 12, 1, "z"); /* waits for y */
    given_up(&y);
    ends(&z, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    ends(&x, BATCH_COMMIT, 0x2200, TICKET_GIVEN_UP);
    ends(&y, BATCH_ABORT, 0, TICKET_GIVEN_UP);
    assert_value(f, T_ROWS, "2=in order 12=z");
    assert_counted(f, "{2,0,0}true");
}

/* One waits at its commit for another one that is open. */
static void trap_A7b_at_the_commit(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    at_commit_of(f, "u", "INSERT INTO s.t VALUES (1, 'late') ON CONFLICT DO NOTHING");
    Streamed x = streamed(f, 7), y = streamed(f, 8);
    part(&x, t, 7, 1, 1, "x");
    part(&y, relation(f, "u", 'd', "id*,v"), 8, 2, 1, "y");
    ends(&y, BATCH_COMMIT, 0x2000, TICKET_APPLIED);
    ends(&x, BATCH_COMMIT, 0x2100, TICKET_GIVEN_UP);
    assert_value(f, T_ROWS, "1=late");
}

static void four_at_a_time_and_their_connections_serve_again(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x[6];
    for (uint32_t at = 0; at < 6; at++) {
        x[at] = streamed(f, 10 + at);
        part(&x[at], t, 10 + at, (int)at, 1, "a");
        assert_int_equal(ticket_outcome(x[at].ticket), at < EARLY_MOST ? TICKET_OPEN : TICKET_GIVEN_UP);
    }
    for (uint32_t at = 0; at < 6; at++)
        ends(&x[at], BATCH_COMMIT, 0x2000 + at, at < EARLY_MOST ? TICKET_APPLIED : TICKET_GIVEN_UP);
    Streamed again = streamed(f, 20);
    part(&again, t, 20, 7, 1, "b");
    ends(&again, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    assert_value(f, T_ROWS, "0=a 1=a 2=a 3=a 7=b");
}

/* ---- connections ---- */

static void without_a_connection_everything_waits_for_its_turn(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    char nowhere[] = "host=/nonexistent";
    f->cfg.target.dsn = nowhere;
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 1, "a");
    ends(&x, BATCH_COMMIT, 0x2000, TICKET_GIVEN_UP);
    row_in_order(f, t, "1|a", 0x2000);
    assert_value(f, T_ROWS, "1=a");
}

static void trap_A6_a_lost_connection_ends_the_session(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 1, "a");
    run(f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walferry_shop'"
           " AND backend_xid IS NOT NULL");
    Maker m = run_of(t, 7, 7, 2, 1, "b");
    assert_false(try_write(&x, BATCH_PART, &m));
    assert_true(f->e.connection);
    assert_int_equal(ticket_outcome(x.ticket), TICKET_OPEN);
    ticket_drop(x.ticket);
    start(f);
    assert_value(f, T_ROWS, "");
    assert_int_equal(f->at.applied.at, POINT);
}

/* Every connection holds the job's lock: whoever takes over ends them first. */
static void trap_A6_an_open_one_holds_the_lock_of_the_job(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Streamed x = streamed(f, 7);
    part(&x, t, 7, 1, 1, "a");
    assert_value(
        f, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted",
        "2");
    ends(&x, BATCH_ABORT, 0, TICKET_OPEN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_is_visible_at_its_commit_with_its_progress),
        TEST(the_whole_behind_it_is_passed_over),
        TEST(what_waits_in_order_is_committed_first),
        TEST(a_beat_inside_counts_at_the_commit),
        TEST(savepoints_are_undone),
        TEST(so_many_savepoints_that_the_first_are_let_go),
        TEST(what_is_refused_waits_for_its_turn),
        TEST(what_is_refused_at_its_commit_waits_for_its_turn),
        TEST(a_refused_set_is_applied_change_by_change),
        TEST(trap_A2_what_ends_before_a_snapshot_waits_for_its_turn),
        TEST(trap_A7b_the_one_in_the_way_gives_way),
        TEST(trap_A7b_at_the_commit),
        TEST(four_at_a_time_and_their_connections_serve_again),
        TEST(without_a_connection_everything_waits_for_its_turn),
        TEST(trap_A6_a_lost_connection_ends_the_session),
        TEST(trap_A6_an_open_one_holds_the_lock_of_the_job),
    };
    return cmocka_run_group_tests_name("live_early", tests, group_start, group_stop);
}
