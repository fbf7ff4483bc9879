#include <pthread.h>

#include "core/ledger.h"
#include "testing.h"

#define MIB           (UINT64_C(1) << 20)
#define AT(mib)       ((Lsn){(mib)*MIB})
#define CONFIRMED(l)  (ledger_confirmed(l).at / MIB)
#define WANTED(l, ms) (ledger_promise_wanted(l, ms).at / MIB)

static Ledger *ledger_at(int sinks, uint64_t applied_mib, uint64_t confirmed_mib) {
    Lsn applied[LEDGER_SINKS_MAX];
    for (int sink = 0; sink < LEDGER_SINKS_MAX; sink++)
        applied[sink] = AT(applied_mib);
    return ledger_new(sinks, applied, AT(confirmed_mib));
}

static void it_begins_at_the_slot_or_beyond_it_where_all_sinks_are(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(2, 100, 300);
    assert_int_equal(CONFIRMED(l), 300);
    assert_false(ledger_in_flight(l));
    assert_true(lsn_is_none(ledger_last_commit(l)));
    ledger_free(l);
    l = ledger_new(2, (Lsn[]){AT(500), AT(200)}, AT(100)); /* the source crashed: its slot went back */
    assert_int_equal(CONFIRMED(l), 200);
    ledger_free(l);
    ledger_free(NULL);
}

static void the_slowest_sink_decides(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(3, 0, 0);
    for (uint64_t mib = 100; mib <= 300; mib += 100) {
        ledger_begin(l);
        ledger_commit(l, AT(mib));
    }
    assert_int_equal(ledger_last_commit(l).at / MIB, 300);
    ledger_durable(l, 0, AT(300));
    ledger_durable(l, 2, AT(100));
    assert_int_equal(CONFIRMED(l), 0);
    ledger_durable(l, 1, AT(200));
    assert_int_equal(CONFIRMED(l), 100);
    ledger_durable(l, 2, AT(300));
    assert_int_equal(CONFIRMED(l), 200);
    assert_true(ledger_in_flight(l));
    ledger_durable(l, 1, AT(300));
    assert_int_equal(CONFIRMED(l), 300);
    assert_false(ledger_in_flight(l));
    ledger_free(l);
}

static void an_older_report_takes_nothing_back(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 0, 0);
    ledger_commit(l, AT(100));
    ledger_commit(l, AT(200));
    ledger_durable(l, 0, AT(200));
    ledger_durable(l, 0, AT(100));
    ledger_durable(l, 0, LSN_NONE);
    assert_int_equal(CONFIRMED(l), 200);
    assert_false(ledger_in_flight(l));
    ledger_free(l);
}

static void a_begin_is_in_flight_until_its_commit_is_durable(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 0, 0);
    assert_false(ledger_in_flight(l));
    ledger_begin(l);
    assert_true(ledger_in_flight(l));
    ledger_commit(l, AT(1));
    assert_true(ledger_in_flight(l));
    ledger_durable(l, 0, AT(1));
    assert_false(ledger_in_flight(l));
    ledger_free(l);
}

/* L17: the slot must not freeze while the captured tables are idle. */
static void an_idle_position_is_confirmed_after_every_promise(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(2, 100, 100);
    ledger_idle(l, AT(150));
    assert_int_equal(CONFIRMED(l), 100);
    assert_int_equal(WANTED(l, 0), 150);
    ledger_promised(l, 0, AT(150));
    assert_int_equal(CONFIRMED(l), 100);
    assert_int_equal(WANTED(l, 1), 150); /* the other sink's thread asks */
    ledger_promised(l, 1, AT(150));
    assert_int_equal(CONFIRMED(l), 150);
    assert_int_equal(WANTED(l, 2), 0);
    ledger_free(l);
}

/* L2: a keepalive beyond a transaction that some sink does not have yet. */
static void a_keepalive_counts_only_while_nothing_is_in_flight(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(2, 0, 0);
    ledger_begin(l);
    ledger_idle(l, AT(500));
    assert_int_equal(WANTED(l, 0), 0);
    ledger_commit(l, AT(600));
    ledger_durable(l, 0, AT(600));
    ledger_durable(l, 1, AT(600));
    assert_int_equal(CONFIRMED(l), 600);
    ledger_commit(l, AT(700));
    ledger_idle(l, AT(800));
    assert_int_equal(WANTED(l, 20000), 0);
    ledger_durable(l, 0, AT(700));
    assert_int_equal(WANTED(l, 20000), 0);
    ledger_durable(l, 1, AT(700));
    assert_int_equal(CONFIRMED(l), 700);
    assert_int_equal(WANTED(l, 20000), 800); /* all that lies before it is durable now */
    ledger_free(l);
}

static void a_keepalive_inside_a_transaction_is_not_kept(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 0, 0);
    ledger_begin(l);
    ledger_idle(l, AT(900));
    ledger_commit(l, AT(100));
    ledger_durable(l, 0, AT(100));
    assert_int_equal(WANTED(l, 0), 0);
    assert_int_equal(CONFIRMED(l), 100);
    ledger_free(l);
}

/* A7, B11: the server keeps the WAL of an open streamed transaction; the ledger hears of it at STREAM COMMIT
 * only. */
static void an_open_streamed_transaction_does_not_hold_the_slot(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 0, 0);
    ledger_idle(l, AT(100));
    assert_false(ledger_in_flight(l));
    assert_int_equal(WANTED(l, 0), 100);
    ledger_promised(l, 0, AT(100));
    assert_int_equal(CONFIRMED(l), 100);
    ledger_commit(l, AT(200)); /* STREAM COMMIT */
    assert_true(ledger_in_flight(l));
    ledger_durable(l, 0, AT(200));
    assert_int_equal(CONFIRMED(l), 200);
    ledger_free(l);
}

static void a_promise_waits_for_what_came_in_meanwhile(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 0, 0);
    ledger_idle(l, AT(100));
    assert_int_equal(WANTED(l, 0), 100);
    ledger_begin(l);
    ledger_promised(l, 0, AT(100));
    assert_int_equal(CONFIRMED(l), 0);
    ledger_commit(l, AT(200));
    ledger_durable(l, 0, AT(200));
    assert_int_equal(CONFIRMED(l), 200);
    ledger_free(l);
}

static void a_promise_that_nobody_wanted_confirms_nothing(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 0, 0);
    ledger_idle(l, AT(100));
    ledger_promised(l, 0, AT(100));
    assert_int_equal(CONFIRMED(l), 0);
    assert_int_equal(WANTED(l, 0), 100);
    ledger_promised(l, 0, AT(99)); /* noted before: 100 still stands */
    assert_int_equal(CONFIRMED(l), 100);
    ledger_free(l);
}

/* B11: the note is itself a write that may move the WAL it follows. */
static void promises_are_wanted_rarely(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 100, 100);
    ledger_idle(l, (Lsn){AT(116).at - 1});
    assert_int_equal(WANTED(l, 0), 0);
    ledger_idle(l, AT(116));
    assert_int_equal(WANTED(l, 1000), 116);
    ledger_promised(l, 0, AT(116));
    ledger_idle(l, AT(200));
    assert_int_equal(WANTED(l, 1000 + LEDGER_IDLE_MS - 1), 0);
    assert_int_equal(WANTED(l, 1000 + LEDGER_IDLE_MS), 200);
    ledger_promised(l, 0, AT(200));
    assert_int_equal(CONFIRMED(l), 200);
    ledger_free(l);
}

static void a_wanted_position_stands_until_it_is_promised_or_overtaken(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(1, 0, 0);
    ledger_idle(l, AT(100));
    assert_int_equal(WANTED(l, 0), 100);
    ledger_idle(l, AT(300));
    assert_int_equal(WANTED(l, 50000), 100);
    ledger_commit(l, AT(400));
    assert_int_equal(WANTED(l, 50000), 0);
    ledger_durable(l, 0, AT(400));
    assert_int_equal(WANTED(l, 50000), 0); /* confirmed is beyond both */
    ledger_idle(l, AT(500));
    assert_int_equal(WANTED(l, 50000), 500);
    ledger_free(l);
}

/* After a crash the server sends again what a sink may have already. */
static void a_transaction_sent_again_is_not_in_flight_for_who_has_it(void **unused) {
    (void)unused;
    Ledger *l = ledger_new(2, (Lsn[]){AT(300), AT(100)}, AT(50));
    assert_int_equal(CONFIRMED(l), 100);
    ledger_begin(l);
    ledger_commit(l, AT(200));
    assert_true(ledger_in_flight(l));
    ledger_durable(l, 1, AT(200));
    assert_false(ledger_in_flight(l));
    assert_int_equal(CONFIRMED(l), 200);
    ledger_free(l);
}

enum { COMMITS = 5000 };

static void *settle(void *ledger) {
    Ledger *l = ledger;
    for (Lsn seen = LSN_NONE; seen.at < COMMITS;) {
        seen = ledger_last_commit(l);
        ledger_durable(l, 1, seen);
    }
    return NULL;
}

static void threads_may_share_it(void **unused) {
    (void)unused;
    Ledger *l = ledger_at(2, 0, 0);
    pthread_t sink;
    bool backwards = false, early = false;
    Lsn before = LSN_NONE;
    assert_int_equal(pthread_create(&sink, NULL, settle, l), 0);
    for (uint64_t end = 1; end <= COMMITS; end++) {
        ledger_begin(l);
        ledger_commit(l, (Lsn){end});
        ledger_durable(l, 0, (Lsn){end});
        Lsn confirmed = ledger_confirmed(l);
        backwards = backwards || lsn_before(confirmed, before);
        early = early || confirmed.at > end;
        before = confirmed;
    }
    pthread_join(sink, NULL);
    assert_false(backwards);
    assert_false(early);
    assert_int_equal(ledger_confirmed(l).at, COMMITS);
    ledger_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_at_the_slot_or_beyond_it_where_all_sinks_are),
        cmocka_unit_test(the_slowest_sink_decides),
        cmocka_unit_test(an_older_report_takes_nothing_back),
        cmocka_unit_test(a_begin_is_in_flight_until_its_commit_is_durable),
        cmocka_unit_test(an_idle_position_is_confirmed_after_every_promise),
        cmocka_unit_test(a_keepalive_counts_only_while_nothing_is_in_flight),
        cmocka_unit_test(a_keepalive_inside_a_transaction_is_not_kept),
        cmocka_unit_test(an_open_streamed_transaction_does_not_hold_the_slot),
        cmocka_unit_test(a_promise_waits_for_what_came_in_meanwhile),
        cmocka_unit_test(a_promise_that_nobody_wanted_confirms_nothing),
        cmocka_unit_test(promises_are_wanted_rarely),
        cmocka_unit_test(a_wanted_position_stands_until_it_is_promised_or_overtaken),
        cmocka_unit_test(a_transaction_sent_again_is_not_in_flight_for_who_has_it),
        cmocka_unit_test(threads_may_share_it),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
