#include "sink/postgres/apply_session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/binary_type.h"
#include "core/log.h"
#include "core/memory.h"
#include "sink/postgres/catchup.h"
#include "sink/postgres/conflict.h"

static const char SQL_SESSION[] = "SET synchronous_commit = off";
/* Refused to an account without the right: `check` says what that means (trap C7). */
static const char SQL_REPLICA[] = "SET session_replication_role = replica";

static const char SQL_MARK[] = "SAVEPOINT walferry_mark";
static const char SQL_UNMARK[] = "RELEASE SAVEPOINT walferry_mark";
static const char SQL_RETURN[] = "ROLLBACK TO SAVEPOINT walferry_mark";

#define NAME_BEGIN "walferry_begin"
enum { CONNECT_MS = 10000, PLANS_LEAST = 64, STATEMENT_BYTES = 32, ROWS_SENT_BYTES_MAX = 512 * 1024 };

/* ---- plans ---- */

static void plans_reserve(ApplySession *s, uint32_t number) {
    if (number < s->plan_capacity)
        return;
    uint32_t before = s->plan_capacity, capacity = before == 0 ? PLANS_LEAST : before;
    while (capacity <= number)
        capacity *= 2;
    s->plans = memory_grow(s->plans, capacity * sizeof *s->plans);
    s->records = memory_grow(s->records, capacity * sizeof *s->records);
    memset(s->plans + before, 0, (capacity - before) * sizeof *s->plans);
    memset(s->records + before, 0, (capacity - before) * sizeof *s->records);
    s->plan_capacity = capacity;
}

TableRecord *apply_record(ApplySession *s, const Relation *rel, Error *e) {
    plans_reserve(s, rel->number);
    TableRecord **known = &s->records[rel->number];
    if (*known == NULL)
        *known = state_table_find(s->tables, rel->oid, rel->schema, rel->name);
    if (*known != NULL && (*known)->loaded)
        return *known;
    if (*known != NULL) {
        fail(e, ERR_DATA, "table \"%s.%s\" is not loaded", rel->schema, rel->name);
        return NULL;
    }
    fail(e, ERR_DATA, "table \"%s.%s\" is in the stream, but this job has not loaded it", rel->schema,
         rel->name);
    fail_hint(e, "somebody added it to the publication: take it out again");
    return NULL;
}

bool apply_in_binary(const ApplySession *s) {
    return s->options->binary != NULL && *s->options->binary;
}

/* A column of another type than the source's, or of one that has come since the stream was asked for (trap B3). */
static bool takes_binary(const ApplySession *s, const Plan *plan, Error *e) {
    const Relation *rel = plan->rel;
    for (uint16_t column = 0; column < rel->column_count; column++) {
        if (binary_type(rel->columns[column].type) && plan->columns[column].oid == rel->columns[column].type)
            continue;
        atomic_store(s->options->wants_text, true);
        return fail(e, ERR_RETRY, "column \"%s\" of table \"%s.%s\" cannot be taken in binary",
                    rel->columns[column].name, rel->schema, rel->name);
    }
    return true;
}

bool apply_is_due(const TableRecord *table, const Transaction *tx) {
    return change_is_due(table->start, tx);
}

static void plan_arrived(ApplySession *s, const PGresult *result, Error *e) {
    const TableRecord *table = s->records[s->planned->number];
    Plan *plan =
        plan_build(s->planned_arena, s->pg, s->options->selection, s->planned, result, table->start, e);
    if (plan == NULL || (table->kept && !plan_keep(plan, e)))
        return;
    if (apply_in_binary(s) && !takes_binary(s, plan, e))
        return;
    plan->beside_prepared = s->options->cfg->source.two_phase;
    relation_remember(s->planned);
    s->plans[s->planned->number] = plan;
    s->plan_count++;
    s->plans_since_look++;
}

static void plan_drop(ApplySession *s, uint32_t number) {
    Plan *plan = s->plans[number];
    if (plan == NULL)
        return;
    assert(plan->net == NULL); /* what is collected holds the batches that use the version */
    relation_forget(plan->rel);
    arena_free(plan->arena);
    s->plans[number] = NULL;
    s->plan_count--;
}

/* The destination keeps memory for each. */
static bool statement_forget(ApplySession *s, const char *name, bool prepared, Error *e) {
    char sql[STATEMENT_BYTES];
    LiveNote note = {NOTE_PREPARE, NULL, NULL};
    snprintf(sql, sizeof sql, "DEALLOCATE %s", name);
    return !prepared || live_send_text(s->live, note, sql, 0, NULL, e);
}

static bool statements_forget(ApplySession *s, const Plan *plan, Error *e) {
    for (const Shape *shape = plan->shapes; shape != NULL; shape = shape->next)
        if (!statement_forget(s, shape->name, shape->prepared, e))
            return false;
    for (const SetShape *set = plan->sets; set != NULL; set = set->next)
        if (!statement_forget(s, set->name, set->prepared, e))
            return false;
    return true;
}

/* Plans of versions that are over go. Looked for as often as half of all plans are new, so that a table that changes all
 * the time costs no more memory than others, and many tables no more time each than few. */
static bool plans_look(ApplySession *s, Error *e) {
    if (s->plans_since_look < PLANS_LEAST || s->plans_since_look < s->plan_count / 2)
        return true;
    s->plans_since_look = 0;
    for (uint32_t number = 0; number < s->plan_capacity; number++) {
        if (s->plans[number] == NULL || !relation_is_over(s->plans[number]->rel))
            continue;
        if (!statements_forget(s, s->plans[number], e))
            return false;
        plan_drop(s, number);
    }
    return true;
}

static bool plan_ask(ApplySession *s, const Relation *rel, LiveNote note, Error *e) {
    s->planned = rel;
    s->planned_arena = arena_new();
    MappedName target = selection_target(s->options->selection, s->planned_arena, rel->schema, rel->name);
    const char *const params[] = {target.schema, target.name};
    bool ok = live_send_text(s->live, note, PLAN_QUERY, 2, params, e) && live_drain(s->live, e);
    if (s->plans[rel->number] == NULL)
        arena_free(s->planned_arena);
    s->planned_arena = NULL;
    return ok && plans_look(s, e);
}

/* Asks the destination about the relation the first time, within the pipeline. */
Plan *apply_plan(ApplySession *s, const Relation *rel, const Transaction *tx, const Change *change,
                 Error *e) {
    TableRecord *table = apply_record(s, rel, e);
    if (table == NULL || s->plans[rel->number] != NULL)
        return table == NULL ? NULL : s->plans[rel->number];
    LiveNote note = {NOTE_PLAN, tx, change};
    if ((s->end_form != NULL && !s->end_form(s->context, e)) || !apply_alter(s, table, rel, e) ||
        !plan_ask(s, rel, note, e))
        return NULL;
    return s->plans[rel->number];
}

/* ---- results ---- */

static void refusal_note(ApplySession *s, int64_t rows, const Error *e) {
    s->refusal.happened = true;
    s->refusal.rows = rows;
    snprintf(s->refusal.reason, sizeof s->refusal.reason, "%s", e->text);
}

/* Of a kept table a row that the source deletes need not be there. */
static bool may_be_absent(const ApplySession *s, const Change *change) {
    return change->kind == CHANGE_DELETE && s->plans[change->rel->number]->kept;
}

/* Under source-wins there is nothing to be done about it: it is counted as the conflict that it is. */
static bool absent_counts(ApplySession *s, const LiveNote *note) {
    const Change *change = note->about;
    bool wins = s->plans[change->rel->number]->choice.conflicts == CONFLICTS_SOURCE_WINS;
    if (change->kind != CHANGE_DELETE || !wins)
        return false;
    Error e;
    fail(&e, ERR_DATA, "no such row at the target");
    conflict_tell(s, note->of, change, &e, "nothing to delete");
    return true;
}

static void check_rows(ApplySession *s, const LiveNote *note, const PGresult *result, Error *e) {
    int64_t rows = pg_affected(result);
    if (rows == 1 || (rows == 0 && (may_be_absent(s, note->about) || absent_counts(s, note))))
        return;
    if (rows == 0 && ((const Change *)note->about)->kind == CHANGE_INSERT)
        fail(e, ERR_DATA, "the target did not take the row (a trigger or rule there?)");
    else if (rows == 0)
        fail(e, ERR_DATA, "no such row at the target");
    else
        fail(e, ERR_DATA, "%" PRId64 " rows at the target instead of one", rows);
    refusal_note(s, rows, e);
    apply_describe(note->of, note->about, e);
    fail_hint(e, "the target was changed by somebody else, or a trigger or rule there keeps the row: compare "
                 "the row on both sides, mend the target or set conflicts for this table, start again");
}

/* The server's own hint would be CASCADE, which empties what the source has not emptied (trap A5): its detail
 * names the table that is in the way. */
static void truncate_refused(const LiveNote *note, const PGresult *result, Error *e) {
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    apply_describe(note->of, note->about, e);
    if (strcmp(e->sqlstate, "0A000") == 0 && detail != NULL)
        fail_hint(e, "at the target: %s Drop the foreign key there, or make the table part of the job",
                  detail);
}

static void session_check(void *session, const LiveNote *note, const PGresult *result, Error *e) {
    ApplySession *s = session;
    bool refused = e->kind != ERR_NONE;
    if (note->kind >= (int)NOTE_OWNERS) {
        s->check(s->context, note, result, e);
        return;
    }
    switch ((SessionNote)note->kind) {
    case NOTE_PREPARE:
        if (refused)
            apply_describe(note->of, note->about, e);
        break;
    case NOTE_TRUNCATE:
        if (refused)
            truncate_refused(note, result, e);
        break;
    case NOTE_ROW:
        if (!refused) {
            check_rows(s, note, result, e);
            break;
        }
        refusal_note(s, -1, e);
        apply_describe(note->of, note->about, e);
        break;
    case NOTE_PLAN:
        if (!refused)
            plan_arrived(s, result, e);
        if (e->kind != ERR_NONE)
            apply_describe(note->of, note->about, e);
        break;
    case NOTE_SET:
    case NOTE_SET_PREPARED: catchup_check(s, note, result, e); break;
    case NOTE_DEAD_LETTER:
        if (refused)
            fail_context(e, "the dead letter of a change");
        break;
    case NOTE_BEGIN:
    case NOTE_OWNERS: break;
    }
}

/* ---- the session ---- */

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
    s->check = check;
    s->context = context;
    s->pg->when = RETRY_APPLYING;
    pg_give_up_when(s->pg, wait == NULL ? NULL : &wait->silent);
    s->live = live_new(s->pg, session_check, s);
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
    catchup_free(s->catchup);
    live_free(s->live);
    pg_close(s->pg);
    for (uint32_t plan = 0; plan < s->plan_capacity; plan++)
        plan_drop(s, plan);
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
    catchup_forget(s);
    catchup_sent_forget(s); /* behind the last answer that is held against it */
    return ok;
}

void apply_session_collect(ApplySession *s, bool collecting) {
    s->collecting = collecting;
    if (collecting && s->catchup == NULL)
        s->catchup = catchup_new();
    if (!collecting)
        live_bound(s->live, ROWS_SENT_BYTES_MAX);
}

bool apply_any(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    return s->collecting ? catchup_change(s, tx, change, e) : apply_change(s, tx, change, e);
}

bool apply_sent(ApplySession *s, Error *e) {
    return s->collecting ? apply_session_idle(s, e) && catchup_send(s, e) : true;
}

bool apply_settled(ApplySession *s, Error *e) {
    return (!s->collecting || catchup_flush(s, e)) && live_drain(s->live, e);
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
    catchup_sent_forget(s);
    return ok;
}
