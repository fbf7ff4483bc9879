#include "sink/postgres/apply_answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/sqlstate.h"
#include "sink/postgres/apply_plan.h"
#include "sink/postgres/catchup.h"
#include "sink/postgres/conflict.h"
#include "sink/postgres/refusal.h"

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
    refusal_describe(note->of, note->about, e);
    fail_hint(e, "the target was changed by somebody else, or a trigger or rule there keeps the row: compare "
                 "the row on both sides, mend the target or set conflicts for this table, start again");
}

/* The server's own hint would be CASCADE, which empties what the source has not emptied (trap A5): its detail
 * names the table that is in the way. */
static void truncate_refused(const LiveNote *note, const PGresult *result, Error *e) {
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    refusal_describe(note->of, note->about, e);
    if (sqlstate_is(e, SQLSTATE_FEATURE_NOT_SUPPORTED) && detail != NULL)
        fail_hint(e, "at the target: %s Drop the foreign key there, or make the table part of the job",
                  detail);
}

void apply_answer(ApplySession *s, const LiveNote *note, const PGresult *result, Error *e) {
    bool refused = e->kind != ERR_NONE;
    switch ((SessionNote)note->kind) {
    case NOTE_PREPARE:
        if (refused)
            refusal_describe(note->of, note->about, e);
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
        refusal_describe(note->of, note->about, e);
        break;
    case NOTE_PLAN:
        if (!refused)
            apply_plan_arrived(s, result, e);
        if (e->kind != ERR_NONE)
            refusal_describe(note->of, note->about, e);
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
