#include "sink/postgres/catchup.h"

#include <inttypes.h>
#include <string.h>

#include "sink/postgres/collected.h"
#include "sink/postgres/set_statement.h"

static const char SQL_COLUMN_TYPES[] =
    "SELECT FROM pg_catalog.pg_attribute WHERE NOT attisdropped AND attrelid = ";

enum {
    ALONE_CHANGES = 1000,      /* so many changes of a table go one by one after its set was refused, */
    ALONE_CHANGES_MAX = 64000, /* twice as many after the next refusal, up to this */
    SET_BYTES = 256 * 1024,    /* of values in one statement: libpq keeps the memory of its largest message */
    SET_ROWS = 10000,
    COPY_ROWS = 100, /* for fewer, leaving the pipeline costs more than COPY wins */
    COPY_BYTES = 64 * 1024,
    SQL_LIMIT = 1 << 20
};

/* What a set's answer is held against; lives as long as what was collected. */
typedef struct Expected {
    Plan *plan;
    int64_t rows;
    const char *what;
} Expected;

/* ---- refusals ---- */

static void leave_alone(Plan *plan) {
    uint32_t next = plan->alone_next == 0 ? ALONE_CHANGES : plan->alone_next * 2;
    plan->alone_next = next > ALONE_CHANGES_MAX ? ALONE_CHANGES_MAX : next;
    plan->alone = plan->alone_next;
}

bool catchup_refused(Plan *plan, Error *e) {
    leave_alone(plan);
    return fail(e, ERR_DATA, "what was collected for table \"%s.%s\" does not fit", plan->rel->schema,
                plan->rel->name);
}

Plan *catchup_plan_of(const LiveNote *note) {
    bool is_set = note->kind == NOTE_SET || note->kind == NOTE_SET_PREPARED;
    return is_set ? ((const Expected *)note->about)->plan : NULL;
}

void catchup_check(ApplySession *s, const LiveNote *note, const PGresult *result, Error *e) {
    const Expected *expected = note->about;
    if (e->kind == ERR_NONE && (note->kind == NOTE_SET_PREPARED || pg_affected(result) == expected->rows))
        return;
    if (e->kind == ERR_NONE)
        fail(e, ERR_DATA, "%" PRId64 " rows instead of %" PRId64, pg_affected(result), expected->rows);
    fail_context(e, "%s of %" PRId64 " rows of %s", expected->what, expected->rows, expected->plan->table);
    if (e->kind == ERR_LIMIT) /* a set is larger than its rows */
        e->kind = ERR_DATA;
    if (s->hurried)
        s->doubted = expected->plan;
    else if (e->kind == ERR_DATA)
        leave_alone(expected->plan);
}

static LiveNote note_of(const ApplySession *s, Plan *plan, int64_t rows, const char *what) {
    Expected *expected = net_alloc(s->collected->sent, sizeof *expected);
    *expected = (Expected){plan, rows, what};
    return (LiveNote){NOTE_SET, NULL, expected};
}

/* ---- sets ---- */

static SetForm form_of(const ApplySession *s) {
    return apply_in_binary(s) ? SET_BINARY : SET_TEXT;
}

/* Which columns the statement writes and by which it finds this row. */
static void forms_write(const ApplySession *s, const Plan *plan, SetKind kind, const NetRow *row,
                        uint8_t *forms) {
    uint16_t columns = plan->rel->column_count;
    memset(forms, SET_LEFT_OUT, 2u * columns);
    for (uint16_t column = 0; column < columns; column++) {
        const PlanColumn *to = &plan->columns[column];
        bool set = kind == SET_UPDATE && !to->always && (row->sets_key || !to->key);
        if (to->writable && (kind == SET_INSERT || (set && value_is_known(&row->values[column]))))
            forms[column] = (uint8_t)form_of(s);
        if (kind != SET_INSERT && to->key)
            forms[columns + column] = (uint8_t)form_of(s);
    }
}

static bool shape_prepare(ApplySession *s, const Plan *plan, SetShape *shape, LiveNote note, Error *e) {
    if (shape->prepared)
        return true;
    Writer sql = writer_new(SQL_LIMIT);
    set_statement_write(&sql, plan, shape);
    bool sent = live_prepare(s->live, note, shape->name, writer_string(&sql), 0, NULL, e);
    writer_free(&sql);
    shape->prepared = sent;
    return sent;
}

static bool set_send(ApplySession *s, Plan *plan, SetShape *shape, int64_t rows, const char *what, Error *e) {
    LiveNote note = note_of(s, plan, rows, what);
    LiveNote preparing = {NOTE_SET_PREPARED, NULL, note.about};
    if (!apply_session_begin(s, e) || !shape_prepare(s, plan, shape, preparing, e))
        return false;
    int count = set_rows_values(s->collected->rows, s->values, s->lengths, s->formats);
    return live_send(s->live, note, shape->name, count, s->values, s->lengths, s->formats, e);
}

/* One step through a table's rows: which rows, how they are told apart afterwards. */
typedef struct Step {
    SetKind kind;
    bool (*takes)(const NetRow *row);
    bool *(*done)(NetRow *row);
    bool probes;
    const char *what;
} Step;

static bool takes_probe(const NetRow *row) {
    return row->kind == NET_PROBE && !row->sent;
}
static bool takes_delete(const NetRow *row) {
    return (row->kind == NET_DELETE || row->moved) && !row->deleted;
}
static bool takes_update(const NetRow *row) {
    return row->kind == NET_UPDATE && !row->sent;
}
static bool takes_insert(const NetRow *row) {
    return row->kind == NET_INSERT && !row->sent;
}
static bool *deleted_of(NetRow *row) {
    return &row->deleted;
}
static bool *sent_of(NetRow *row) {
    return &row->sent;
}

static const Step PROBES = {SET_DELETE, takes_probe, sent_of, true, "probe"};
static const Step DELETES = {SET_DELETE, takes_delete, deleted_of, false, "delete"};
static const Step UPDATES = {SET_UPDATE, takes_update, sent_of, false, "update"};
static const Step INSERTS = {SET_INSERT, takes_insert, sent_of, false, "insert"};

static NetRow *first_of(NetRow *row, const Step *step) {
    while (row != NULL && (row->bound || !step->takes(row)))
        row = row->next;
    return row;
}

/* The first row that is left and those like it, as many as fit into one statement. */
static bool chunk_send(ApplySession *s, Plan *plan, const Step *step, NetRow *first, Error *e) {
    uint8_t forms[2 * COLUMNS_MAX], other[2 * COLUMNS_MAX];
    SetRows *rows = s->collected->rows;
    size_t size = 2u * plan->rel->column_count;
    forms_write(s, plan, step->kind, first, forms);
    SetShape *shape = plan_set(plan, plan->arena, step->kind, forms, &s->next_statement);
    set_rows_begin(rows, plan, shape);
    for (NetRow *row = first; row != NULL; row = first_of(row->next, step)) {
        if (set_rows_count(rows) == SET_ROWS || set_rows_bytes(rows) >= SET_BYTES)
            break;
        if (step->kind == SET_UPDATE && row != first) {
            forms_write(s, plan, step->kind, row, other);
            if (memcmp(forms, other, size) != 0)
                continue;
        }
        *step->done(row) = true;
        if (!set_rows_add(rows, row))
            return catchup_refused(plan, e);
    }
    return set_send(s, plan, shape, step->probes ? 0 : set_rows_count(rows), step->what, e);
}

/* Without waiting. What there is no room for, and all that comes behind it, is sent with the rest. */
static bool has_room(const ApplySession *s) {
    return s->collected->waits || live_outstanding_bytes(s->live) + SET_BYTES <= s->sent_bytes_max;
}

static bool step_run(ApplySession *s, NetTable *table, const Step *step, Error *e) {
    NetRow *row = table->rows;
    while (has_room(s) && (row = first_of(row, step)) != NULL)
        if (!chunk_send(s, table->plan, step, row, e))
            return false;
    return true;
}

/* ---- COPY ---- */

static bool copy_rows(ApplySession *s, NetTable *table, const SetShape *shape, int64_t *count, Error *e) {
    Writer *out = &s->collected->copy;
    writer_reset(out);
    set_rows_copy_begin(out, shape);
    for (NetRow *row = first_of(table->rows, &INSERTS); row != NULL; row = first_of(row->next, &INSERTS)) {
        if (!set_rows_copy_add(out, table->plan, shape, row))
            return catchup_refused(table->plan, e);
        row->sent = true;
        (*count)++;
        if (out->len < COPY_BYTES)
            continue;
        if (!live_copy_data(s->live, writer_slice(out), e))
            return false;
        writer_reset(out);
    }
    set_rows_copy_end(out, shape);
    return live_copy_data(s->live, writer_slice(out), e);
}

/* A statement's arrays say of which type they are; binary COPY reads its values as of the type that the column has by now.
 * Behind the first one nobody can change that any more: the transaction holds the table's lock. */
static bool copy_types_check(ApplySession *s, Plan *plan, SetShape *shape, Error *e) {
    if (!shape->binary || shape->checked == s->locks)
        return true;
    shape->checked = s->locks;
    Writer sql = writer_new(SQL_LIMIT);
    const char *comma = "";
    writer_text(&sql, SQL_COLUMN_TYPES);
    pg_write_literal(&sql, s->pg, plan->table);
    writer_text(&sql, "::pg_catalog.regclass AND (attname, atttypid) IN (");
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (shape->forms[column] == SET_LEFT_OUT)
            continue;
        writer_format(&sql, "%s(", comma);
        pg_write_literal(&sql, s->pg, plan->columns[column].name);
        writer_format(&sql, ", %" PRIu32 ")", plan->columns[column].oid);
        comma = ", ";
    }
    writer_text(&sql, ")");
    LiveNote note = note_of(s, plan, shape->written, "types of the columns");
    bool ok = live_send_text(s->live, note, writer_string(&sql), 0, NULL, e);
    writer_free(&sql);
    return ok;
}

static bool copy_run(ApplySession *s, NetTable *table, NetRow *first, Error *e) {
    uint8_t forms[2 * COLUMNS_MAX];
    Plan *plan = table->plan;
    forms_write(s, plan, SET_INSERT, first, forms);
    SetShape *shape = plan_set(plan, plan->arena, SET_INSERT, forms, &s->next_statement);
    Writer sql = writer_new(SQL_LIMIT);
    set_statement_write_copy(&sql, plan, shape);
    int64_t count = 0;
    /* What is refused before it is not this table's. */
    bool clear = apply_session_begin(s, e) && live_sync(s->live, e);
    bool ok = clear && live_copy_begin(s->live, writer_string(&sql), e);
    writer_free(&sql);
    if (ok) {
        bool sent = copy_rows(s, table, shape, &count, e);
        LiveNote note = note_of(s, plan, count, "copy");
        ok = live_copy_end(s->live, sent, note, e) && sent && copy_types_check(s, plan, shape, e);
    } else if (clear && e->kind == ERR_DATA)
        leave_alone(plan);
    return ok;
}

static uint32_t count_of(NetTable *table, const Step *step, uint32_t enough) {
    uint32_t count = 0;
    for (NetRow *row = first_of(table->rows, step); row != NULL && count < enough;
         row = first_of(row->next, step))
        count++;
    return count;
}

/* ---- the run ---- */

/* COPY cannot be left to itself: whoever began it has to wait for its end. */
static bool copies(const ApplySession *s, NetTable *table) {
    return s->collected->waits && count_of(table, &INSERTS, COPY_ROWS) >= COPY_ROWS;
}

static bool table_run(ApplySession *s, NetTable *table, Error *e) {
    return step_run(s, table, &PROBES, e) && step_run(s, table, &DELETES, e) &&
           step_run(s, table, &UPDATES, e) &&
           (copies(s, table) ? copy_run(s, table, first_of(table->rows, &INSERTS), e)
                             : step_run(s, table, &INSERTS, e));
}

/* COPY waits for all answers before it: tables with one come first. */
static bool run_execute(ApplySession *s, bool waits, Error *e) {
    s->collected->waits = waits;
    live_bound(s->live, waits ? s->sent_bytes_max : SIZE_MAX);
    for (NetTable *table = s->collected->tables; table != NULL; table = table->next)
        if (copies(s, table) && !table_run(s, table, e))
            return false;
    for (NetTable *table = s->collected->tables; table != NULL; table = table->next)
        if (!table_run(s, table, e))
            return false;
    return true;
}

bool catchup_close(ApplySession *s, Error *e) {
    Collected *c = s->collected;
    NetTable *tables = NULL, *lacking = NULL;
    bool ok = net_changes(c->net) == 0 || net_settle(c->net, &tables, &lacking) ||
              catchup_refused(lacking->plan, e);
    net_detach(c->net); /* also when only a part of it is sent: what is done again is done from its changes */
    Net *closed = c->net;
    c->net = c->sent;
    c->sent = closed;
    c->tables = ok ? tables : NULL;
    return ok;
}

NetTable *catchup_closed(const ApplySession *s) {
    return s->collected->tables;
}

bool catchup_send_free(ApplySession *s, Error *e) {
    return run_execute(s, false, e);
}

bool catchup_send_rest(ApplySession *s, Error *e) {
    for (NetTable *table = s->collected->tables; table != NULL; table = table->next)
        for (NetRow *row = table->rows; row != NULL; row = row->next)
            row->bound = false;
    return run_execute(s, true, e);
}

void catchup_take_back(ApplySession *s) {
    for (NetTable *table = s->collected->tables; table != NULL; table = table->next)
        for (NetRow *row = table->rows; row != NULL; row = row->next)
            row->deleted = row->sent = false;
}

/* The answers to what was sent last are held against its net, whose place this one takes. */
static bool answered(ApplySession *s, Error *e) {
    if (s->collected->tables == NULL)
        return true;
    if (!live_drain(s->live, e))
        return false;
    collected_sent_forget(s->collected);
    return true;
}

bool catchup_send(ApplySession *s, Error *e) {
    return answered(s, e) && catchup_close(s, e) && catchup_send_rest(s, e);
}

bool catchup_flush(ApplySession *s, Error *e) {
    if (!apply_session_idle(s, e) || !catchup_send(s, e) || !live_drain(s->live, e))
        return false;
    collected_sent_forget(s->collected);
    return true;
}

bool apply_sent(ApplySession *s, Error *e) {
    return s->collecting ? apply_session_idle(s, e) && catchup_send(s, e) : true;
}

bool apply_settled(ApplySession *s, Error *e) {
    return (!s->collecting || catchup_flush(s, e)) && live_drain(s->live, e);
}
