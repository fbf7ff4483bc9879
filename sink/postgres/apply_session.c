#include "sink/postgres/apply_session.h"

#include <assert.h>
#include <stdlib.h>

#include "core/log.h"
#include "sink/postgres/collected.h"

static const char SQL_SESSION[] = "SET synchronous_commit = off";
/* Refused to an account without the right: `check` says what that means (trap C7). */
static const char SQL_REPLICA[] = "SET session_replication_role = replica";

static const char SQL_MARK[] = "SAVEPOINT walferry_mark";
static const char SQL_UNMARK[] = "RELEASE SAVEPOINT walferry_mark";
static const char SQL_RETURN[] = "ROLLBACK TO SAVEPOINT walferry_mark";

#define NAME_BEGIN "walferry_begin"
enum { CONNECT_MS = 10000, ROWS_SENT_BYTES_MAX = 512 * 1024 };

bool apply_in_binary(const ApplySession *s) {
    return s->options->binary != NULL && *s->options->binary;
}

void apply_session_drop(ApplySession *s, uint32_t number) {
    Plan *plan = s->plans[number];
    if (plan == NULL)
        return;
    assert(plan->net == NULL); /* what is collected holds the batches that use the version */
    relation_forget(plan->rel);
    arena_free(plan->arena);
    s->plans[number] = NULL;
    s->plan_count--;
}

bool apply_session_open(ApplySession *s, const SinkOptions *options, TableRecords *tables, Error *e) {
    PgAddress to = {
        .dsn = options->cfg->target.dsn, .side = "target", .job = options->cfg->name, .options = SQL_SESSION};
    Error refused;
    *s = (ApplySession){.options = options, .tables = tables, .sent_bytes_max = SETS_SENT_BYTES_MAX};
    s->pg = pg_open(&to, CONNECT_MS, e);
    if (s->pg == NULL)
        return false;
    if (!pg_run(s->pg, SQL_REPLICA, &refused))
        log_debug("applying with triggers and foreign keys in force: %s", refused.text);
    return true;
}

static bool own_prepare(ApplySession *s, Error *e) {
    LiveNote note = {NOTE_PREPARE, NULL, NULL};
    return live_prepare(s->live, note, NAME_BEGIN, "BEGIN", 0, NULL, e);
}

bool apply_session_start(ApplySession *s, LiveCheck *check, void *context, Error *e) {
    TargetWait *wait = s->options->wait;
    s->context = context;
    s->pg->when = RETRY_APPLYING;
    pg_give_up_when(s->pg, wait == NULL ? NULL : &wait->silent);
    s->live = live_new(s->pg, check, s);
    live_tell_waiting(s->live, wait == NULL ? NULL : &wait->since_ms);
    return own_prepare(s, e);
}

bool apply_session_is_lost(const ApplySession *s, const Error *e) {
    return e->connection || PQstatus(s->pg->conn) == CONNECTION_BAD || pg_given_up(s->pg);
}

void apply_tell_who_works(const ApplySession *s) {
    if (s->options->wait != NULL)
        atomic_store(&s->options->wait->backend_pid, s->pg->backend_pid);
}

void apply_session_close(ApplySession *s) {
    collected_free(s->collected);
    live_free(s->live);
    pg_close(s->pg);
    for (uint32_t plan = 0; plan < s->plan_capacity; plan++)
        apply_session_drop(s, plan);
    free(s->plans);
    free(s->records);
    *s = (ApplySession){0};
}

bool apply_session_idle(ApplySession *s, Error *e) {
    return s->end_other == NULL || s->end_other(s->context, e);
}

bool apply_session_begin(ApplySession *s, Error *e) {
    LiveNote note = {NOTE_BEGIN, NULL, NULL};
    if (!apply_session_idle(s, e))
        return false;
    if (s->open)
        return true;
    s->open = true;
    s->marked = false;
    s->locks++;
    return live_send(s->live, note, NAME_BEGIN, 0, NULL, NULL, NULL, e);
}

static void plans_unprepare(ApplySession *s) {
    for (uint32_t plan = 0; plan < s->plan_capacity; plan++)
        for (Shape *shape = s->plans[plan] == NULL ? NULL : s->plans[plan]->shapes; shape != NULL;
             shape = shape->next)
            shape->prepared = false;
    for (uint32_t plan = 0; plan < s->plan_capacity; plan++)
        for (SetShape *set = s->plans[plan] == NULL ? NULL : s->plans[plan]->sets; set != NULL;
             set = set->next)
            set->prepared = false;
}

bool apply_session_mark(ApplySession *s, Error *e) {
    LiveNote note = {NOTE_BEGIN, NULL, NULL};
    if (!apply_session_begin(s, e) || (s->marked && !live_send_text(s->live, note, SQL_UNMARK, 0, NULL, e)))
        return false;
    s->marked = true;
    s->counts_marked = s->counts;
    return live_send_text(s->live, note, SQL_MARK, 0, NULL, e);
}

/* What was rolled back has moved definitions: they are what the destination says again. */
static bool definitions_again(ApplySession *s, Error *e) {
    if (!s->redefined)
        return true;
    live_pause(s->live);
    bool ok = state_tables_again(s->pg, s->options->cfg, s->tables, e);
    live_resume(s->live);
    return ok;
}

void apply_session_locks_gone(ApplySession *s) {
    s->locks++;
}

bool apply_session_return(ApplySession *s, Error *e) {
    apply_session_locks_gone(s);
    plans_unprepare(s);
    bool back = live_return(s->live, SQL_RETURN, e); /* answers that were still to be read have counted */
    s->counts = s->counts_marked;
    bool ok = back && definitions_again(s, e) && own_prepare(s, e);
    collected_forget(s->collected);
    collected_sent_forget(s->collected); /* behind the last answer that is held against it */
    return ok;
}

void apply_session_collect(ApplySession *s, bool collecting) {
    s->collecting = collecting;
    if (collecting && s->collected == NULL)
        s->collected = collected_new();
    if (!collecting)
        live_bound(s->live, ROWS_SENT_BYTES_MAX);
}

bool apply_session_roll_back(ApplySession *s, Error *e) {
    s->open = s->hurried = false;
    s->altered = NULL;
    plans_unprepare(s);
    bool back = live_reset(s->live, e); /* answers that were still to be read have counted */
    s->counts = (ApplyCounts){.left_out = s->counts.left_out};
    return back && definitions_again(s, e) && own_prepare(s, e);
}

bool apply_session_reset(ApplySession *s, Error *e) {
    bool ok = apply_session_roll_back(s, e);
    collected_sent_forget(s->collected);
    return ok;
}
