#include "sink/postgres/conflict.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sqlstate.h"
#include "sink/postgres/apply_plan.h"
#include "sink/postgres/apply_row.h"
#include "sink/postgres/refusal.h"

static const char SQL_SAVE[] = "SAVEPOINT walferry_row";
static const char SQL_RELEASE[] = "RELEASE SAVEPOINT walferry_row";
static const char SQL_BACK[] = "ROLLBACK TO SAVEPOINT walferry_row";
static const char SQL_LETTER[] =
    "INSERT INTO @.dead_letter (job, lsn, seq, xid, schema_name, table_name, operation, sqlstate,"
    " reason, old_key, new_values) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, ";

enum { TOLD_A_SECOND = 10, LETTER_FIXED = 9, SQL_LIMIT = 1 << 20 };

/* ---- what is told of it ---- */

void conflict_tell(ApplySession *s, const Transaction *tx, const Change *change, const Error *why,
                   const char *outcome) {
    int64_t second = clock_ms() / 1000;
    s->counts.conflicts++;
    if (second != s->told_second) {
        if (s->untold > 0)
            log_warn("%" PRIu32 " more conflicts", s->untold);
        s->told_second = second;
        s->told = s->untold = 0;
    }
    if (s->told == TOLD_A_SECOND) {
        s->untold++;
        return;
    }
    s->told++;
    Error placed = *why;
    refusal_describe(tx, change, &placed);
    log_warn("conflict: %s: %s", placed.text, outcome);
}

/* ---- savepoints ---- */

static bool send_alone(ApplySession *s, const char *sql, Error *e) {
    LiveNote note = {NOTE_BEGIN, NULL, NULL};
    return live_send_text(s->live, note, sql, 0, NULL, e);
}

static bool save(ApplySession *s, Error *e) {
    s->refusal = (Refusal){.rows = -1};
    return apply_session_begin(s, e) && send_alone(s, SQL_SAVE, e);
}

/* One statement at a time is under way here: what was prepared for it is there, or it could not even be prepared, which is
 * nothing of the row's. */
static bool back(ApplySession *s, Error *e) {
    return live_return_quickly(s->live, SQL_BACK, e) && send_alone(s, SQL_RELEASE, e);
}

/* ---- what becomes of it ---- */

/* The statement of a letter in the making. The destination turns the values into text, since those of a binary stream are
 * none. */
typedef struct Letter {
    Writer sql;
    const char **values;
    int *lengths, *formats;
    int count;
} Letter;

static Letter letter_new(uint16_t columns) {
    size_t most = LETTER_FIXED + 2u * columns;
    return (Letter){.sql = writer_new(SQL_LIMIT),
                    .values = memory_raw(most * sizeof(char *)),
                    .lengths = memory_raw(most * sizeof(int)),
                    .formats = memory_raw(most * sizeof(int))};
}

static void letter_free(Letter *l) {
    writer_free(&l->sql);
    free(l->values);
    free(l->lengths);
    free(l->formats);
}

static void letter_add(Letter *l, const char *value, size_t length, bool binary) {
    l->values[l->count] = value;
    l->lengths[l->count] = (int)length;
    l->formats[l->count++] = binary ? 1 : 0;
}

static void letter_add_text(Letter *l, const char *text) {
    letter_add(l, text, text == NULL ? 0 : strlen(text), false);
}

static void letter_add_value(Letter *l, const PlanColumn *column, const Value *value) {
    bool binary = value->kind == VALUE_BINARY, empty = value->bytes.len == 0;
    letter_add(l, value->kind == VALUE_NULL ? NULL : empty ? "" : value->bytes.at, value->bytes.len, binary);
    writer_format(&l->sql, "$%d%s%s::text", l->count, binary ? "::" : "", binary ? column->type : "");
}

static bool is_in_letter(const Plan *plan, uint16_t column, const Value *value, bool key_only) {
    bool sent = value->kind != VALUE_ABSENT && value->kind != VALUE_UNCHANGED;
    return sent && (!key_only || plan->rel->columns[column].key);
}

/* {"id" : "1", "note" : null} of the columns that were sent; NULL when there are none. */
static void letter_add_object(Letter *l, Pg *pg, const Plan *plan, const Value *values, bool key_only) {
    const char *before = "pg_catalog.json_object(ARRAY[";
    uint16_t count = values == NULL ? 0 : plan->rel->column_count;
    for (uint16_t column = 0; column < count; column++) {
        if (!is_in_letter(plan, column, &values[column], key_only))
            continue;
        writer_text(&l->sql, before);
        pg_write_literal(&l->sql, pg, plan->rel->columns[column].name);
        before = ", ";
    }
    if (before[0] == 'p') {
        writer_text(&l->sql, "NULL");
        return;
    }
    before = "], ARRAY[";
    for (uint16_t column = 0; column < count; column++) {
        if (!is_in_letter(plan, column, &values[column], key_only))
            continue;
        writer_text(&l->sql, before);
        letter_add_value(l, &plan->columns[column], &values[column]);
        before = ", ";
    }
    writer_text(&l->sql, "])::text");
}

static void letter_write(ApplySession *s, Letter *l, const Plan *plan, const Change *change) {
    char *sql = state_sql(s->pg, s->options->cfg, SQL_LETTER);
    writer_text(&l->sql, sql);
    free(sql);
    letter_add_object(l, s->pg, plan, change->row.before != NULL ? change->row.before : change->row.after,
                      true);
    writer_text(&l->sql, ", ");
    letter_add_object(l, s->pg, plan, change->row.after, false);
    writer_text(&l->sql, ")");
}

static bool send_letter(ApplySession *s, const Plan *plan, const Transaction *tx, const Change *change,
                        const Error *why, Error *e) {
    static const char *const operations[] = {"insert", "update", "delete"};
    char lsn[LSN_TEXT_SIZE], seq[16], xid[16];
    snprintf(seq, sizeof seq, "%" PRIu32, change->seq);
    snprintf(xid, sizeof xid, "%" PRIu32, tx->xid);
    const char *const fixed[LETTER_FIXED] = {s->options->cfg->name,
                                             lsn_text(tx->end, lsn),
                                             seq,
                                             xid,
                                             change->rel->schema,
                                             change->rel->name,
                                             operations[change->kind],
                                             why->sqlstate[0] == '\0' ? NULL : why->sqlstate,
                                             why->text};
    Letter letter = letter_new(plan->rel->column_count);
    for (int at = 0; at < LETTER_FIXED; at++)
        letter_add_text(&letter, fixed[at]);
    letter_write(s, &letter, plan, change);
    LiveNote note = {NOTE_DEAD_LETTER, tx, change};
    bool ok = apply_session_begin(s, e) &&
              live_prepare(s->live, note, "", writer_string(&letter.sql), 0, NULL, e) &&
              live_send(s->live, note, "", letter.count, letter.values, letter.lengths, letter.formats, e) &&
              live_drain(s->live, e);
    letter_free(&letter);
    return ok;
}

static bool leave_out(ApplySession *s, const Plan *plan, const Transaction *tx, const Change *change,
                      const Error *why, Error *e) {
    if (!FAULT("apply.before_dead_letter", e) || !send_letter(s, plan, tx, change, why, e))
        return false;
    s->counts.dead_letters++;
    s->left_out = true;
    conflict_tell(s, tx, change, why, "left out, see walferry dead-letters");
    return FAULT("apply.after_dead_letter", e);
}

/* The error as it was before its place was put in front of it. */
static Error bare(const ApplySession *s, const Error *e) {
    Error why = *e;
    if (s->refusal.happened)
        snprintf(why.text, sizeof why.text, "%s", s->refusal.reason);
    return why;
}

/* Behind the savepoint's roll-back. */
static bool let_source_win(ApplySession *s, Plan *plan, const Transaction *tx, const Change *change,
                           const Refusal *refusal, const Error *why, Error *e) {
    bool unique = refusal->rows < 0 && sqlstate_is(why, SQLSTATE_UNIQUE_VIOLATION);
    bool update = change->kind == CHANGE_UPDATE && refusal->rows >= 0;
    if (!refusal->happened)
        return leave_out(s, plan, tx, change, why, e);
    if (change->kind == CHANGE_DELETE || (!unique && !update)) {
        *e = *why;
        return false;
    }
    bool found = refusal->rows != 0;
    if (!save(s, e))
        return false;
    if (apply_over(s, plan, tx, change, found, e) && live_drain(s->live, e)) {
        conflict_tell(s, tx, change, why, "the source's row takes its place");
        return send_alone(s, SQL_RELEASE, e);
    }
    bool unmade = e->kind == ERR_DATA && (!live_has_failed(s->live) || s->refusal.rows == 0);
    if (!unmade || change->kind != CHANGE_UPDATE)
        return false;
    error_clear(e);
    return back(s, e) && leave_out(s, plan, tx, change, why, e);
}

static bool attempt(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    return apply_change(s, tx, change, e) && live_drain(s->live, e);
}

bool conflict_change(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    if (change->kind > CHANGE_DELETE)
        return attempt(s, tx, change, e);
    const TableRecord *record = apply_record(s, change->rel, e);
    if (record == NULL || !apply_is_due(record, tx))
        return record != NULL;
    Plan *plan = apply_plan(s, change->rel, tx, change, e);
    if (plan == NULL)
        return false;
    bool findable = plan->where != PLAN_WHERE_NONE || change->kind == CHANGE_INSERT;
    if (plan->choice.conflicts == CONFLICTS_STOP || !findable)
        return attempt(s, tx, change, e);
    if (!save(s, e))
        return false;
    if (attempt(s, tx, change, e))
        return send_alone(s, SQL_RELEASE, e);
    bool unsent = e->kind == ERR_DATA && !live_has_failed(s->live);
    bool refused = s->refusal.happened && (s->refusal.rows >= 0 || refusal_is_conflict(e));
    if (!unsent && !refused)
        return false;
    const Refusal refusal = s->refusal;
    const Error why = bare(s, e);
    error_clear(e);
    if (!back(s, e))
        return false;
    return plan->choice.conflicts == CONFLICTS_SKIP ? leave_out(s, plan, tx, change, &why, e)
                                                    : let_source_win(s, plan, tx, change, &refusal, &why, e);
}
