#include "live_fixture.h"
#include "sink/postgres/apply_sink.h"

/* What the progress table says, oldest first: "0/0>0/1000 0/1000>0/2000". */
static const char PROGRESS[] =
    "SELECT string_agg(prev_lsn || '>' || lsn, ' ' ORDER BY prev_lsn) FROM walferry.progress";
static const char T_ROWS[] = "SELECT string_agg(id || '=' || coalesce(v, 'null'), ' ' ORDER BY id) FROM s.t";
static const char T[] = "CREATE TABLE s.t (id int PRIMARY KEY, v text)";

static Maker one_row(const Relation *rel, const char *row, uint64_t end) {
    Maker m = maker_new(1);
    maker_insert(&m, rel, row);
    maker_commit(&m, (uint32_t)end, end);
    return m;
}

/* ---- groups and progress ---- */

static void small_transactions_share_commits(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    for (uint32_t batch = 0; batch < 3; batch++) {
        Maker m = maker_new(100);
        for (uint32_t number = batch * 100; number < batch * 100 + 100; number++) {
            char row[20];
            snprintf(row, sizeof row, "%u|x", number);
            maker_insert(&m, t, row);
            maker_commit(&m, number, 0x2000 + number);
        }
        assert_true(write_batch(f, &m));
    }
    settled(f, true, 0);
    /* one, or a few where the machine is so slow that a group is closed for its age */
    assert_value(f, "SELECT count(*) || ' ' || (count(DISTINCT xmin::text) < 30) FROM s.t", "300 true");
    assert_value(f, "SELECT max(lsn) FROM walferry.progress", "0/212B");
    assert_int_equal(atomic_load(&f->metrics->transactions), 300);
    assert_int_equal(atomic_load(&f->metrics->changes), 300);
    assert_int_equal(atomic_load(&f->metrics->applied_lsn), 0x212B);
}

static void progress_is_a_chain_and_is_in_the_same_transaction(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    for (uint64_t number = 1; number <= 3; number++) {
        char row[20];
        snprintf(row, sizeof row, "%d|x", (int)number);
        Maker m = one_row(t, row, 0x1000 + number * 0x100);
        apply(f, &m);
    }
    assert_value(f, PROGRESS, "0/0>0/1000 0/1000>0/1100 0/1100>0/1200 0/1200>0/1300");
    assert_value(f, "SELECT count(*) FROM s.t JOIN walferry.progress p ON p.xmin = t.xmin", "3");
    assert_value(f, "SELECT extract(epoch FROM max(committed)) FROM walferry.progress", "1700000000.004864");
    start(f);
    assert_int_equal(f->at.applied.at, 0x1300);
    assert_int_equal(f->at.system_id, 77);
    assert_int_equal(f->at.timeline, 3);
}

static void nothing_is_visible_before_the_commit(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    assert_true(write_batch(f, &m));
    assert_value(f, "SELECT count(*) FROM s.t", "0");
    assert_value(f, PROGRESS, "0/0>0/1000");
    settled(f, true, 0);
    assert_value(f, "SELECT count(*) FROM s.t", "1");
}

static void what_was_applied_is_skipped(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(3);
    for (uint32_t number = 1; number <= 3; number++) {
        char row[20];
        snprintf(row, sizeof row, "%u|x", number);
        maker_insert(&m, t, row);
        maker_commit(&m, number, 0x0F00 + number * 0x80); /* F80, 1000, 1080: born at 1000 */
    }
    apply(f, &m);
    assert_value(f, T_ROWS, "3=x");
    Maker again = one_row(t, "3|x", 0x1080);
    apply(f, &again);
    assert_value(f, T_ROWS, "3=x");
}

static void empty_transactions_alone_move_the_progress_once_a_second(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Maker m = maker_new(2);
    maker_commit(&m, 1, 0x2000);
    maker_commit(&m, 2, 0x2001);
    assert_true(write_batch(f, &m));
    settled(f, true, 0);
    assert_value(f, PROGRESS, "0/0>0/1000");
    clock_sleep_ms(1010);
    settled(f, true, 0);
    assert_value(f, PROGRESS, "0/0>0/1000 0/1000>0/2001");
}

static void a_beat_is_committed_at_once_and_noted(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Maker m = maker_new(1);
    maker_beat(&m, 4711);
    maker_commit(&m, 1, 0x2000);
    Batch *b = maker_batch(&m);
    b->received_us = 5;
    b->decoded_us = 6;
    assert_true(sink_apply.write(f->sink, b, &f->e));
    batch_drop(b);
    settled(f, true, 0);
    assert_value(f, "SELECT beat FROM walferry.progress WHERE beat IS NOT NULL", "4711");
    assert_int_equal(f->metrics->beat.number, 4711);
    assert_int_equal(f->metrics->beat.received_us, 5);
    assert_int_equal(f->metrics->beat.decoded_us, 6);
    assert_true(f->metrics->beat.applied_us >= f->metrics->beat.queued_us && f->metrics->beat.queued_us > 0);
}

static void trap_B1_the_newest_thousand_progress_rows_stay(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    run(f, "INSERT INTO walferry.progress (job, prev_lsn, lsn) SELECT job, ('0/' || n)::pg_lsn, ('0/' || n + "
           "1)::pg_lsn"
           " FROM generate_series(100, 600) n, (VALUES ('shop'), ('other')) j (job)");
    for (uint64_t number = 1; number <= 1000; number++) {
        Maker m = maker_new(1);
        maker_beat(&m, (int64_t)number); /* not empty enough to wait */
        maker_commit(&m, (uint32_t)number, POINT + number);
        apply(f, &m);
    }
    assert_value(f, "SELECT count(*) || ' ' || min(prev_lsn) FROM walferry.progress WHERE job = 'shop'",
                 "1001 0/600");
    assert_value(f, "SELECT count(*) FROM walferry.progress WHERE job = 'other'", "501");
}

/* ---- conflicts (trap A6) ---- */

static void trap_A6_a_conflict_stops_exactly_before_its_transaction(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(10);
    maker_insert(&m, t, "1|a");
    maker_commit(&m, 11, 0x2000);
    maker_insert(&m, t, "2|b");
    maker_update(&m, t, NULL, "1|changed");
    maker_commit(&m, 12, 0x2100);
    maker_insert(&m, t, "3|c");
    maker_insert(&m, t, "2|again");
    maker_commit(&m, 13, 0x2200);
    maker_insert(&m, t, "4|d");
    maker_commit(&m, 14, 0x2300);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "insert into \"s.t\" (id=2) in transaction 13 ending at 0/2200");
    assert_said(f, ERR_DATA, "duplicate key");
    assert_string_equal(f->e.sqlstate, "23505");
    assert_value(f, T_ROWS, "1=changed 2=b");
    assert_value(f, PROGRESS, "0/0>0/1000 0/1000>0/2000 0/2000>0/2100");
    run(f, "DELETE FROM s.t WHERE id = 2"); /* somebody mends it: the next session goes on */
    start(f);
    assert_int_equal(f->at.applied.at, 0x2100);
    Maker rest = maker_new(3);
    maker_insert(&rest, t, "3|c");
    maker_insert(&rest, t, "2|again");
    maker_commit(&rest, 13, 0x2200);
    apply(f, &rest);
    assert_value(f, T_ROWS, "1=changed 2=again 3=c");
}

static void a_conflict_among_several_batches_spares_those_before_it(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    static const char *const rows[] = {"1|a", "2|b", "1|again", "3|c"};
    uint64_t durable;
    bool ok = true;
    for (uint64_t number = 0; number < 4; number++) {
        Maker m = one_row(t, rows[number], 0x2000 + number);
        ok = ok && write_batch(f, &m);
        if (!ok)
            break;
    }
    assert_false(ok && try_settle(f, true, 0, &durable));
    assert_said(f, ERR_DATA, "ending at 0/2002");
    assert_value(f, T_ROWS, "1=a 2=b");
}

static void trap_A6_an_update_without_its_row_is_not_committed(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(2);
    maker_insert(&m, t, "1|a");
    maker_update(&m, t, NULL, "9|b");
    maker_commit(&m, 5, 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA,
                "update of \"s.t\" (id=9) in transaction 5 ending at 0/2000: no such row at the target");
    assert_true(f->e.hint[0] != '\0');
    assert_value(f, "SELECT count(*) FROM s.t", "0");
    assert_value(f, PROGRESS, "0/0>0/1000");
}

static void trap_A6_a_delete_without_its_row_is_not_committed(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(2);
    maker_insert(&m, t, "1|a");
    maker_delete(&m, t, "9|-");
    maker_commit(&m, 5, 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA,
                "delete from \"s.t\" (id=9) in transaction 5 ending at 0/2000: no such row at the target");
    assert_value(f, "SELECT count(*) FROM s.t", "0");
    assert_value(f, PROGRESS, "0/0>0/1000");
}

static void an_update_that_hits_two_rows_is_not_committed(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int, v text); INSERT INTO s.t VALUES (1, 'a'), (1, 'b')", "t");
    Maker m = maker_new(1);
    maker_update(&m, relation(f, "t", 'd', "id*,v"), NULL, "1|c");
    maker_commit(&m, 5, 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "2 rows at the target instead of one");
    assert_value(f, "SELECT string_agg(v, '' ORDER BY v) FROM s.t", "ab");
}

static void a_row_that_a_trigger_swallows_is_told(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int PRIMARY KEY, v text);"
               "CREATE FUNCTION s.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
               "CREATE TRIGGER no BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.no();"
               "ALTER TABLE s.t ENABLE ALWAYS TRIGGER no",
               "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "did not take the row");
}

static void ordinary_triggers_and_foreign_keys_are_not_fired(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.p (id int PRIMARY KEY);"
               "CREATE TABLE s.t (id int PRIMARY KEY, v text, p int REFERENCES s.p);"
               "CREATE FUNCTION s.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
               "CREATE TRIGGER no BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.no()",
               "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v,p"), "1|x|99", 0x2000);
    apply(f, &m);
    assert_value(f, T_ROWS, "1=x");
}

static void a_long_key_never_hides_the_place(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (a text, b text, c text, d text, e text, PRIMARY KEY (a, b, c, d, e))",
               "t");
    char row[700];
    memset(row, 'k', sizeof row);
    for (int column = 1; column < 5; column++)
        row[column * 130] = '|';
    row[sizeof row - 1] = '\0';
    Maker m = maker_new(1);
    maker_delete(&m, relation(f, "t", 'd', "a*,b*,c*,d*,e*"), row);
    maker_commit(&m, 5, 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "delete from \"s.t\" (a=kkkk");
    assert_said(f, ERR_DATA, ") in transaction 5 ending at 0/2000: no such row at the target");
}

/* ---- other writers ---- */

static void trap_A6_a_second_writer_is_fenced_by_the_progress(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int, v text)", "t"); /* no key: twice would go unnoticed */
    run(f, "BEGIN; INSERT INTO s.t VALUES (1, 'x'); INSERT INTO walferry.progress (job, prev_lsn, lsn)"
           " VALUES ('shop', '0/1000', '0/2000'); COMMIT");
    Maker m = one_row(relation(f, "t", 'f', "id,v"), "1|x", 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_RETRY, "another instance has moved this job's progress");
    assert_value(f, T_ROWS, "1=x");
    start(f);
    assert_int_equal(f->at.applied.at, 0x2000);
    Maker again = one_row(relation(f, "t", 'f', "id,v"), "1|x", 0x2000);
    apply(f, &again);
    assert_value(f, T_ROWS, "1=x");
}

static void a_takeover_ends_the_old_session_before_it_reads(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int, v text)", "t");
    Relation *t = relation(f, "t", 'f', "id,v");
    Sink *old = f->sink;
    Maker m = one_row(t, "1|x", 0x2000);
    assert_true(write_batch(f, &m)); /* sent, not committed */
    f->sink = NULL;
    start(f);
    assert_int_equal(f->at.applied.at, POINT);
    Maker again = one_row(t, "1|x", 0x2000);
    apply(f, &again);
    Lsn durable;
    assert_false(sink_apply.settle(old, true, 0, &durable, &f->e));
    assert_int_equal(f->e.kind, ERR_RETRY);
    assert_true(f->e.connection);
    sink_apply.close(old);
    assert_value(f, T_ROWS, "1=x");
}

static void a_lost_record_is_lost(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    run(f, "DELETE FROM walferry.job");
    assert_false(try_start(f));
    assert_said(f, ERR_LOST, "the record of job \"shop\" is gone");
}

static void a_lost_connection_passes_by_itself(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = one_row(t, "1|x", 0x2000);
    assert_true(write_batch(f, &m));
    run(f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walferry_shop'");
    uint64_t durable;
    assert_false(try_settle(f, true, 0, &durable));
    assert_int_equal(f->e.kind, ERR_RETRY);
    assert_true(f->e.connection);
    start(f);
    Maker again = one_row(t, "1|x", 0x2000);
    apply(f, &again);
    assert_value(f, T_ROWS, "1=x");
}

/* ---- large transactions ---- */

static bool give_piece(Fixture *f, const Relation *t, int number, bool begins, bool ends) {
    Maker m = maker_new(3);
    char row[20];
    snprintf(row, sizeof row, "%d|x", number);
    maker_insert(&m, t, row);
    maker_piece(&m, 9, 0x3000, begins, ends);
    return write_batch(f, &m);
}

static void a_large_transaction_is_invisible_until_its_last_piece(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker before = one_row(t, "1|a", 0x2000);
    assert_true(write_batch(f, &before));
    for (int number = 10; number < 15; number++) {
        assert_true(give_piece(f, t, number, number == 10, number == 14));
        settled(f, true, 10);
        assert_value(f, T_ROWS, number < 14 ? "1=a" : "1=a 10=x 11=x 12=x 13=x 14=x");
    }
    assert_value(f, PROGRESS, "0/0>0/1000 0/1000>0/2000 0/2000>0/3000");
    assert_int_equal(settled(f, true, 10), 0x3000);
}

static void a_large_transaction_that_is_cut_off_was_never_there(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    assert_true(give_piece(f, t, 10, true, false));
    assert_true(give_piece(f, t, 11, false, false));
    settled(f, true, 10);
    start(f); /* closes the one before */
    assert_int_equal(f->at.applied.at, POINT);
    assert_value(f, "SELECT count(*) FROM s.t", "0");
    assert_true(give_piece(f, t, 10, true, false));
    assert_true(give_piece(f, t, 11, false, true));
    settled(f, true, 0);
    assert_value(f, T_ROWS, "10=x 11=x");
}

static void a_conflict_in_a_late_piece_leaves_nothing_of_it(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker before = one_row(t, "1|a", 0x2000);
    assert_true(write_batch(f, &before));
    assert_true(give_piece(f, t, 10, true, false));
    assert_false(give_piece(f, t, 1, false, true));
    assert_said(f, ERR_DATA, "insert into \"s.t\" (id=1) in transaction 9 ending at 0/3000");
    assert_value(f, T_ROWS, "1=a");
}

/* COPY's answer is read when the next one begins. */
static void only_the_table_that_was_refused_is_left_alone(void **state) {
    Fixture *f = *state;
    enum { ROWS = 120 };
    f->cfg.target.gear = GEAR_CHOICE_CATCH_UP;
    for (int refused = 0; refused < 2; refused++) {
        run(f, "DROP SCHEMA IF EXISTS s CASCADE; DROP SCHEMA IF EXISTS walferry CASCADE; CREATE SCHEMA s");
        start_with(
            f, "CREATE TABLE s.t (id int PRIMARY KEY, v text); CREATE TABLE s.u (id int PRIMARY KEY, v text)",
            "t,u");
        Relation *rels[] = {relation(f, "t", 'd', "id*,v"), relation(f, "u", 'd', "id*,v")};
        run(f,
            refused == 0 ? "INSERT INTO s.t VALUES (7, 'theirs')" : "INSERT INTO s.u VALUES (7, 'theirs')");
        Maker known = maker_new(2), m = maker_new(2 * ROWS);
        maker_insert(&known, rels[0], "1000|x");
        maker_insert(&known, rels[1], "1000|x");
        maker_commit(&known, 8, 0x2000);
        apply(f, &known);
        for (int number = 0; number < 2 * ROWS; number++) {
            char row[20];
            snprintf(row, sizeof row, "%d|x", number % ROWS);
            maker_insert(&m, rels[number / ROWS], row);
        }
        maker_piece(&m, 9, 0x3000, true, true);
        apply_refused(f, &m);
        assert_said(f, ERR_DATA, "(id=7)");
        for (int table = 0; table < 2; table++)
            assert_int_equal(f->sink->session.plans[rels[table]->number]->alone > 0, table == refused);
    }
}

static void pieces_and_small_transactions_may_share_batches(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker first = maker_new(4), second = maker_new(4);
    maker_insert(&first, t, "1|a");
    maker_commit(&first, 1, 0x2000);
    maker_insert(&first, t, "2|b");
    maker_piece(&first, 2, 0x2100, true, false);
    maker_insert(&second, t, "3|c");
    maker_piece(&second, 2, 0x2100, false, true);
    maker_insert(&second, t, "4|d");
    maker_commit(&second, 3, 0x2200);
    maker_insert(&second, t, "4|again");
    maker_commit(&second, 4, 0x2300);
    assert_true(write_batch(f, &first));
    apply_refused(f, &second);
    assert_said(f, ERR_DATA, "ending at 0/2300");
    assert_value(f, T_ROWS, "1=a 2=b 3=c 4=d");
    assert_value(f, PROGRESS, "0/0>0/1000 0/1000>0/2000 0/2000>0/2100 0/2100>0/2200");
}

static void thousands_of_statements_go_through_the_pipeline(void **state) {
    Fixture *f = *state;
    enum { MANY = 30000 };
    start_with(f, T, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(2 * MANY);
    for (int number = 0; number < MANY; number++) {
        char row[20];
        snprintf(row, sizeof row, "%d|x", number);
        maker_insert(&m, t, row);
        maker_update(&m, t, NULL, row);
    }
    maker_commit(&m, 1, 0x2000);
    apply(f, &m);
    assert_value(f, "SELECT count(*) FROM s.t", "30000");
}

/* ---- durable ---- */

static const char FLUSHED_BEHIND[] = "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()";

static void only_what_is_flushed_there_is_durable(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    apply(f, &m);
    assert_value(f, T_ROWS, "1=x");
    assert_int_equal(settled(f, true, 0), POINT);
    assert_value(f, FLUSHED_BEHIND, "f");
    run(f, "CREATE TABLE s.other ()"); /* a commit that waits takes all before it with it */
    clock_sleep_ms(51);
    assert_int_equal(settled(f, false, 0), 0x2000);
}

static void a_settle_that_may_wait_makes_it_durable(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    assert_true(write_batch(f, &m));
    assert_int_equal(settled(f, true, 1000), 0x2000);
    assert_value(f, FLUSHED_BEHIND, "t");
}

/* "flushed up to here", of what is written now: the server itself may write a little at any time. */
static void ask_whether_flushed(Fixture *f, char sql[120]) {
    char written[40];
    assert_true(
        pg_value(f->eye, "SELECT pg_current_wal_insert_lsn()", 0, NULL, written, sizeof written, &f->e));
    snprintf(sql, 120, "SELECT pg_current_wal_flush_lsn() >= '%s'", written);
}

static void a_destination_where_nobody_else_writes_is_made_to_flush(void **state) {
    Fixture *f = *state;
    char sql[120];
    start_with(f, T, "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    apply(f, &m);
    ask_whether_flushed(f, sql);
    int64_t began_ms = clock_ms();
    while (settled(f, true, 0) != 0x2000) {
        assert_value(f, sql, "f");
        clock_sleep_ms(20);
        assert_true(clock_ms() - began_ms < 5000);
    }
    assert_value(f, sql, "t");
}

/* The progress of a process that was killed a moment ago is there, but a power cut would take it back. */
static void a_start_makes_durable_what_it_finds(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    apply(f, &m);
    char sql[120];
    ask_whether_flushed(f, sql);
    assert_value(f, sql, "f");
    start(f);
    assert_int_equal(f->at.applied.at, 0x2000);
    assert_value(f, sql, "t");
    assert_int_equal(settled(f, true, 0), 0x2000);
}

static void a_promise_is_in_the_bound_and_durable(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    assert_true(write_batch(f, &m));
    assert_true(sink_apply.promise(f->sink, (Lsn){0x9000}, &f->e));
    assert_value(f, FLUSHED_BEHIND, "t");
    assert_value(f, "SELECT bound FROM walferry.job", "0/9000");
    assert_value(f, PROGRESS, "0/0>0/1000 0/1000>0/2000");
    Maker next = one_row(relation(f, "t", 'd', "id*,v"), "2|x", 0x3000);
    apply(f, &next);
    start(f);
    assert_int_equal(f->at.applied.at, 0x3000);
    assert_int_equal(f->at.bound.at, 0x9000);
}

static void a_look_from_outside_takes_no_lock(void **state) {
    Fixture *f = *state;
    start_with(f, T, "t");
    SinkOptions options = {.cfg = &f->cfg, .metrics = f->metrics};
    Position seen;
    Sink *second = sink_apply.open(&options, &f->e);
    assert_true(sink_apply.peek(second, &seen, &f->e));
    assert_int_equal(seen.applied.at, POINT);
    sink_apply.close(second);
    Maker m = one_row(relation(f, "t", 'd', "id*,v"), "1|x", 0x2000);
    apply(f, &m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(small_transactions_share_commits),
        TEST(progress_is_a_chain_and_is_in_the_same_transaction),
        TEST(nothing_is_visible_before_the_commit),
        TEST(what_was_applied_is_skipped),
        TEST(empty_transactions_alone_move_the_progress_once_a_second),
        TEST(a_beat_is_committed_at_once_and_noted),
        TEST(trap_B1_the_newest_thousand_progress_rows_stay),
        TEST(trap_A6_a_conflict_stops_exactly_before_its_transaction),
        TEST(a_conflict_among_several_batches_spares_those_before_it),
        TEST(trap_A6_an_update_without_its_row_is_not_committed),
        TEST(trap_A6_a_delete_without_its_row_is_not_committed),
        TEST(an_update_that_hits_two_rows_is_not_committed),
        TEST(a_row_that_a_trigger_swallows_is_told),
        TEST(ordinary_triggers_and_foreign_keys_are_not_fired),
        TEST(a_long_key_never_hides_the_place),
        TEST(trap_A6_a_second_writer_is_fenced_by_the_progress),
        TEST(a_takeover_ends_the_old_session_before_it_reads),
        TEST(a_lost_record_is_lost),
        TEST(a_lost_connection_passes_by_itself),
        TEST(a_large_transaction_is_invisible_until_its_last_piece),
        TEST(a_large_transaction_that_is_cut_off_was_never_there),
        TEST(a_conflict_in_a_late_piece_leaves_nothing_of_it),
        TEST(only_the_table_that_was_refused_is_left_alone),
        TEST(pieces_and_small_transactions_may_share_batches),
        TEST(thousands_of_statements_go_through_the_pipeline),
        TEST(only_what_is_flushed_there_is_durable),
        TEST(a_settle_that_may_wait_makes_it_durable),
        TEST(a_destination_where_nobody_else_writes_is_made_to_flush),
        TEST(a_start_makes_durable_what_it_finds),
        TEST(a_promise_is_in_the_bound_and_durable),
        TEST(a_look_from_outside_takes_no_lock),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
