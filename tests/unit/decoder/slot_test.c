#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "decoder/slot.h"
#include "fake_server.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

static const char BORN[] = "dts_sync_shop|0/16B3748|00000003-0000001B-1|pgoutput";

/* A walsender and a watcher, each at a server of its own. */
typedef struct Pair {
    FakeServer senders, plain;
    Pg *walsender, *watcher;
} Pair;

static Pg *open_at(const FakeServer *f, bool replication) {
    Error e;
    const PgAddress to = {.dsn = f->dsn, .side = "source", .job = "shop", .replication = replication};
    Pg *pg = pg_open(&to, 5000, &e);
    assert_non_null(pg);
    return pg;
}

static void pair_open(Pair *p, const char *version, FakeRule *sender_rules, FakeRule *plain_rules) {
    *p = (Pair){.senders = {.version = version, .rules = sender_rules},
                .plain = {.version = version, .rules = plain_rules}};
    fake_start(&p->senders);
    fake_start(&p->plain);
    p->walsender = open_at(&p->senders, true);
    p->watcher = open_at(&p->plain, false);
}

/* The statements can be read after it. */
static void pair_close(Pair *p) {
    pg_close(p->walsender);
    pg_close(p->watcher);
    fake_stop(&p->senders);
    fake_stop(&p->plain);
}

static void pair_free(Pair *p) {
    fake_free(&p->senders);
    fake_free(&p->plain);
}

static void slot_is_made_as_the_version_knows_it(void **state) {
    (void)state;
    static const struct {
        const char *version;
        SlotKind kind;
        const char *command;
    } cases[] = {
        {"12.1", SLOT_LASTING, "CREATE_REPLICATION_SLOT \"dts_sync_shop\" LOGICAL pgoutput EXPORT_SNAPSHOT"},
        {"13.23", SLOT_LASTING, "CREATE_REPLICATION_SLOT \"dts_sync_shop\" LOGICAL pgoutput EXPORT_SNAPSHOT"},
        {"14.9", SLOT_TEMPORARY,
         "CREATE_REPLICATION_SLOT \"dts_sync_shop\" TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT"},
        {"15.4", SLOT_LASTING,
         "CREATE_REPLICATION_SLOT \"dts_sync_shop\" LOGICAL pgoutput (SNAPSHOT 'export')"},
        {"17.2", SLOT_LASTING,
         "CREATE_REPLICATION_SLOT \"dts_sync_shop\" LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER)"},
        {"17.2", SLOT_TEMPORARY,
         "CREATE_REPLICATION_SLOT \"dts_sync_shop\" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')"},
        {"17.2", SLOT_LASTING_HERE,
         "CREATE_REPLICATION_SLOT \"dts_sync_shop\" LOGICAL pgoutput (SNAPSHOT 'export')"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule rules[] = {{.contains = "CREATE_REPLICATION_SLOT", .rows = BORN}, {0}};
        SlotBirth birth;
        Error e;
        Pair p;
        pair_open(&p, cases[n].version, rules, NULL);
        assert_true(slot_create(p.walsender, p.watcher, "dts_sync_shop", cases[n].kind, 5000, NULL, NULL,
                                &birth, &e));
        pair_close(&p);
        assert_string_equal(p.senders.statements[1], "SELECT 1"); /* from here on it watches its client */
        assert_string_equal(p.senders.statements[2], cases[n].command);
        assert_int_equal(birth.point.at, 0x16B3748);
        assert_string_equal(birth.snapshot, "00000003-0000001B-1");
        pair_free(&p);
    }
}

static void refused_failover_is_left_out(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "FAILOVER", .sqlstate = "0A000", .message = "cannot enable failover"},
                        {.contains = "CREATE_REPLICATION_SLOT", .rows = BORN},
                        {0}};
    SlotBirth birth;
    Error e;
    Pair p;
    pair_open(&p, "17.2", rules, NULL);
    assert_true(
        slot_create(p.walsender, p.watcher, "dts_sync_shop", SLOT_LASTING, 5000, NULL, NULL, &birth, &e));
    pair_close(&p);
    assert_int_equal(p.senders.count, 4);
    pair_free(&p);
}

static void refused_slot_is_a_matter_of_configuration(void **state) {
    (void)state;
    static const struct {
        const char *sqlstate, *message, *hint;
    } cases[] = {
        {"42710", "replication slot \"dts_sync_shop\" already exists", "another name"},
        {"53400", "all replication slots are in use", "max_replication_slots"},
        {"55000", "logical decoding requires wal_level >= logical", "wal_level = logical"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule rules[] = {
            {.contains = "CREATE_", .sqlstate = cases[n].sqlstate, .message = cases[n].message}, {0}};
        SlotBirth birth;
        Error e;
        Pair p;
        pair_open(&p, "17.2", rules, NULL);
        assert_false(
            slot_create(p.walsender, p.watcher, "dts_sync_shop", SLOT_LASTING, 5000, NULL, NULL, &birth, &e));
        pair_close(&p);
        assert_int_equal(e.kind, ERR_CONFIG);
        assert_non_null(strstr(e.text, cases[n].message));
        assert_non_null(strstr(e.hint, cases[n].hint));
        assert_int_equal(fake_find(&p.plain, "pg_drop_replication_slot"), -1);
        pair_free(&p);
    }
}

static void strange_birth_is_refused(void **state) {
    (void)state;
    static const char *const births[] = {"dts_sync_shop|0/0|snap|pgoutput", "dts_sync_shop|0/1|~|pgoutput",
                                         "a|0/1"};
    for (size_t n = 0; n < sizeof births / sizeof *births; n++) {
        FakeRule rules[] = {{.contains = "CREATE_", .rows = births[n]}, {0}};
        SlotBirth birth;
        Error e;
        Pair p;
        pair_open(&p, "15.4", rules, NULL);
        assert_false(
            slot_create(p.walsender, p.watcher, "dts_sync_shop", SLOT_LASTING, 5000, NULL, NULL, &birth, &e));
        assert_int_equal(e.kind, ERR_PROTOCOL);
        pair_close(&p);
        pair_free(&p);
    }
}

typedef struct Waits {
    int calls, give_up_at;
    char whom[300];
} Waits;

static bool wait_note(void *context, const char *whom) {
    Waits *w = context;
    snprintf(w->whom, sizeof w->whom, "%s", whom);
    return ++w->calls != w->give_up_at;
}

/* F19. */
static void giving_up_names_whom_and_leaves_nothing(void **state) {
    (void)state;
    static const struct {
        const char *seen, *whom;
        int give_up_at;
        ErrorKind kind;
    } cases[] = {
        {"71|app|shop|idle in transaction|900|~|~|93",
         "PID 71 (user \"app\", database \"shop\", idle in transaction, open for 93 s)", 1, ERR_STOPPED},
        {"71|app|shop|~|900|~|~|~", "PID 71 (user \"app\", database \"shop\")", 0, ERR_RETRY},
        {"~|~|~|~|900|two|app|7", "prepared transaction \"two\" (user \"app\", open for 7 s)", 0, ERR_RETRY},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule sender_rules[] = {
            {.contains = "CREATE_", .sqlstate = "57014", .message = "canceling", .silent = true}, {0}};
        FakeRule plain_rules[] = {{.contains = "pg_locks", .rows = cases[n].seen}, {0}};
        Waits waits = {.give_up_at = cases[n].give_up_at};
        SlotBirth birth;
        Error e;
        Pair p;
        pair_open(&p, "15.4", sender_rules, plain_rules);
        assert_false(slot_create(p.walsender, p.watcher, "dts_sync_shop", SLOT_LASTING, 500, wait_note,
                                 &waits, &birth, &e));
        pair_close(&p);
        assert_int_equal(e.kind, cases[n].kind);
        assert_string_equal(waits.whom, cases[n].whom);
        assert_non_null(strstr(e.text, cases[n].whom));
        assert_int_equal(p.senders.cancels, 1);
        /* It looks whether a slot was left. */
        assert_true(fake_find(&p.plain, "pg_replication_slots") > 0);
        pair_free(&p);
    }
}

static void slot_made_while_giving_up_is_dropped(void **state) {
    (void)state;
    FakeRule sender_rules[] = {{.contains = "CREATE_", .rows = BORN, .silent = true}, {0}};
    Waits waits = {.give_up_at = 1};
    SlotBirth birth;
    Error e;
    Pair p;
    pair_open(&p, "15.4", sender_rules, NULL);
    assert_false(slot_create(p.walsender, p.watcher, "dts_sync_shop", SLOT_LASTING, 5000, wait_note, &waits,
                             &birth, &e));
    pair_close(&p);
    assert_int_equal(e.kind, ERR_STOPPED);
    assert_string_equal(waits.whom, "open transactions");
    assert_int_equal(fake_find(&p.senders, "DROP_REPLICATION_SLOT \"dts_sync_shop\""), 3);
    pair_free(&p);
}

static void server_is_identified(void **state) {
    (void)state;
    FakeRule rules[] = {
        {.contains = "IDENTIFY_SYSTEM", .rows = "18446744073709551615|7|1/A|shop", .times = 1},
        {.contains = "pg_is_in_recovery", .rows = "f"},
        {.contains = "TIMELINE_HISTORY 7", .rows = "00000007.history|6\t0/300\tno recovery target specified"},
        {0}};
    ServerIdentity identity;
    Lsn fork;
    Error e;
    Pair p;
    pair_open(&p, "15.4", rules, NULL);
    assert_true(slot_identify(p.walsender, &identity, &e));
    assert_true(identity.system_id == UINT64_MAX && identity.timeline == 7 &&
                identity.flushed.at == 0x10000000A);
    assert_true(timeline_fork(&identity.history, 6, &fork) && fork.at == 0x300);
    assert_false(slot_identify(p.walsender, &identity, &e));
    assert_int_equal(e.kind, ERR_PROTOCOL);
    pair_close(&p);
    pair_free(&p);
}

/* Without its file nobody can judge; another answer is no history. */
static void history_may_be_gone_and_is_never_guessed(void **state) {
    (void)state;
    FakeRule rules[] = {
        {.contains = "IDENTIFY_SYSTEM", .rows = "77|7|1/A|shop"},
        {.contains = "pg_is_in_recovery", .rows = "f"},
        {.contains = "TIMELINE_HISTORY", .sqlstate = "58P01", .message = "could not open file", .times = 1},
        {.contains = "TIMELINE_HISTORY", .rows = "00000007.history|9\t0/300\tx", .times = 1},
        {.contains = "TIMELINE_HISTORY", .rows = "6", .times = 1},
        {.contains = "TIMELINE_HISTORY", .sqlstate = "53200", .message = "out of memory"},
        {0}};
    ServerIdentity identity;
    Error e;
    Pair p;
    pair_open(&p, "15.4", rules, NULL);
    assert_true(slot_identify(p.walsender, &identity, &e));
    assert_int_equal(identity.history.count, 0);
    for (int strange = 0; strange < 2; strange++) {
        assert_false(slot_identify(p.walsender, &identity, &e));
        assert_int_equal(e.kind, ERR_PROTOCOL);
    }
    assert_false(slot_identify(p.walsender, &identity, &e));
    assert_int_equal(e.kind, ERR_RETRY);
    pair_close(&p);
    pair_free(&p);
}

static void a_standby_is_waited_for(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "IDENTIFY_SYSTEM", .rows = "77|1|1/A|shop"},
                        {.contains = "pg_is_in_recovery", .rows = "t"},
                        {0}};
    ServerIdentity identity;
    Error e;
    Pair p;
    pair_open(&p, "15.4", rules, NULL);
    assert_false(slot_identify(p.walsender, &identity, &e));
    assert_int_equal(e.kind, ERR_RETRY);
    assert_true(e.connection);
    assert_non_null(strstr(e.text, "is a standby"));
    pair_close(&p);
    pair_free(&p);
}

static void look_reads_the_slot(void **state) {
    (void)state;
    for (int old = 0; old <= 1; old++) {
        FakeRule rules[] = {{.contains = "pg_replication_slots",
                             .rows = old ? "f|t|pgoutput|shop|~|~|0/20|0/10|16|~|~|f"
                                         : "t|t|pgoutput|shop|reserved|71|0/20|0/10|16|99|idle_timeout|t",
                             .times = 1},
                            {0}};
        SlotView view;
        Error e;
        Pair p;
        pair_open(&p, old ? "12.9" : "17.0", NULL, rules);
        assert_true(slot_look(p.watcher, "dts_sync_shop", &view, &e));
        assert_true(view.exists && view.logical);
        assert_int_equal(view.active, !old);
        assert_int_equal(view.active_pid, old ? 0 : 71);
        assert_string_equal(view.plugin, "pgoutput");
        assert_string_equal(view.database, "shop");
        assert_string_equal(view.wal_status, old ? "" : "reserved");
        assert_string_equal(view.invalidation, old ? "" : "idle_timeout");
        assert_true(view.confirmed.at == 0x20 && view.restart.at == 0x10);
        assert_int_equal(view.retained_bytes, 16);
        assert_int_equal(view.safe_bytes, old ? -1 : 99);
        assert_int_equal(view.two_phase, !old);
        assert_int_equal(fake_find(&p.plain, "s.two_phase") < 0, old);
        assert_true(slot_look(p.watcher, "dts_sync_shop", &view, &e));
        assert_false(view.exists);
        pair_close(&p);
        assert_int_equal(fake_find(&p.plain, "wal_status") < 0, old);
        assert_int_equal(fake_find(&p.plain, "invalidation_reason") < 0, old);
        pair_free(&p);
    }
}

static const char IDLE[] = "f|t|pgoutput|shop|reserved|~|0/20|0/10|16|~|~|f";
static const char ACTIVE[] = "t|t|pgoutput|shop|reserved|71|0/20|0/10|16|~|~|f";

static void drop_waits_for_its_user(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "pg_drop", .sqlstate = "55006", .message = "is active", .times = 1},
                        {.contains = "pg_drop", .rows = ""},
                        {.contains = "FROM pg_replication_slots", .rows = ACTIVE, .times = 2},
                        {.contains = "FROM pg_replication_slots", .rows = IDLE},
                        {0}};
    Error e;
    Pair p;
    pair_open(&p, "15.4", NULL, rules);
    assert_true(slot_drop(p.watcher, "dts_sync_shop", 20000, &e));
    pair_close(&p);
    assert_int_equal(p.plain.count, 1 + 4 + 2);
    pair_free(&p);
}

static void active_slot_is_not_dropped(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "FROM pg_replication_slots", .rows = ACTIVE}, {0}};
    Error e;
    Pair p;
    pair_open(&p, "15.4", NULL, rules);
    assert_false(slot_drop(p.watcher, "dts_sync_shop", 150, &e));
    pair_close(&p);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_string_equal(e.text, "source: slot \"dts_sync_shop\" is in use by PID 71");
    assert_int_equal(fake_find(&p.plain, "pg_drop"), -1);
    pair_free(&p);
}

static void absent_slot_is_dropped_already(void **state) {
    (void)state;
    FakeRule gone[] = {{.contains = "pg_drop", .sqlstate = "42704", .message = "does not exist"},
                       {.contains = "FROM pg_replication_slots", .rows = IDLE},
                       {0}};
    FakeRule refused[] = {{.contains = "pg_drop", .sqlstate = "42501", .message = "permission denied"},
                          {.contains = "FROM pg_replication_slots", .rows = IDLE},
                          {0}};
    Error e;
    Pair p;
    pair_open(&p, "15.4", NULL, NULL);
    assert_true(slot_drop(p.watcher, "dts_sync_shop", 0, &e));
    pair_close(&p);
    pair_free(&p);
    pair_open(&p, "15.4", NULL, gone);
    assert_true(slot_drop(p.watcher, "dts_sync_shop", 0, &e));
    pair_close(&p);
    pair_free(&p);
    pair_open(&p, "15.4", NULL, refused);
    assert_false(slot_drop(p.watcher, "dts_sync_shop", 0, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    pair_close(&p);
    pair_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slot_is_made_as_the_version_knows_it),
        cmocka_unit_test(refused_failover_is_left_out),
        cmocka_unit_test(refused_slot_is_a_matter_of_configuration),
        cmocka_unit_test(strange_birth_is_refused),
        cmocka_unit_test(giving_up_names_whom_and_leaves_nothing),
        cmocka_unit_test(slot_made_while_giving_up_is_dropped),
        cmocka_unit_test(server_is_identified),
        cmocka_unit_test(history_may_be_gone_and_is_never_guessed),
        cmocka_unit_test(a_standby_is_waited_for),
        cmocka_unit_test(look_reads_the_slot),
        cmocka_unit_test(drop_waits_for_its_user),
        cmocka_unit_test(active_slot_is_not_dropped),
        cmocka_unit_test(absent_slot_is_dropped_already),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
