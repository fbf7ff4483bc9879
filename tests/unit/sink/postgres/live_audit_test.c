#include "core/audit.h"
#include "live_fixture.h"

static const char TABLE[] = "CREATE TABLE s.t (id int PRIMARY KEY, v text)";
static const char BROKEN[] = "SELECT broken FROM walferry.audit_position";

static void inserted(Fixture *f, Relation *t, int id, uint64_t end) {
    char row[20];
    Maker m = maker_new(1);
    snprintf(row, sizeof row, "%d|x", id);
    maker_insert(&m, t, row);
    maker_commit(&m, 1, end);
    apply(f, &m);
}

/* Written when a session begins. */
static void assert_sums(Fixture *f, const char *counts) {
    assert_value(f, "SELECT received[1:4]::text || applied[1:4]::text FROM walferry.audit", counts);
    assert_value(f, "SELECT received = applied FROM walferry.audit", "t");
}

static void the_sums_go_on_from_session_to_session(void **state) {
    Fixture *f = *state;
    start_with(f, TABLE, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    inserted(f, t, 1, 0x2000);
    inserted(f, t, 2, 0x3000);
    start(f);
    assert_sums(f, "{2,0,0,0}{2,0,0,0}");
    inserted(f, t, 3, 0x4000);
    inserted(f, t, 3, 0x4000); /* applied already */
    start(f);
    assert_sums(f, "{3,0,0,0}{3,0,0,0}");
    start(f);
    assert_sums(f, "{3,0,0,0}{3,0,0,0}");
    assert_value(f, BROKEN, "");
    assert_value(f, "SELECT since || ' ' || lsn FROM walferry.audit_position", "0/1000 0/4000");
}

static void what_is_refused_counts_nowhere(void **state) {
    Fixture *f = *state;
    start_with(f, TABLE, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(10);
    for (uint64_t number = 1; number <= 4; number++) {
        maker_insert(&m, t, number == 4 ? "1|again" : number == 1 ? "1|x" : number == 2 ? "2|x" : "3|x");
        maker_commit(&m, (uint32_t)number, 0x2000 + 0x100 * number);
    }
    apply_refused(f, &m);
    start(f);
    assert_int_equal(f->at.applied.at, 0x2300);
    assert_sums(f, "{3,0,0,0}{3,0,0,0}");
}

static void progress_that_was_taken_back_is_seen(void **state) {
    Fixture *f = *state;
    start_with(f, TABLE, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    inserted(f, t, 1, 0x2000);
    start(f);
    run(f, "DELETE FROM walferry.progress WHERE lsn = '0/2000'; DELETE FROM s.t");
    start(f);
    inserted(f, t, 1, 0x2000);
    start(f);
    assert_sums(f, "{2,0,0,0}{2,0,0,0}");
    assert_value(f, BROKEN, "the progress was moved by hand: it does not follow what was counted at 0/1000");
}

static void progress_that_was_moved_on_is_seen(void **state) {
    Fixture *f = *state;
    start_with(f, TABLE, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    inserted(f, t, 1, 0x2000);
    run(f, "UPDATE walferry.progress SET lsn = '0/5000' WHERE lsn = '0/2000'");
    start(f);
    assert_value(f, BROKEN, "the progress was moved by hand: nothing was counted at 0/5000");
    inserted(f, t, 2, 0x6000);
    start(f);
    assert_value(f, BROKEN, "the progress was moved by hand: nothing was counted at 0/5000");
}

static void a_record_without_sums_begins_to_count(void **state) {
    Fixture *f = *state;
    start_with(f, TABLE, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    inserted(f, t, 1, 0x2000);
    sink_apply.close(f->sink);
    f->sink = NULL;
    run(f, "DROP TABLE walferry.audit, walferry.audit_position; ALTER TABLE walferry.progress DROP audit");
    assert_true(state_open(f->eye, &f->cfg, &f->e));
    start(f);
    inserted(f, t, 2, 0x3000);
    start(f);
    assert_sums(f, "{1,0,0,0}{1,0,0,0}");
    assert_value(f, "SELECT since || broken FROM walferry.audit_position", "0/2000");
}

/* The rows of progress that the sums were read from are deleted in the background. */
static void the_sums_outlive_the_rows_of_progress(void **state) {
    Fixture *f = *state;
    enum { COMMITS = 2500 };
    start_with(f, TABLE, "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    for (int number = 1; number <= COMMITS; number++)
        inserted(f, t, number, 0x2000 + 0x10 * (uint64_t)number);
    assert_value(f, "SELECT count(*) < 2100 FROM walferry.progress", "t");
    assert_value(f, "SELECT received[1] FROM walferry.audit", "2000");
    start(f);
    assert_sums(f, "{2500,0,0,0}{2500,0,0,0}");
    assert_value(f, BROKEN, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_sums_go_on_from_session_to_session), TEST(what_is_refused_counts_nowhere),
        TEST(progress_that_was_taken_back_is_seen),   TEST(progress_that_was_moved_on_is_seen),
        TEST(a_record_without_sums_begins_to_count),  TEST(the_sums_outlive_the_rows_of_progress)};
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
