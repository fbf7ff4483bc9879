#include "sink/postgres/apply_row.h"

#include <assert.h>

#include "sink/postgres/apply_ddl.h"
#include "sink/postgres/apply_plan.h"
#include "sink/postgres/statement.h"

/* Long enough for readers to leave, short enough not to keep those waiting who come behind it. Rows wait for as long as it
 * takes. */
static const char SQL_TRUNCATE_WAIT[] = "SET LOCAL lock_timeout = '10s'";
static const char SQL_TRUNCATE_OVER[] = "SET LOCAL lock_timeout = 0";

enum { SQL_LIMIT = 1024 * 1024 };

/* ---- parameters ---- */

typedef struct Parameters {
    const Value *list[2 * COLUMNS_MAX];
    uint32_t types[2 * COLUMNS_MAX]; /* as the plan knows them */
    int count;
} Parameters;

static void parameter_add(Parameters *p, const Plan *plan, uint16_t column, const Value *value) {
    p->types[p->count] = plan->columns[column].oid;
    p->list[p->count++] = value;
}

static void parameters_bind(ApplySession *s, const Parameters *p) {
    for (int at = 0; at < p->count; at++) {
        const Value *value = p->list[at];
        bool empty = value->bytes.len == 0; /* an empty slice may lie nowhere */
        s->values[at] = value->kind == VALUE_NULL ? NULL : empty ? "" : value->bytes.at;
        s->lengths[at] = value->kind == VALUE_NULL ? 0 : (int)value->bytes.len;
        s->formats[at] = value->kind == VALUE_BINARY ? 1 : 0;
    }
}

/* The old row's columns: from the old tuple where there is one, else the key has not changed and the new one
 * has it. */
static bool add_where(const Plan *plan, const Change *change, Parameters *p, Error *e) {
    const Value *old = change->row.before != NULL ? change->row.before : change->row.after;
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        bool used =
            plan->where == PLAN_WHERE_KEY ? plan->columns[column].key : plan->columns[column].writable;
        if (!used)
            continue;
        if (!value_is_known(&old[column]))
            return fail(e, ERR_DATA, "the source did not send the old value of column \"%s\"",
                        plan->rel->columns[column].name);
        parameter_add(p, plan, column, &old[column]);
    }
    return true;
}

static void add_written(const Plan *plan, const Change *change, const bool *written, Parameters *p) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (written[column])
            parameter_add(p, plan, column, &change->row.after[column]);
}

/* For a whole-row match: the first indexed column that has a value in the old row. */
static int finder_of(const Plan *plan, ShapeKind kind, const Change *change) {
    if (plan->where != PLAN_WHERE_WHOLE_ROW || kind == SHAPE_INSERT || kind == SHAPE_REPLACE)
        return -1;
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (plan->columns[column].indexed && plan->columns[column].writable &&
            change->row.before[column].kind != VALUE_NULL)
            return column;
    return -1;
}

static bool send_shape(ApplySession *s, Plan *plan, ShapeKind kind, const bool *written,
                       const Transaction *tx, const Change *change, const Parameters *p, Error *e) {
    Shape *shape =
        plan_shape(plan, plan->arena, kind, written, finder_of(plan, kind, change), &s->next_statement);
    if (!apply_session_begin(s, e))
        return false;
    if (!shape->prepared) {
        Writer sql = writer_new(SQL_LIMIT);
        uint16_t count = statement_write(&sql, plan, shape);
        assert(count == p->count);
        LiveNote note = {NOTE_PREPARE, tx, change};
        /* A binary value is read as of the type that was looked at, whatever the column has become since. */
        bool sent = live_prepare(s->live, note, shape->name, writer_string(&sql),
                                 apply_in_binary(s) ? p->count : 0, p->types, e);
        writer_free(&sql);
        if (!sent)
            return false;
        shape->prepared = true;
    }
    parameters_bind(s, p);
    LiveNote note = {NOTE_ROW, tx, change};
    return live_send(s->live, note, shape->name, p->count, s->values, s->lengths, s->formats, e);
}

/* ---- one change ---- */

/* The new value of a column, or the old one when that is sent and the same. */
static const Value *value_after(const Change *change, uint16_t column) {
    const Value *after = &change->row.after[column];
    bool from_old = after->kind == VALUE_UNCHANGED && change->row.before != NULL &&
                    value_is_known(&change->row.before[column]);
    return from_old ? &change->row.before[column] : after;
}

/* The whole new row. */
static bool apply_row(ApplySession *s, Plan *plan, ShapeKind kind, const Transaction *tx,
                      const Change *change, Error *e) {
    bool written[COLUMNS_MAX];
    Parameters p;
    p.count = 0;
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        const Value *value = value_after(change, column);
        written[column] = plan->columns[column].writable;
        if (!written[column])
            continue;
        if (!value_is_known(value))
            return fail(e, ERR_DATA, "the source did not send the value of column \"%s\"",
                        plan->rel->columns[column].name);
        parameter_add(&p, plan, column, value);
    }
    return send_shape(s, plan, kind, written, tx, change, &p, e);
}

static bool same_value(const Value *a, const Value *b) {
    return a->kind == b->kind && (a->kind == VALUE_NULL || slice_equal(a->bytes, b->bytes));
}

/* True when a GENERATED ALWAYS identity column has, or may have, another value than at the destination:
 * UPDATE cannot set it (trap B9). */
static bool always_changed(const Plan *plan, const Change *change) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!plan->columns[column].always || change->row.after[column].kind == VALUE_UNCHANGED)
            continue;
        if (change->row.before == NULL) {
            if (!plan->rel->columns[column].key)
                return true; /* nobody says what it was */
        } else if (change->row.before[column].kind == VALUE_ABSENT ||
                   !same_value(&change->row.before[column], &change->row.after[column])) {
            return true;
        }
    }
    return false;
}

bool apply_reinserts(const Plan *plan, const Change *change) {
    return change->kind == CHANGE_UPDATE && plan->has_always && always_changed(plan, change);
}

static bool apply_update(ApplySession *s, Plan *plan, const Transaction *tx, const Change *change, Error *e) {
    bool written[COLUMNS_MAX], any_settable = false;
    Parameters p;
    p.count = 0;
    ShapeKind kind = apply_reinserts(plan, change) ? SHAPE_REINSERT : SHAPE_UPDATE;
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        const PlanColumn *to = &plan->columns[column];
        bool key_kept = change->row.before == NULL && plan->rel->columns[column].key;
        bool settable = to->writable && (kind == SHAPE_REINSERT || !to->always);
        any_settable = any_settable || settable;
        written[column] = settable && !key_kept && value_is_known(&change->row.after[column]);
    }
    if (!any_settable)
        return true; /* only an identity column, and that has not changed */
    add_written(plan, change, written, &p);
    return add_where(plan, change, &p, e) && send_shape(s, plan, kind, written, tx, change, &p, e);
}

/* The destination's row may be another version, have another key, or not be there. A value that the source did not send
 * can only come from the row itself. */
static bool apply_kept_update(ApplySession *s, Plan *plan, const Transaction *tx, const Change *change,
                              Error *e) {
    bool written[COLUMNS_MAX], whole = true;
    Parameters p;
    p.count = 0;
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        const Value *value = value_after(change, column);
        written[column] = plan->columns[column].writable && value_is_known(value);
        whole = whole && written[column] == plan->columns[column].writable;
        if (written[column])
            parameter_add(&p, plan, column, value);
    }
    return add_where(plan, change, &p, e) &&
           send_shape(s, plan, whole ? SHAPE_REPLACE_OLD : SHAPE_REINSERT_OVER, written, tx, change, &p, e);
}

static bool apply_delete(ApplySession *s, Plan *plan, const Transaction *tx, const Change *change, Error *e) {
    bool written[COLUMNS_MAX] = {false};
    Parameters p;
    p.count = 0;
    if (change->row.before == NULL)
        return fail(e, ERR_DATA, "the source did not send the old row");
    return add_where(plan, change, &p, e) && send_shape(s, plan, SHAPE_DELETE, written, tx, change, &p, e);
}

/* Without a key the old row goes first, which was found; a row that was not is no more than missing. */
bool apply_over(ApplySession *s, Plan *plan, const Transaction *tx, const Change *change, bool found,
                Error *e) {
    if (change->kind == CHANGE_UPDATE && plan->where == PLAN_WHERE_KEY)
        return apply_kept_update(s, plan, tx, change, e);
    bool goes_first = change->kind == CHANGE_UPDATE && found;
    return (!goes_first || apply_delete(s, plan, tx, change, e)) &&
           apply_row(s, plan, SHAPE_REPLACE, tx, change, e);
}

/* All listed tables that are due and take it, in one statement, never CASCADE (trap A5). */
static bool apply_truncate(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    Writer sql = writer_new(SQL_LIMIT);
    uint32_t due = 0;
    bool ok = true;
    writer_text(&sql, "TRUNCATE ");
    for (uint32_t table = 0; ok && table < change->truncate.count; table++) {
        const TableRecord *record = apply_record(s, change->truncate.rels[table], e);
        if (record != NULL && !apply_is_due(record, tx))
            continue;
        Plan *plan = record == NULL ? NULL : apply_plan(s, change->truncate.rels[table], tx, change, e);
        ok = plan != NULL;
        if (!ok)
            continue;
        if (!plan_takes(plan, CHANGE_TRUNCATE)) {
            s->counts.left_out++;
            continue;
        }
        writer_format(&sql, "%s%s%s", due++ == 0 ? "" : ", ", plan->partitioned ? "" : "ONLY ", plan->table);
    }
    writer_text(&sql, change->truncate.restart_identity ? " RESTART IDENTITY RESTRICT" : " RESTRICT");
    LiveNote note = {NOTE_TRUNCATE, tx, change};
    if (ok && due > 0)
        ok = apply_session_begin(s, e) && live_send_text(s->live, note, SQL_TRUNCATE_WAIT, 0, NULL, e) &&
             live_send_text(s->live, note, writer_string(&sql), 0, NULL, e) &&
             live_send_text(s->live, note, SQL_TRUNCATE_OVER, 0, NULL, e);
    writer_free(&sql);
    return ok;
}

bool apply_change(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    if (change->kind == CHANGE_TRUNCATE)
        return apply_truncate(s, tx, change, e);
    if (apply_is_ddl(s, change))
        return apply_ddl(s, tx, change, e);
    if (change->kind == CHANGE_MESSAGE || change->kind == CHANGE_BEAT)
        return true;
    const TableRecord *record = apply_record(s, change->rel, e);
    if (record == NULL)
        return false;
    if (!apply_is_due(record, tx))
        return true;
    Plan *plan = apply_plan(s, change->rel, tx, change, e);
    if (plan == NULL)
        return false;
    if (!plan_takes(plan, change->kind)) {
        s->counts.left_out++;
        s->left_out = true;
        return true;
    }
    if (change->kind == CHANGE_INSERT)
        return apply_row(s, plan, plan->kept ? SHAPE_REPLACE : SHAPE_INSERT, tx, change, e);
    if (plan->where == PLAN_WHERE_NONE)
        return fail(e, ERR_DATA, "the table has no replica identity");
    if (change->kind == CHANGE_UPDATE && plan->kept)
        return apply_kept_update(s, plan, tx, change, e);
    return change->kind == CHANGE_UPDATE ? apply_update(s, plan, tx, change, e)
                                         : apply_delete(s, plan, tx, change, e);
}
