/* Prepared transactions on a real server: what a kill between two of its commits leaves is put there by hand. */
#include "live_fixture.h"
#include "sink/postgres/apply_prepared.h"

static const char APPLIED[] = "SELECT max(lsn) FROM walferry.progress";
static const char T_ROWS[] = "SELECT coalesce(string_agg(id || '=' || v, ' ' ORDER BY id), '') FROM s.t";
static const char NAMES[] =
    "SELECT coalesce(string_agg(gid, ' ' ORDER BY gid COLLATE \"C\"), '') FROM pg_prepared_xacts";
static const char NOTED[] =
    "SELECT coalesce(string_agg(xid || ':' || lsn, ' ' ORDER BY xid), '') FROM walferry.prepared";

static int prepared_make_fixture(void **state) {
    if (live_make(state) != 0)
        return -1;
    Fixture *f = *state;
    f->cfg.source.two_phase = true;
    return 0;
}

/* Whatever a test has left prepared would be in the way of the next one. */
static int prepared_free_fixture(void **state) {
    Fixture *f = *state;
    Error e;
    PGresult *names = pg_query(f->eye, "SELECT gid FROM pg_prepared_xacts", 0, NULL, &e);
    for (int row = 0; row < PQntuples(names); row++)
        if (!prepared_roll_back(f->eye, pg_cell(names, row, 0), &e))
            return -1;
    PQclear(names);
    return live_free_fixture(state);
}

static Relation *begin(Fixture *f) {
    start_with(f, "CREATE TABLE s.t (id int PRIMARY KEY, v text)", "t");
    return relation(f, "t", 'd', "id*,v");
}

static void prepare(Fixture *f, const Relation *rel, const char *row, uint32_t xid, uint64_t end) {
    Maker m = maker_new(1);
    maker_insert(&m, rel, row);
    maker_commit(&m, xid, end);
    maker_ending(&m, TRANSACTION_PREPARES);
    apply(f, &m);
}

static Maker decision(TransactionEnd ending, uint32_t xid, uint64_t end) {
    Maker m = maker_new(1);
    maker_commit(&m, xid, end);
    maker_ending(&m, ending);
    return m;
}

static void decide(Fixture *f, TransactionEnd ending, uint32_t xid, uint64_t end) {
    Maker m = decision(ending, xid, end);
    apply(f, &m);
}

static void decide_refused(Fixture *f, TransactionEnd ending, uint32_t xid, uint64_t end, const char *says) {
    Maker m = decision(ending, xid, end);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, says);
    assert_non_null(strstr(f->e.hint, "both sides differ"));
}

static void trap_A8_prepared_noted_and_decided(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    prepare(f, t, "1|kept", 7, 0x2000);
    prepare(f, t, "2|away", 8, 0x2100);
    assert_value(f, NAMES, "walferry_shop_7_0/2000 walferry_shop_8_0/2100");
    assert_value(f, NOTED, "7:0/2000 8:0/2100");
    assert_value(f, T_ROWS, "");
    assert_value(f, APPLIED, "0/2100");
    start(f); /* what is prepared and in the progress stays */
    decide(f, TRANSACTION_COMMITS_PREPARED, 7, 0x2200);
    decide(f, TRANSACTION_ROLLS_BACK_PREPARED, 8, 0x2300);
    assert_value(f, NAMES, "");
    assert_value(f, NOTED, "");
    assert_value(f, T_ROWS, "1=kept");
    assert_value(f, APPLIED, "0/2300");
}

static void what_is_beyond_the_progress_is_rolled_back_and_nothing_else(void **state) {
    Fixture *f = *state;
    begin(f);
    run(f, "BEGIN; INSERT INTO s.t VALUES (1, 'x'); PREPARE TRANSACTION 'walferry_shop_7_0/2000'");
    run(f, "BEGIN; PREPARE TRANSACTION 'walferry_shop_1_7_0/2000'");
    run(f, "BEGIN; PREPARE TRANSACTION 'walferry_shop_7_0/02000'");
    run(f, "BEGIN; PREPARE TRANSACTION 'walferry_shop_8_0/1000'"); /* where the progress is */
    start(f);
    assert_value(f, NAMES, "walferry_shop_1_7_0/2000 walferry_shop_7_0/02000 walferry_shop_8_0/1000");
    assert_value(f, T_ROWS, "");
}

static void finished_before_a_kill_is_done(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    prepare(f, t, "1|kept", 7, 0x2000);
    prepare(f, t, "2|away", 8, 0x2100);
    run(f, "COMMIT PREPARED 'walferry_shop_7_0/2000'");
    run(f, "ROLLBACK PREPARED 'walferry_shop_8_0/2100'");
    start(f);
    Maker between = maker_new(1); /* what else comes first is no matter */
    maker_insert(&between, t, "3|between");
    maker_commit(&between, 9, 0x2180);
    apply(f, &between);
    decide(f, TRANSACTION_ROLLS_BACK_PREPARED, 8, 0x2200);
    decide(f, TRANSACTION_COMMITS_PREPARED, 7, 0x2300);
    assert_value(f, T_ROWS, "1=kept 3=between");
    assert_value(f, NOTED, "");
    assert_value(f, APPLIED, "0/2300");
}

static void finished_otherwise_is_refused_again_and_again(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    prepare(f, t, "1|one", 7, 0x2000);
    prepare(f, t, "2|two", 8, 0x2100);
    run(f, "ROLLBACK PREPARED 'walferry_shop_7_0/2000'");
    run(f, "COMMIT PREPARED 'walferry_shop_8_0/2100'");
    for (int time = 0; time < 2; time++) {
        decide_refused(
            f, TRANSACTION_COMMITS_PREPARED, 7, 0x2200,
            "transaction 7 of the source is committed there; at the target, where it was prepared, "
            "somebody rolled it back");
        start(f);
        decide_refused(
            f, TRANSACTION_ROLLS_BACK_PREPARED, 8, 0x2300,
            "transaction 8 of the source is rolled back there; at the target, where it was prepared, "
            "somebody committed it");
        start(f);
    }
    assert_value(f, NOTED, "7:0/2000 8:0/2100");
    assert_value(f, APPLIED, "0/2100");
}

static void an_outcome_that_nobody_remembers_is_refused(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    prepare(f, t, "1|one", 7, 0x2000);
    run(f, "COMMIT PREPARED 'walferry_shop_7_0/2000'");
    run(f,
        "ALTER TABLE walferry.prepared ALTER here DROP NOT NULL; UPDATE walferry.prepared SET here = NULL");
    decide_refused(f, TRANSACTION_COMMITS_PREPARED, 7, 0x2200, "finished it, nobody knows how");
}

static void an_outcome_without_a_prepare_moves_the_progress(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    prepare(f, t, "1|kept", 7, 0x2000);
    decide(f, TRANSACTION_COMMITS_PREPARED, 8, 0x2100);
    decide(f, TRANSACTION_ROLLS_BACK_PREPARED, 9, 0x2200);
    assert_value(f, APPLIED, "0/2200");
    assert_value(f, NAMES, "walferry_shop_7_0/2000");
}

/* The trigger refuses two rows in one transaction: only the group is refused. */
static void a_group_that_is_done_again_singly_prepares_what_is_to_be_prepared(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    run(f, "CREATE FUNCTION s.lonely() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
           " IF (SELECT count(*) FROM s.t WHERE xmin = pg_current_xact_id()::xid) > 1 THEN RAISE 'not alone';"
           " END IF; RETURN NULL; END $$;"
           " CREATE CONSTRAINT TRIGGER lonely AFTER INSERT ON s.t DEFERRABLE INITIALLY DEFERRED"
           " FOR EACH ROW EXECUTE FUNCTION s.lonely(); ALTER TABLE s.t ENABLE ALWAYS TRIGGER lonely");
    Maker m = maker_new(4);
    for (uint32_t number = 1; number <= 3; number++) {
        char row[20];
        snprintf(row, sizeof row, "%u|x", number);
        maker_insert(&m, t, row);
        maker_commit(&m, number, 0x2000 + 0x100 * number);
    }
    maker_ending(&m, TRANSACTION_PREPARES);
    maker_commit(&m, 3, 0x2400);
    maker_ending(&m, TRANSACTION_ROLLS_BACK_PREPARED);
    apply(f, &m);
    assert_value(f, T_ROWS, "1=x 2=x");
    assert_value(f, NAMES, "");
    assert_value(f, APPLIED, "0/2400");
}

static void a_large_one_comes_in_pieces(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    for (int piece = 0; piece < 3; piece++) {
        Maker m = maker_new(1);
        maker_insert(&m, t, (const char *[]){"1|a", "2|b", "3|c"}[piece]);
        maker_piece(&m, 7, 0x2000, piece == 0, piece == 2);
        maker_ending(&m, TRANSACTION_PREPARES);
        assert_true(write_batch(f, &m));
        assert_value(f, NAMES, piece == 2 ? "walferry_shop_7_0/2000" : "");
    }
    settled(f, true, 0);
    decide(f, TRANSACTION_COMMITS_PREPARED, 7, 0x2100);
    assert_value(f, T_ROWS, "1=a 2=b 3=c");
}

static void no_place_left_is_a_sentence_with_a_hint(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    run(f, "BEGIN; PREPARE TRANSACTION 'a'");
    run(f, "BEGIN; PREPARE TRANSACTION 'b'");
    run(f, "BEGIN; PREPARE TRANSACTION 'c'");
    run(f, "BEGIN; PREPARE TRANSACTION 'd'");
    Maker m = maker_new(1);
    maker_insert(&m, t, "1|x");
    maker_commit(&m, 7, 0x2000);
    maker_ending(&m, TRANSACTION_PREPARES);
    apply_refused(f, &m);
    assert_said(f, ERR_RETRY, "maximum number of prepared transactions");
    assert_non_null(strstr(f->e.hint, "max_prepared_transactions at the target"));
    assert_value(f, APPLIED, "0/1000");
}

static void a_row_that_is_refused_prepares_nothing(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    run(f, "INSERT INTO s.t VALUES (1, 'there')");
    Maker m = maker_new(1);
    maker_insert(&m, t, "1|x");
    maker_commit(&m, 7, 0x2000);
    maker_ending(&m, TRANSACTION_PREPARES);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "transaction 7 ending at 0/2000");
    start(f);
    assert_value(f, NAMES, "");
    assert_value(f, NOTED, "");
}

/* Trap A2: no snapshot has seen what is prepared only now, wherever its PREPARE lies. */
static void a_prepared_transaction_is_due_in_every_table(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.t (id int PRIMARY KEY, v text)");
    born(f, "t");
    loaded(f, "t", 0x5000);
    start(f);
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(1);
    maker_insert(&m, t, "1|of the snapshot");
    maker_commit(&m, 6, 0x1F00);
    apply(f, &m);
    prepare(f, t, "2|prepared", 7, 0x2000);
    decide(f, TRANSACTION_COMMITS_PREPARED, 7, 0x6000);
    assert_value(f, T_ROWS, "2=prepared");
}

/* Of rows that are alike, one that the prepared transaction does not hold: else this would never end. */
static void trap_A7_rows_alike_do_not_wait_for_a_prepared_one(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int, v text); CREATE TABLE s.p (id int, v text) PARTITION BY LIST (id);"
               " CREATE TABLE s.p5 PARTITION OF s.p FOR VALUES IN (5);"
               " INSERT INTO s.t SELECT 5, 'x' FROM generate_series(1, 3); INSERT INTO s.p TABLE s.t",
               "t,p");
    for (int table = 0; table < 2; table++) {
        Relation *rel = relation(f, table == 0 ? "t" : "p", 'f', "id*,v*");
        Maker held = maker_new(1), other = maker_new(2);
        maker_delete(&held, rel, "5|x");
        maker_commit(&held, 7, 0x2000 + 0x1000 * (uint64_t)table);
        maker_ending(&held, TRANSACTION_PREPARES);
        apply(f, &held);
        maker_delete(&other, rel, "5|x");
        maker_update(&other, rel, "5|x", "5|y");
        maker_commit(&other, 8, 0x2100 + 0x1000 * (uint64_t)table);
        apply(f, &other);
        decide(f, TRANSACTION_COMMITS_PREPARED, 7, 0x2200 + 0x1000 * (uint64_t)table);
        assert_value(f, table == 0 ? T_ROWS : "SELECT string_agg(id || '=' || v, ' ') FROM s.p", "5=y");
    }
}

/* The slot keeps the position for ever: the target must not fall back behind it. */
static void what_is_said_to_the_server_is_on_the_disk(void **state) {
    Fixture *f = *state;
    Relation *t = begin(f);
    Maker m = maker_new(1);
    maker_insert(&m, t, "1|x");
    maker_commit(&m, 7, 0x2000);
    apply(f, &m);
    char inserted[30], flushed[100];
    assert_true(
        pg_value(f->eye, "SELECT pg_current_wal_insert_lsn()", 0, NULL, inserted, sizeof inserted, &f->e));
    snprintf(flushed, sizeof flushed, "SELECT pg_current_wal_flush_lsn() >= '%s'", inserted);
    assert_value(f, flushed, "f");
    SinkOptions options = {.cfg = &f->cfg, .metrics = f->metrics};
    Sink *second = sink_apply.open(&options, &f->e);
    Position at;
    assert_non_null(second);
    assert_true(sink_apply.peek(second, &at, &f->e));
    sink_apply.close(second);
    assert_int_equal(at.applied.at, 0x2000);
    assert_value(f, flushed, "t");
}

static void names_of_others_are_not_ours(void **state) {
    (void)state;
    static const struct {
        const char *name, *job;
        bool ours;
    } cases[] = {
        {"walferry_shop_7_0/2000", "shop", true},
        {"walferry_shop_4294967295_FFFFFFFF/FFFFFFFF", "shop", true},
        {"walferry_shop_1_7_0/2000", "shop_1", true},
        {"walferry_shop_1_7_0/2000", "shop", false},
        {"walferry_shop_7_0/2000", "shop_7", false},
        {"walferry_shop_7_0/2000", "sho", false},
        {"walferry_shop_7_0/2000", "shop_", false},
        {"walferry_shop_7_0/2000 ", "shop", false},
        {" walferry_shop_7_0/2000", "shop", false},
        {"Walferry_shop_7_0/2000", "shop", false},
        {"walferry_Shop_7_0/2000", "shop", false},
        {"walferry_shop_07_0/2000", "shop", false},
        {"walferry_shop_+7_0/2000", "shop", false},
        {"walferry_shop_-7_0/2000", "shop", false},
        {"walferry_shop_ 7_0/2000", "shop", false},
        {"walferry_shop_4294967296_0/2000", "shop", false},
        {"walferry_shop_99999999999999999999999_0/2000", "shop", false},
        {"walferry_shop_7_0/02000", "shop", false},
        {"walferry_shop_7_0/2a", "shop", false},
        {"walferry_shop_7_0/2000_", "shop", false},
        {"walferry_shop_7_0/", "shop", false},
        {"walferry_shop_7_/2000", "shop", false},
        {"walferry_shop_7_100000000/0", "shop", false},
        {"walferry_shop_7_", "shop", false},
        {"walferry_shop_7", "shop", false},
        {"walferry_shop_", "shop", false},
        {"walferry_shop__0/2000", "shop", false},
        {"walferry_", "shop", false},
        {"_0/2000", "shop", false},
        {"0/2000", "shop", false},
        {"_", "shop", false},
        {"", "shop", false},
        {"walferry_sh%_7_0/2000", "shop", false},
        {"walferry_s'; DROP TABLE t; --_7_0/2000", "shop", false},
    };
    for (size_t number = 0; number < sizeof cases / sizeof cases[0]; number++) {
        uint32_t xid = 0;
        Lsn end = LSN_NONE;
        if (prepared_parse(cases[number].name, cases[number].job, &xid, &end) != cases[number].ours)
            fail_test("\"%s\" of job \"%s\"", cases[number].name, cases[number].job);
    }
    uint32_t xid;
    Lsn end;
    assert_true(prepared_parse("walferry_a_b_4294967295_1A/2B", "a_b", &xid, &end));
    assert_true(xid == UINT32_MAX && end.at == UINT64_C(0x1A0000002B));
}

#define PREPARED_TEST(name)                                                                                  \
    cmocka_unit_test_setup_teardown(name, prepared_make_fixture, prepared_free_fixture)

int main(void) {
    const struct CMUnitTest tests[] = {
        PREPARED_TEST(trap_A8_prepared_noted_and_decided),
        PREPARED_TEST(what_is_beyond_the_progress_is_rolled_back_and_nothing_else),
        PREPARED_TEST(finished_before_a_kill_is_done),
        PREPARED_TEST(finished_otherwise_is_refused_again_and_again),
        PREPARED_TEST(an_outcome_that_nobody_remembers_is_refused),
        PREPARED_TEST(an_outcome_without_a_prepare_moves_the_progress),
        PREPARED_TEST(a_group_that_is_done_again_singly_prepares_what_is_to_be_prepared),
        PREPARED_TEST(a_large_one_comes_in_pieces),
        PREPARED_TEST(no_place_left_is_a_sentence_with_a_hint),
        PREPARED_TEST(a_row_that_is_refused_prepares_nothing),
        PREPARED_TEST(a_prepared_transaction_is_due_in_every_table),
        PREPARED_TEST(trap_A7_rows_alike_do_not_wait_for_a_prepared_one),
        PREPARED_TEST(what_is_said_to_the_server_is_on_the_disk),
        cmocka_unit_test(names_of_others_are_not_ours),
    };
    return cmocka_run_group_tests_name("live_prepared", tests, group_start, group_stop);
}
