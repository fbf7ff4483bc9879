/* Transactions in parts on a real server: what the destination shows, and what their tickets say. */
#include "core/memory.h"
#include "core/ticket.h"
#include "live_fixture.h"
#include "sink/postgres/early.h"

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
    settled(f, true, 0);
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
    settled(f, true, 0);
    assert_value(f, OPEN, "2");
    row_in_order(f, t, "2|in order", 0x2000); /* waits for x */
    given_up(&x);
    assert_int_equal(ticket_outcome(y.ticket), TICKET_OPEN);
    assert_value(f, T_ROWS, "2=in order");
    Streamed z = streamed(f, 9);
    part(&z, t, 9, 12, 1, "z"); /* waits for y */
    settled(f, true, 0);
    given_up(&y);
    ends(&z, BATCH_COMMIT, 0x2100, TICKET_APPLIED);
    ends(&x, BATCH_COMMIT, 0x2200, TICKET_GIVEN_UP);
    ends(&y, BATCH_ABORT, 0, TICKET_GIVEN_UP);
    assert_value(f, T_ROWS, "2=in order 12=z");
    assert_counted(f, "{2,0,0}true");
}

/* What is under way waits for one that waits for us: nobody begins anything else before that is over. */
static void trap_A7b_one_under_way_is_waited_for_first(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    run(f, "CREATE UNIQUE INDEX ON s.t (v)");
    Streamed x = streamed(f, 7), y = streamed(f, 8);
    part(&y, t, 8, 11, 1, "same");
    part(&x, t, 7, 1, 1, "a");
    part(&x, t, 7, 2, 1, "same");             /* waits for y */
    row_in_order(f, t, "1|in order", 0x2000); /* waits for x */
    given_up(&x);
    given_up(&y);
    ends(&y, BATCH_ABORT, 0, TICKET_GIVEN_UP);
    ends(&x, BATCH_ABORT, 0, TICKET_GIVEN_UP);
    assert_value(f, T_ROWS, "1=in order");
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
    settled(f, true, 0);
    run(f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walferry_shop'"
           " AND backend_xid IS NOT NULL");
    uint64_t durable;
    Maker m = run_of(t, 7, 7, 2, 1, "b");
    assert_false(try_write(&x, BATCH_PART, &m) && try_settle(f, true, 0, &durable));
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

/* ---- whatever they do between each other ---- */

enum { OPEN_MOST = 3, IDS = 12, STEPS = 40, PLAYS = 120, SHARED = 1, WHOLE_ID = 1000 };
enum {
    PARTS_MOST = 6,
    CHANGES_MOST = 6,
    EXCHANGE = 3,
    STEP_MOST = PARTS_MOST * CHANGES_MOST * EXCHANGE,
    LOG_MOST = 512
};

/* A row of the source: 0 there is none; SHARED: a value that no two rows of the destination may have, and that nobody
 * keeps beyond its transaction. */
typedef struct Did {
    ChangeKind kind;
    int id, value;
} Did;

typedef struct Played {
    Streamed stream; /* ticket NULL: none is open */
    int rows[IDS], saved[IDS];
    Did log[LOG_MOST];
    uint32_t logged, logged_saved, subxid, next_subxid;
} Played;

typedef struct Play {
    Fixture *f;
    Relation *rel;
    Played open[OPEN_MOST];
    int rows[OPEN_MOST][IDS], in_order; /* committed */
    unsigned seed;
    int next_value;
    uint32_t next_xid;
    uint64_t end;
} Play;

static unsigned one_of(Play *p, unsigned below) {
    return (unsigned)rand_r(&p->seed) % below;
}

static void did_add(Maker *m, const Relation *rel, const Did *did) {
    char row[40];
    snprintf(row, sizeof row, "%d|%d", did->id, did->value);
    if (did->kind == CHANGE_INSERT)
        maker_insert(m, rel, row);
    else if (did->kind == CHANGE_UPDATE)
        maker_update(m, rel, NULL, row);
    else
        maker_delete(m, rel, row);
}

static void change(Play *p, Played *x, Maker *m, int at, int value) {
    int id = (int)(x - p->open) * IDS + at + 1;
    Did did = {value == 0 ? CHANGE_DELETE : x->rows[at] == 0 ? CHANGE_INSERT : CHANGE_UPDATE, id, value};
    did_add(m, p->rel, &did);
    x->log[x->logged++] = did;
    x->rows[at] = value;
}

/* x: NULL: nobody has it. */
static int value_for(Play *p, const Played *x) {
    bool has_it = false;
    for (int at = 0; x != NULL && at < IDS; at++)
        has_it = has_it || x->rows[at] == SHARED;
    return !has_it && one_of(p, 200) == 0 ? SHARED : ++p->next_value;
}

/* Two rows exchange their values, which no set can do. */
static void exchange(Play *p, Played *x, Maker *m, int one, int other) {
    int value = x->rows[one], others = x->rows[other];
    change(p, x, m, one, ++p->next_value);
    change(p, x, m, other, value);
    change(p, x, m, one, others);
}

static void changes(Play *p, Played *x, Maker *m) {
    for (unsigned left = 1 + one_of(p, CHANGES_MOST); left > 0; left--) {
        int at = (int)one_of(p, IDS), other = (int)one_of(p, IDS);
        if (x->rows[at] == 0)
            change(p, x, m, at, value_for(p, x));
        else if (one_of(p, 15) == 0 && at != other && x->rows[other] != 0)
            exchange(p, x, m, at, other);
        else
            change(p, x, m, at, one_of(p, 5) == 0 ? 0 : value_for(p, x));
    }
}

static void shared_away(Play *p, Played *x, Maker *m) {
    for (int at = 0; at < IDS; at++)
        if (x->rows[at] == SHARED)
            change(p, x, m, at, ++p->next_value);
}

static void part_of(Play *p, Played *x, void (*fill)(Play *p, Played *x, Maker *m)) {
    Maker m = maker_new(64);
    fill(p, x, &m);
    uint32_t subxid = x->subxid == 0 ? x->stream.xid : x->subxid;
    m.transactions[0] = (Transaction){.xid = x->stream.xid,
                                      .subxid = subxid,
                                      .count = m.change_count,
                                      .changes = m.changes,
                                      .begins = true};
    m.transaction_count = 1;
    write_all(&x->stream, BATCH_PART, &m);
}

static void opened(Play *p, Played *x) {
    uint32_t xid = p->next_xid;
    p->next_xid += 100;
    *x = (Played){.stream = streamed(p->f, xid), .next_subxid = xid + 1};
    memcpy(x->rows, p->rows[x - p->open], sizeof x->rows);
}

static void whole(Play *p, const Played *x) {
    Maker m = maker_new(LOG_MOST);
    for (uint32_t at = 0; at < x->logged; at++)
        did_add(&m, p->rel, &x->log[at]);
    maker_commit(&m, x->stream.xid, p->end);
    if (!write_batch(p->f, &m))
        fail_test("write: %s", p->f->e.text);
}

static void committed(Play *p, Played *x) {
    p->end += 0x100;
    part_of(p, x, shared_away);
    Maker m = word(x->stream.xid, 0, p->end);
    write_all(&x->stream, BATCH_COMMIT, &m);
    if (ticket_outcome(x->stream.ticket) == TICKET_GIVEN_UP)
        whole(p, x);
    memcpy(p->rows[x - p->open], x->rows, sizeof x->rows);
    ticket_drop(x->stream.ticket);
    x->stream.ticket = NULL;
}

static void aborted(Played *x) {
    Maker m = word(x->stream.xid, 0, 0);
    write_all(&x->stream, BATCH_ABORT, &m);
    ticket_drop(x->stream.ticket);
    x->stream.ticket = NULL;
}

static void subtransaction(Play *p, Played *x) {
    if (x->subxid == 0) {
        x->subxid = x->next_subxid++;
        x->logged_saved = x->logged;
        memcpy(x->saved, x->rows, sizeof x->saved);
        return;
    }
    if (one_of(p, 2) == 0) {
        cut(&x->stream, x->subxid);
        x->logged = x->logged_saved;
        memcpy(x->rows, x->saved, sizeof x->rows);
    }
    x->subxid = 0;
}

static void another(Play *p) {
    Maker m = maker_new(2);
    Did did = {CHANGE_INSERT, WHOLE_ID + ++p->in_order, value_for(p, NULL)};
    did_add(&m, p->rel, &did);
    if (did.value == SHARED) {
        did = (Did){CHANGE_UPDATE, did.id, ++p->next_value};
        did_add(&m, p->rel, &did);
    }
    p->end += 0x100;
    maker_commit(&m, p->next_xid++, p->end);
    if (!write_batch(p->f, &m))
        fail_test("write: %s", p->f->e.text);
}

static void step(Play *p) {
    Played *x = &p->open[one_of(p, OPEN_MOST)];
    unsigned what = one_of(p, 24);
    if (x->stream.ticket == NULL)
        opened(p, x);
    if (what < 18 && x->logged + STEP_MOST + IDS <= LOG_MOST) /* room for shared_away, too */
        for (unsigned parts = 1 + one_of(p, PARTS_MOST); parts > 0; parts--) {
            if (what > 12)
                subtransaction(p, x);
            part_of(p, x, changes);
        }
    else if (what < 20)
        committed(p, x);
    else if (what < 21)
        aborted(x);
    else if (what < 23)
        another(p);
    else
        settled(p->f, true, 0);
}

static void assert_rows(const Play *p) {
    Writer expected = writer_new(1 << 16);
    const char *space = "";
    for (int at = 0; at < OPEN_MOST * IDS; at++) {
        int value = p->rows[at / IDS][at % IDS];
        if (value == 0)
            continue;
        writer_format(&expected, "%s%d=%d", space, at + 1, value);
        space = " ";
    }
    assert_value(p->f,
                 "SELECT coalesce(string_agg(id || '=' || v, ' ' ORDER BY id), '') FROM s.t WHERE id < 1000",
                 writer_string(&expected));
    writer_reset(&expected);
    writer_format(&expected, "%d", p->in_order);
    assert_value(p->f, "SELECT count(*) FROM s.t WHERE id > 1000", writer_string(&expected));
    writer_free(&expected);
}

static void any_play_leaves_the_sources_rows(void **state) {
    Fixture *f = *state;
    Play *p = memory_new(sizeof *p);
    *p = (Play){
        .f = f, .rel = begin(f), .seed = 20261122, .next_value = SHARED, .next_xid = 100, .end = 0x2000};
    run(f, "CREATE UNIQUE INDEX ON s.t (v)");
    for (int play = 0; play < PLAYS; play++) {
        start(f); /* a table whose set was refused is left to single changes for a while, in that session */
        for (int at = 0; at < STEPS; at++)
            step(p);
        for (int at = 0; at < OPEN_MOST; at++)
            if (p->open[at].stream.ticket != NULL)
                committed(p, &p->open[at]);
        settled(f, true, 0);
        assert_rows(p);
    }
    assert_value(f, OPEN, "0");
    print_message("applied early: %llu, given up: %llu\n",
                  (unsigned long long)atomic_load(&f->metrics->early),
                  (unsigned long long)atomic_load(&f->metrics->early_given_up));
    assert_true(atomic_load(&f->metrics->early) > 2 * PLAYS);
    free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(any_play_leaves_the_sources_rows),
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
        TEST(trap_A7b_one_under_way_is_waited_for_first),
        TEST(trap_A7b_at_the_commit),
        TEST(four_at_a_time_and_their_connections_serve_again),
        TEST(without_a_connection_everything_waits_for_its_turn),
        TEST(trap_A6_a_lost_connection_ends_the_session),
        TEST(trap_A6_an_open_one_holds_the_lock_of_the_job),
    };
    return cmocka_run_group_tests_name("live_early", tests, group_start, group_stop);
}
