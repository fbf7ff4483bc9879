/* core/state and core/state_lock: here, beside the other tests that have a private server. */
#include "live_fixture.h"

static const char JOB[] = "SELECT birth || ' ' || phase || ' ' || bound || ' ' || timeline || ' ' || instance"
                          " FROM walferry.job WHERE job = 'shop'";

static JobRecord record_of(Fixture *f) {
    JobRecord record;
    assert_true(state_read(f->eye, &f->cfg, &record, &f->e));
    return record;
}

static Pg *another(Fixture *f) {
    PgAddress to = {.dsn = f->server->dsn, .side = "target", .job = f->name};
    Pg *pg = pg_open(&to, 5000, &f->e);
    assert_non_null(pg);
    return pg;
}

/* A second job in the same schema; freed with the fixture. */
static Config other_job(Fixture *f) {
    Config cfg = f->cfg;
    cfg.name = arena_text(f->arena, slice_text("other"));
    return cfg;
}

/* ---- the schema ---- */

static void the_schema_is_made_once_and_found_again(void **state) {
    Fixture *f = *state;
    bool exists;
    assert_true(state_exists(f->eye, &f->cfg, &exists, &f->e) && !exists);
    assert_true(state_open(f->eye, &f->cfg, &f->e));
    assert_true(state_exists(f->eye, &f->cfg, &exists, &f->e) && exists);
    assert_false(record_of(f).exists);
    assert_true(state_open(f->eye, &f->cfg, &f->e));
    assert_int_equal(PQtransactionStatus(f->eye->conn), PQTRANS_IDLE);
}

static void a_schema_with_an_odd_name_works_all_the_same(void **state) {
    Fixture *f = *state;
    bool exists;
    f->cfg.target.state_schema = arena_text(f->arena, slice_text("Wal\"f e@"));
    born(f, "t,It's \"x\"\\,{a}");
    TableRecords tables;
    assert_true(state_tables(f->eye, &f->cfg, &tables, &f->e));
    assert_int_equal(tables.count, 3);
    assert_string_equal(tables.rows[0].name, "It's \"x\"\\");
    assert_string_equal(tables.rows[2].name, "{a}");
    state_tables_free(&tables);
    assert_true(state_remove(f->eye, &f->cfg, &f->e));
    assert_true(state_exists(f->eye, &f->cfg, &exists, &f->e) && !exists);
}

static void what_an_earlier_version_did_not_know_is_added(void **state) {
    Fixture *f = *state;
    born(f, "t");
    run(f, "DROP TABLE walferry.prepared");
    assert_true(state_open(f->eye, &f->cfg, &f->e));
    run(f, "SELECT * FROM walferry.prepared");
    assert_true(record_of(f).exists);
}

static void a_newer_format_is_refused(void **state) {
    Fixture *f = *state;
    born(f, "t");
    run(f, "UPDATE walferry.job SET format = format + 1");
    assert_false(state_open(f->eye, &f->cfg, &f->e));
    assert_said(f, ERR_CONFIG, "job \"shop\" was written by a newer walferry (format 2, this one knows 1)");
}

static void an_account_that_may_not_make_it_is_told(void **state) {
    Fixture *f = *state;
    run(f, "DROP ROLE IF EXISTS poor; CREATE ROLE poor; SET ROLE poor");
    assert_false(state_open(f->eye, &f->cfg, &f->e));
    assert_said(f, ERR_CONFIG, "cannot make schema \"walferry\"");
    assert_int_equal(PQtransactionStatus(f->eye->conn), PQTRANS_IDLE);
    run(f, "RESET ROLE; DROP ROLE poor");
}

/* ---- birth ---- */

static void a_birth_has_three_steps(void **state) {
    Fixture *f = *state;
    assert_true(state_open(f->eye, &f->cfg, &f->e));
    assert_true(state_intend(f->eye, &f->cfg, UINT64_MAX, 4000000000u, "host a", &f->e));
    JobRecord record = record_of(f);
    assert_true(record.exists && record.birth == BIRTH_INTENT && record.phase == PHASE_CHECKING);
    assert_int_equal(record.format, STATE_FORMAT);
    assert_int_equal(record.system_id, UINT64_MAX);
    assert_int_equal(record.timeline, 4000000000u);
    assert_true(lsn_is_none(record.applied) && lsn_is_none(record.bound));
    assert_string_equal(record.slot, "dts_sync_shop");
    assert_string_equal(record.instance, "host a");

    assert_true(state_born(f->eye, &f->cfg, (Lsn){POINT}, selection_make(f, "b,a"), &f->e));
    record = record_of(f);
    assert_true(record.birth == BIRTH_SLOT && record.phase == PHASE_SCHEMA);
    assert_int_equal(record.applied.at, POINT);
    assert_int_equal(record.bound.at, POINT);
    TableRecords tables;
    assert_true(state_tables(f->eye, &f->cfg, &tables, &f->e));
    assert_int_equal(tables.count, 2);
    assert_string_equal(tables.rows[0].name, "a");
    assert_string_equal(tables.rows[1].name, "b");
    assert_false(tables.all_loaded || tables.rows[0].loaded);
    state_tables_free(&tables);

    assert_true(state_schema_made(f->eye, &f->cfg, &f->e));
    record = record_of(f);
    assert_true(record.birth == BIRTH_DONE && record.phase == PHASE_FULL);
}

static void a_birth_that_was_broken_off_begins_anew(void **state) {
    Fixture *f = *state;
    born(f, "a,b");
    loaded(f, "a", 0x2000);
    assert_true(state_object_note(f->eye, &f->cfg, "hash", "index", &f->e));
    assert_false(
        state_intend(f->eye, &f->cfg, 78, 4, "host b", &f->e)); /* its tables are made: never again */
    assert_int_equal(f->e.kind, ERR_RETRY);
    assert_true(pg_run(f->eye, "UPDATE walferry.job SET birth = 'slot'", &f->e));
    assert_true(state_intend(f->eye, &f->cfg, 78, 4, "host b", &f->e));
    assert_value(f, JOB, "intent checking 0/1000 4 host b");
    assert_true(state_born(f->eye, &f->cfg, (Lsn){0x5000}, selection_make(f, "c"), &f->e));
    assert_value(f, JOB, "slot schema 0/5000 4 host b");
    assert_value(f, "SELECT string_agg(table_name || loaded, ' ') FROM walferry.table_state", "cfalse");
    assert_value(f, "SELECT count(*) FROM walferry.object_state", "0");
    assert_value(f, "SELECT string_agg(prev_lsn || '>' || lsn, ' ') FROM walferry.progress", "0/0>0/5000");
}

static void a_birth_that_fails_leaves_no_half(void **state) {
    Fixture *f = *state;
    born(f, "a");
    assert_false(state_born(f->eye, &f->cfg, (Lsn){0x5000}, selection_make(f, "b,b"), &f->e));
    assert_int_equal(PQtransactionStatus(f->eye->conn), PQTRANS_IDLE);
    assert_value(f, "SELECT string_agg(table_name, ' ') FROM walferry.table_state", "a");
    assert_int_equal(record_of(f).applied.at, POINT);
}

static void a_record_that_somebody_removed_is_lost(void **state) {
    Fixture *f = *state;
    assert_true(state_open(f->eye, &f->cfg, &f->e));
    assert_false(state_born(f->eye, &f->cfg, (Lsn){POINT}, selection_make(f, "a"), &f->e));
    assert_said(f, ERR_LOST, "the record of job \"shop\" is gone");
    assert_value(f, "SELECT count(*) FROM walferry.progress", "0");
    assert_false(state_bound(f->eye, &f->cfg, (Lsn){1}, &f->e));
    assert_said(f, ERR_LOST, "is gone");
    assert_false(state_phase(f->eye, &f->cfg, PHASE_RUNNING, &f->e));
    assert_false(state_instance(f->eye, &f->cfg, "x", &f->e));
    assert_int_equal(PQtransactionStatus(f->eye->conn), PQTRANS_IDLE);
}

/* ---- running ---- */

static void the_record_follows_the_run(void **state) {
    Fixture *f = *state;
    born(f, "a");
    assert_true(state_phase(f->eye, &f->cfg, PHASE_CATCHING_UP, &f->e));
    assert_true(state_instance(f->eye, &f->cfg, "host c", &f->e));
    assert_true(state_bound(f->eye, &f->cfg, (Lsn){0x9000}, &f->e));
    assert_true(state_bound(f->eye, &f->cfg, (Lsn){0x8000}, &f->e)); /* never goes back */
    assert_value(f, JOB, "done catching-up 0/9000 3 host c");
    assert_int_equal(record_of(f).phase, PHASE_CATCHING_UP);
    assert_true(state_timeline(f->eye, &f->cfg, 4, (Lsn){0x2000}, &f->e)); /* but on a new timeline (A9) */
    assert_value(f, JOB, "done catching-up 0/2000 4 host c");
}

static void the_newest_progress_is_what_is_applied(void **state) {
    Fixture *f = *state;
    born(f, "a");
    run(f, "INSERT INTO walferry.progress (job, prev_lsn, lsn) VALUES ('shop', '0/9000', '0/A000'),"
           " ('shop', '0/1000', '0/9000'), ('other', '0/F000', '0/F100')");
    JobRecord record = record_of(f);
    assert_int_equal(record.applied.at, 0xA000);
    assert_int_equal(record.bound.at, 0xA000); /* at least applied */
}

static void tables_are_loaded_once_each(void **state) {
    Fixture *f = *state;
    TableRecords tables;
    Table a = {.schema = "s", .name = "a", .full_name = "s.a"};
    born(f, "a,b");
    assert_true(state_table_loaded(f->eye, &f->cfg, &a, (Lsn){0x2000}, 7, 900, &f->e));
    assert_true(state_tables(f->eye, &f->cfg, &tables, &f->e));
    assert_true(tables.rows[0].loaded && !tables.rows[1].loaded && !tables.all_loaded);
    assert_int_equal(tables.rows[0].start.at, 0x2000);
    assert_int_equal(tables.rows[0].rows, 7);
    assert_int_equal(tables.rows[0].bytes, 900);
    assert_int_equal(tables.highest_start.at, 0x2000);
    state_tables_free(&tables);
    assert_false(state_table_loaded(f->eye, &f->cfg, &a, (Lsn){0x3000}, 7, 900, &f->e));
    assert_said(f, ERR_LOST, "table \"s.a\" is not pending");
    loaded(f, "b", 0x4000);
    assert_true(state_tables(f->eye, &f->cfg, &tables, &f->e));
    assert_true(tables.all_loaded);
    assert_int_equal(tables.highest_start.at, 0x4000);
    state_tables_free(&tables);
    assert_true(state_tables_reset(f->eye, &f->cfg, &f->e));
    assert_true(state_tables(f->eye, &f->cfg, &tables, &f->e));
    assert_false(tables.all_loaded || tables.rows[0].loaded || tables.rows[1].loaded);
    assert_true(lsn_is_none(tables.highest_start));
    state_tables_free(&tables);
}

static void objects_are_noted_with_what_the_caller_does(void **state) {
    Fixture *f = *state;
    bool made;
    born(f, "a");
    assert_true(state_object_made(f->eye, &f->cfg, "h1", &made, &f->e) && !made);
    run(f, "BEGIN");
    assert_true(state_object_note(f->eye, &f->cfg, "h1", "index s.i", &f->e));
    run(f, "ROLLBACK");
    assert_true(state_object_made(f->eye, &f->cfg, "h1", &made, &f->e) && !made);
    assert_true(state_object_note(f->eye, &f->cfg, "h1", "index s.i", &f->e));
    assert_true(state_object_made(f->eye, &f->cfg, "h1", &made, &f->e) && made);
    Config other = other_job(f);
    assert_true(state_object_made(f->eye, &other, "h1", &made, &f->e) && !made);
}

typedef struct Visits {
    char seen[100];
    int left;
} Visits;

static bool visit(void *context, const char *schema, const char *name, char setting, Error *e) {
    Visits *visits = context;
    size_t used = strlen(visits->seen);
    snprintf(visits->seen + used, sizeof visits->seen - used, "%s.%s=%c ", schema, name, setting);
    return --visits->left > 0 || fail(e, ERR_STOPPED, "enough");
}

static void an_identity_is_remembered_as_it_was_first(void **state) {
    Fixture *f = *state;
    Visits all = {.left = 10}, first = {.left = 1};
    Table a = {.schema = "s", .name = "a", .identity_setting = 'd'}, b = a;
    born(f, "a");
    b.name = "b";
    assert_true(state_identity_note(f->eye, &f->cfg, &b, &f->e));
    assert_true(state_identity_note(f->eye, &f->cfg, &a, &f->e));
    a.identity_setting = 'f'; /* what walferry itself has set */
    assert_true(state_identity_note(f->eye, &f->cfg, &a, &f->e));
    assert_true(state_identities(f->eye, &f->cfg, visit, &all, &f->e));
    assert_string_equal(all.seen, "s.a=d s.b=d ");
    assert_false(state_identities(f->eye, &f->cfg, visit, &first, &f->e));
    assert_string_equal(first.seen, "s.a=d ");
}

/* ---- the lock (trap A6) ---- */

static void the_taker_of_the_lock_shares_it_afterwards(void **state) {
    Fixture *f = *state;
    Pg *owner = another(f), *worker = another(f);
    born(f, "a");
    assert_true(state_take(owner, &f->cfg, 0, false, &f->e));
    assert_true(state_share(worker, &f->cfg, &f->e));
    assert_value(f, "SELECT string_agg(mode, ' ') FROM pg_locks WHERE locktype = 'advisory'",
                 "ShareLock ShareLock");
    pg_close(worker);
    pg_close(owner);
}

static void who_holds_the_lock_is_named(void **state) {
    Fixture *f = *state;
    char pid[40];
    Pg *owner = another(f);
    born(f, "a");
    assert_true(state_take(owner, &f->cfg, 0, false, &f->e));
    assert_false(state_take(f->eye, &f->cfg, 150, false, &f->e));
    assert_said(f, ERR_CONFIG, "job \"shop\" is run by another instance (here)");
    snprintf(pid, sizeof pid, "has pid %d", owner->backend_pid);
    assert_said(f, ERR_CONFIG, pid);
    assert_value(f, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "1");
    pg_close(owner);
    assert_true(state_take(f->eye, &f->cfg, 5000, false, &f->e));
    run(f, "SELECT pg_advisory_unlock_all()");
}

static void the_owner_of_the_slot_ends_those_who_hold_it(void **state) {
    Fixture *f = *state;
    Pg *first = another(f), *second = another(f);
    Error e;
    born(f, "a");
    assert_true(state_take(first, &f->cfg, 0, false, &f->e));
    assert_true(state_share(second, &f->cfg, &f->e));
    assert_true(state_take(f->eye, &f->cfg, 5000, true, &f->e));
    assert_false(pg_run(first, "SELECT 1", &e));
    assert_false(pg_run(second, "SELECT 1", &e));
    pg_close(first);
    pg_close(second);
    run(f, "SELECT pg_advisory_unlock_all()");
}

static void nobody_shares_while_somebody_takes_over(void **state) {
    Fixture *f = *state;
    Pg *taker = another(f);
    born(f, "a");
    assert_true(state_take(taker, &f->cfg, 0, false, &f->e));
    char lock[200];
    assert_true(
        pg_value(f->eye,
                 "SELECT 'SELECT pg_advisory_lock(' || ((classid::bigint << 32) | objid::bigint) || ')'"
                 " FROM pg_locks WHERE locktype = 'advisory'",
                 0, NULL, lock, sizeof lock, &f->e));
    assert_true(pg_run(taker, lock, &f->e)); /* exclusively, as in the middle of state_take */
    assert_false(state_share(f->eye, &f->cfg, &f->e));
    assert_said(f, ERR_RETRY, "another instance is taking over job \"shop\"");
    pg_close(taker);
}

static void other_jobs_and_schemas_have_locks_of_their_own(void **state) {
    Fixture *f = *state;
    Pg *owner = another(f), *second = another(f), *third = another(f);
    Config job = other_job(f), schema = f->cfg;
    schema.target.state_schema = arena_text(f->arena, slice_text("walferry2"));
    assert_true(state_take(owner, &f->cfg, 0, false, &f->e));
    assert_true(state_take(second, &job, 0, false, &f->e));
    assert_true(state_take(third, &schema, 0, true, &f->e));
    assert_true(pg_run(owner, "SELECT 1", &f->e));
    pg_close(third);
    pg_close(second);
    pg_close(owner);
}

/* ---- the end ---- */

static void the_last_job_takes_the_schema_with_it_and_twice_is_no_error(void **state) {
    Fixture *f = *state;
    bool exists;
    Config other = other_job(f);
    born(f, "a");
    assert_true(state_intend(f->eye, &other, 77, 3, "there", &f->e));
    assert_true(state_object_note(f->eye, &f->cfg, "h", "index", &f->e));
    assert_true(state_remove(f->eye, &f->cfg, &f->e));
    assert_false(record_of(f).exists);
    assert_value(
        f,
        "SELECT (SELECT count(*) FROM walferry.progress) + (SELECT count(*) FROM walferry.table_state)"
        " + (SELECT count(*) FROM walferry.object_state)",
        "0");
    assert_true(state_remove(f->eye, &f->cfg, &f->e));
    assert_true(state_exists(f->eye, &f->cfg, &exists, &f->e) && exists);
    assert_true(state_remove(f->eye, &other, &f->e));
    assert_value(f, "SELECT count(*) FROM pg_namespace WHERE nspname = 'walferry'", "0");
    assert_true(state_remove(f->eye, &other, &f->e));
    assert_true(state_remove(f->eye, &f->cfg, &f->e));
}

static void a_schema_with_something_of_somebody_else_stays(void **state) {
    Fixture *f = *state;
    born(f, "a");
    run(f, "CREATE TABLE walferry.mine ()");
    assert_true(state_remove(f->eye, &f->cfg, &f->e));
    assert_value(
        f, "SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'walferry'::regnamespace",
        "mine");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_schema_is_made_once_and_found_again),
        TEST(a_schema_with_an_odd_name_works_all_the_same),
        TEST(what_an_earlier_version_did_not_know_is_added),
        TEST(a_newer_format_is_refused),
        TEST(an_account_that_may_not_make_it_is_told),
        TEST(a_birth_has_three_steps),
        TEST(a_birth_that_was_broken_off_begins_anew),
        TEST(a_birth_that_fails_leaves_no_half),
        TEST(a_record_that_somebody_removed_is_lost),
        TEST(the_record_follows_the_run),
        TEST(the_newest_progress_is_what_is_applied),
        TEST(tables_are_loaded_once_each),
        TEST(objects_are_noted_with_what_the_caller_does),
        TEST(an_identity_is_remembered_as_it_was_first),
        TEST(the_taker_of_the_lock_shares_it_afterwards),
        TEST(who_holds_the_lock_is_named),
        TEST(the_owner_of_the_slot_ends_those_who_hold_it),
        TEST(nobody_shares_while_somebody_takes_over),
        TEST(other_jobs_and_schemas_have_locks_of_their_own),
        TEST(the_last_job_takes_the_schema_with_it_and_twice_is_no_error),
        TEST(a_schema_with_something_of_somebody_else_stays),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
