#include "job/position.h"

#include <stdio.h>
#include <string.h>

#include "testing.h"

enum { APPLIED = 0x1000, FORK = 0x1800, BOUND = 0x2000 };

static const Position KNOWN = {{APPLIED}, {BOUND}, 77, 1, {0}};

/* Timeline 3, by way of 2; 1 was left at FORK. */
static ServerIdentity promoted(void) {
    return (ServerIdentity){.system_id = 77,
                            .timeline = 3,
                            .flushed = {0x9000},
                            .history = {.count = 2, .switches = {{1, {FORK}}, {2, {0x8000}}}}};
}

static ServerIdentity unmoved(void) {
    return (ServerIdentity){.system_id = 77, .timeline = 1, .flushed = {0x9000}};
}

static Position followed(const ServerIdentity *server, const Position *known) {
    Position now;
    Error e;
    if (!position_follow(server, known, &now, &e))
        fail_test("%s", e.text);
    return now;
}

static void assert_lost(const ServerIdentity *server, const Position *known, const char *part) {
    Position now;
    Error e;
    assert_false(position_follow(server, known, &now, &e));
    assert_int_equal(e.kind, ERR_LOST);
    if (strstr(e.text, part) == NULL || strstr(e.text, "everything up to 0/1000 is at the target") == NULL)
        fail_test("\"%s\" is not in: %s", part, e.text);
    assert_non_null(strstr(e.hint, "cleanup"));
}

static void the_same_timeline_changes_nothing(void **state) {
    (void)state;
    ServerIdentity server = unmoved();
    Position now = followed(&server, &KNOWN);
    assert_true(now.timeline == 1 && now.bound.at == BOUND && now.applied.at == APPLIED);
}

static void trap_A9_what_was_promised_below_the_fork_stays_promised(void **state) {
    (void)state;
    ServerIdentity server = promoted();
    Position now = followed(&server, &KNOWN);
    assert_int_equal(now.timeline, 3);
    assert_int_equal(now.bound.at, FORK);
    Position lower = KNOWN;
    lower.bound.at = APPLIED + 1;
    assert_int_equal(followed(&server, &lower).bound.at, APPLIED + 1);
}

static void trap_A9_what_is_applied_must_lie_before_the_fork(void **state) {
    (void)state;
    ServerIdentity server = promoted();
    server.history.switches[0].end.at = APPLIED;
    assert_int_equal(followed(&server, &KNOWN).bound.at, APPLIED);
    server.history.switches[0].end.at = APPLIED - 1;
    assert_lost(&server, &KNOWN, "the destination is ahead of this server by 1 bytes");
}

/* A table loaded under a later snapshot shows what the new timeline never had, and would skip what it has. */
static void trap_A2_a_table_loaded_beyond_the_fork_counts_as_well(void **state) {
    (void)state;
    ServerIdentity server = promoted();
    Position known = KNOWN;
    known.loaded.at = FORK;
    assert_int_equal(followed(&server, &known).timeline, 3);
    known.loaded.at = FORK + 16;
    assert_lost(&server, &known, "the destination is ahead of this server by 16 bytes");
}

static void a_timeline_that_is_no_ancestor_is_told_apart(void **state) {
    (void)state;
    ServerIdentity server = promoted();
    Position known = KNOWN;
    known.timeline = 4; /* the old primary is back, or another standby was promoted */
    assert_lost(&server, &known, "history knows nothing of timeline 4");
    known = KNOWN;
    server.history.count = 0;
    assert_lost(&server, &known, "history knows nothing of timeline 1");
}

static void a_log_that_ends_before_what_is_applied_was_set_back(void **state) {
    (void)state;
    ServerIdentity server = unmoved();
    server.flushed.at = APPLIED;
    assert_int_equal(followed(&server, &KNOWN).bound.at, BOUND);
    server.flushed.at = APPLIED - 8;
    assert_lost(&server, &KNOWN, "ahead of this server by 8 bytes");
}

static void another_server_is_told_by_its_identifier(void **state) {
    (void)state;
    ServerIdentity server = promoted();
    server.system_id = 78;
    assert_lost(&server, &KNOWN, "system identifier is 78, this job began on 77");
}

/* ---- the slot ---- */

static char slot_name[] = "dts_sync_shop";

static SlotView good_slot(void) {
    return (SlotView){.exists = true,
                      .logical = true,
                      .plugin = "pgoutput",
                      .wal_status = "reserved",
                      .confirmed = {BOUND}};
}

static void assert_slot_lost(const SlotView *slot, const char *part) {
    Config cfg = {.slot = slot_name};
    Error e;
    assert_false(position_check_slot(&cfg, slot, &KNOWN, &e));
    assert_int_equal(e.kind, ERR_LOST);
    if (strstr(e.text, part) == NULL || strstr(e.text, "everything up to 0/1000 is at the target") == NULL)
        fail_test("\"%s\" is not in: %s", part, e.text);
    assert_non_null(strstr(e.hint, "cleanup"));
}

static void a_slot_up_to_the_bound_is_ours(void **state) {
    (void)state;
    Config cfg = {.slot = slot_name};
    SlotView slot = good_slot();
    Error e;
    assert_true(position_check_slot(&cfg, &slot, &KNOWN, &e));
    slot.confirmed.at = 1;
    assert_true(position_check_slot(&cfg, &slot, &KNOWN, &e));
    slot.confirmed.at = BOUND + 1;
    assert_slot_lost(&slot, "beyond 0/2000");
}

static void what_happened_to_the_slot_is_named(void **state) {
    (void)state;
    static const struct {
        const char *reason, *said;
    } cases[] = {
        {"", "(wal_status lost): it fell behind by more than max_slot_wal_keep_size"},
        {"wal_removed", "reason wal_removed): it fell behind by more than max_slot_wal_keep_size"},
        {"idle_timeout",
         "reason idle_timeout): nobody read it for longer than idle_replication_slot_timeout"},
        {"rows_removed", "hot_standby_feedback"},
        {"wal_level_insufficient", "wal_level"},
    };
    SlotView slot = good_slot();
    snprintf(slot.wal_status, sizeof slot.wal_status, "lost");
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        snprintf(slot.invalidation, sizeof slot.invalidation, "%s", cases[n].reason);
        assert_slot_lost(&slot, cases[n].said);
    }
    slot = good_slot();
    slot.exists = false;
    assert_slot_lost(&slot, "does not exist");
    slot = good_slot();
    snprintf(slot.plugin, sizeof slot.plugin, "test_decoding");
    assert_slot_lost(&slot, "not a pgoutput slot");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_timeline_changes_nothing),
        cmocka_unit_test(trap_A9_what_was_promised_below_the_fork_stays_promised),
        cmocka_unit_test(trap_A9_what_is_applied_must_lie_before_the_fork),
        cmocka_unit_test(trap_A2_a_table_loaded_beyond_the_fork_counts_as_well),
        cmocka_unit_test(a_timeline_that_is_no_ancestor_is_told_apart),
        cmocka_unit_test(a_log_that_ends_before_what_is_applied_was_set_back),
        cmocka_unit_test(another_server_is_told_by_its_identifier),
        cmocka_unit_test(a_slot_up_to_the_bound_is_ours),
        cmocka_unit_test(what_happened_to_the_slot_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
