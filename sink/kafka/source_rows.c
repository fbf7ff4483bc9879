#include "sink/kafka/source_rows.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/sqlstate.h"

/* A question is small, and does not stand in a queue behind the users' locks for long. */
static const char SESSION_SQL[] = "SET statement_timeout = '30s'; SET lock_timeout = '5s'; SET jit = off;"
                                  " SET default_transaction_read_only = on";

/* Those of the columns $2, of types $3 and $4, that the table $1 still has, each with the operator of a unique index that it is
 * in; and whether the transactions $5, of which the stream says the lower half, are visible. */
static const char COLUMNS_SQL[] =
    "SELECT w.place, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),"
    " format('%I.%I', n.nspname, c.relname), c.relkind,"
    " (SELECT bool_and(txid_visible_in_snapshot(m.edge - 2147483648"
    "   + (x.id - m.edge % 4294967296 + 6442450944) % 4294967296, m.now))"
    "  FROM unnest($5::bigint[]) x (id), (SELECT txid_current_snapshot() AS now,"
    "   txid_snapshot_xmax(txid_current_snapshot()) AS edge OFFSET 0) m),"
    " (SELECT format('OPERATOR(%I.%s)', s.nspname, o.oprname) FROM pg_index i"
    "   CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) u (number, class)"
    "   JOIN pg_opclass k ON k.oid = u.class JOIN pg_amop f ON f.amopfamily = k.opcfamily"
    "    AND f.amopstrategy = 3 AND f.amoplefttype = k.opcintype AND f.amoprighttype = k.opcintype"
    "   JOIN pg_operator o ON o.oid = f.amopopr JOIN pg_namespace s ON s.oid = o.oprnamespace"
    "   WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid AND u.number = a.attnum"
    "   ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1)"
    " FROM unnest($2::text[], $3::oid[], $4::int4[]) WITH ORDINALITY w (name, type, modifier, place)"
    " JOIN pg_attribute a ON a.attrelid = $1::oid AND a.attname = w.name AND NOT a.attisdropped"
    "  AND a.atttypid = w.type AND a.atttypmod = w.modifier"
    " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY w.place";
enum ColumnField { C_PLACE, C_NAME, C_TYPE, C_TABLE, C_TABLE_KIND, C_VISIBLE, C_OPERATOR };

/* Whether the table is still what COLUMNS_SQL found: the statement holds a lock on it when it looks. */
#define SAME_SQL                                                                                             \
    "(SELECT count(*) FROM unnest($1::text[], $2::oid[], $3::int4[]) w (name, type, modifier)"               \
    " JOIN pg_attribute a ON a.attrelid = %u AND a.attname = w.name AND NOT a.attisdropped"                  \
    "  AND a.atttypid = w.type AND a.atttypmod = w.modifier) = %d AND %s::regclass = %u"
/* The LSN is taken behind the snapshot of the rows: what they show was committed before it. What is stored of a value may be
 * several times as long when it is read. */
#define STORED_BYTES "4194304"
enum RowField { R_NUMBER, R_FOUND, R_AT, R_SAME };
enum { P_NAMES, P_TYPES, P_MODIFIERS, P_KEYS };

enum {
    CONNECT_MS = 10000,
    REST_MS = 30000,
    VISIBLE_MS = 10000,
    VISIBLE_EVERY_MS = 20,
    ROUNDS_MAX = 5,
    TEXT_LIMIT = 1 << 28,
    PARAMS_MAX = P_KEYS + 32 /* INDEX_MAX_KEYS */
};

struct SourceRows {
    SinkOptions options;
    Pg *pg; /* NULL: not connected */
    int64_t used_ms;
};

/* ---- the connection ---- */

SourceRows *source_rows_new(const SinkOptions *options) {
    SourceRows *s = memory_new(sizeof *s);
    s->options = *options;
    return s;
}

static void leave(SourceRows *s) {
    pg_close(s->pg);
    s->pg = NULL;
}

void source_rows_free(SourceRows *s) {
    if (s == NULL)
        return;
    leave(s);
    free(s);
}

void source_rows_rest(SourceRows *s, int64_t now_ms) {
    if (s->pg != NULL && now_ms - s->used_ms >= REST_MS)
        leave(s);
}

static bool connected(SourceRows *s, Error *e) {
    const Config *cfg = s->options.cfg;
    PgAddress to = {.dsn = cfg->source.dsn, .side = "source", .job = cfg->name, .options = SESSION_SQL};
    if (s->pg == NULL)
        s->pg = pg_open(&to, CONNECT_MS, e);
    return s->pg != NULL;
}

/* ---- what there is still ---- */

/* Columns as arrays: those wanted, then those of the key. */
typedef struct Lists {
    Writer names, types, modifiers, xids;
} Lists;

static void column_add(Lists *lists, const Column *column) {
    const char *comma = lists->types.len == 0 ? "{" : ",";
    pg_write_item(&lists->names, column->name);
    writer_format(&lists->types, "%s%u", comma, column->type);
    writer_format(&lists->modifiers, "%s%d", comma, column->modifier);
}

static Lists lists_new(const RowsQuestion *q) {
    Lists lists = {writer_new(TEXT_LIMIT), writer_new(TEXT_LIMIT), writer_new(TEXT_LIMIT),
                   writer_new(TEXT_LIMIT)};
    writer_u8(&lists.names, '{');
    for (uint16_t at = 0; at < q->column_count; at++)
        column_add(&lists, &q->rel->columns[q->columns[at]]);
    for (uint16_t at = 0; at < q->key_count; at++)
        column_add(&lists, &q->rel->columns[q->key[at]]);
    for (int at = 0; at < q->xid_count; at++)
        writer_format(&lists.xids, "%s%u", at == 0 ? "{" : ",", q->xids[at]);
    writer_u8(&lists.names, '}');
    writer_u8(&lists.types, '}');
    writer_u8(&lists.modifiers, '}');
    writer_text(&lists.xids, q->xid_count == 0 ? "{}" : "}");
    return lists;
}

static void lists_free(Lists *lists) {
    writer_free(&lists->names);
    writer_free(&lists->types);
    writer_free(&lists->modifiers);
    writer_free(&lists->xids);
}

static PGresult *columns_look(SourceRows *s, const RowsQuestion *q, Lists *lists, Error *e) {
    char oid[16];
    snprintf(oid, sizeof oid, "%u", q->rel->oid);
    const char *const params[] = {oid, writer_string(&lists->names), writer_string(&lists->types),
                                  writer_string(&lists->modifiers), writer_string(&lists->xids)};
    return pg_query(s->pg, COLUMNS_SQL, 5, params, e);
}

static bool are_visible(const PGresult *columns) {
    return PQntuples(columns) == 0 || pg_cell_null(columns, 0, C_VISIBLE) ||
           pg_cell_bool(columns, 0, C_VISIBLE);
}

static bool is_ending(const SourceRows *s) {
    return s->options.ending != NULL && s->options.ending(s->options.context);
}

static PGresult *columns_ask(SourceRows *s, const RowsQuestion *q, Lists *lists, Error *e) {
    int64_t deadline_ms = clock_ms() + VISIBLE_MS;
    for (;;) {
        PGresult *columns = columns_look(s, q, lists, e);
        if (columns == NULL || are_visible(columns))
            return columns;
        PQclear(columns);
        if (is_ending(s)) {
            fail(e, ERR_STOPPED, "stopping");
            return NULL;
        }
        if (clock_ms() >= deadline_ms)
            break;
        clock_sleep_ms(VISIBLE_EVERY_MS);
    }
    fail(e, ERR_RETRY, "a transaction that is in the stream is not visible at the source yet");
    fail_hint(
        e, "its commit waits for a synchronous standby: see pg_stat_activity and synchronous_standby_names");
    return NULL;
}

/* Its row; -1: it is not there any more. */
static int row_of_place(const PGresult *columns, int place) {
    for (int row = 0; row < PQntuples(columns); row++)
        if (pg_cell_int(columns, row, C_PLACE) == place + 1)
            return row;
    return -1;
}

/* The whole key, in unique indexes, and something to read. */
static bool can_be_found(const PGresult *columns, const RowsQuestion *q) {
    for (uint16_t at = 0; at < q->key_count; at++) {
        int row = row_of_place(columns, q->column_count + at);
        if (row < 0 || pg_cell_null(columns, row, C_OPERATOR))
            return false;
    }
    return PQntuples(columns) > q->key_count;
}

/* ---- the rows ---- */

static void lateral_write(Writer *sql, const PGresult *columns, const RowsQuestion *q) {
    writer_text(sql, "LEFT JOIN LATERAL (SELECT true AS found, 0");
    for (uint16_t at = 0; at < q->column_count; at++) {
        int row = row_of_place(columns, at);
        if (row >= 0)
            writer_format(sql, " + COALESCE(pg_column_size(x.%s), 0)", pg_cell(columns, row, C_NAME));
    }
    writer_text(sql, " AS size");
    for (uint16_t at = 0; at < q->column_count; at++) {
        int row = row_of_place(columns, at);
        if (row >= 0)
            writer_format(sql, ", x.%s AS c%d", pg_cell(columns, row, C_NAME), at);
    }
    writer_format(sql, " FROM %s%s x", pg_cell(columns, 0, C_TABLE_KIND)[0] == 'p' ? "" : "ONLY ",
                  pg_cell(columns, 0, C_TABLE));
    for (uint16_t at = 0; at < q->key_count; at++) {
        int row = row_of_place(columns, q->column_count + at);
        writer_format(sql, "%s x.%s %s k.k%d::%s", at == 0 ? " WHERE" : " AND", pg_cell(columns, row, C_NAME),
                      pg_cell(columns, row, C_OPERATOR), at, pg_cell(columns, row, C_TYPE));
    }
    writer_text(sql, " OFFSET 0) t ON true");
}

static void rows_write(Writer *sql, Pg *pg, const PGresult *columns, const RowsQuestion *q) {
    Writer table = writer_new(TEXT_LIMIT);
    pg_write_literal(&table, pg, pg_cell(columns, 0, C_TABLE));
    writer_text(sql, "SELECT r.n, r.found, (SELECT pg_current_wal_insert_lsn()), ");
    writer_format(sql, SAME_SQL, q->rel->oid, PQntuples(columns), writer_string(&table), q->rel->oid);
    writer_free(&table);
    for (uint16_t at = 0; at < q->column_count; at++)
        if (row_of_place(columns, at) >= 0)
            writer_format(sql, ", r.c%d", at);
    writer_text(sql, " FROM (SELECT k.n, t.*, COALESCE(sum(t.size) OVER (ORDER BY k.n ROWS BETWEEN UNBOUNDED"
                     " PRECEDING AND 1 PRECEDING), 0) AS before FROM unnest(");
    for (uint16_t at = 0; at < q->key_count; at++)
        writer_format(sql, "%s$%d::text[]", at == 0 ? "" : ", ", P_KEYS + 1 + at);
    writer_text(sql, ") WITH ORDINALITY k (");
    for (uint16_t at = 0; at < q->key_count; at++)
        writer_format(sql, "k%d, ", at);
    writer_text(sql, "n) ");
    lateral_write(sql, columns, q);
    writer_text(sql, ") r WHERE r.before < " STORED_BYTES " ORDER BY r.n");
}

static void keys_write(Writer *out, const RowsQuestion *q, uint16_t column) {
    writer_u8(out, '{');
    for (int row = 0; row < q->count; row++)
        pg_write_item(out, q->keys[row * q->key_count + column].at);
    writer_u8(out, '}');
}

static PGresult *rows_ask(SourceRows *s, const RowsQuestion *q, Lists *lists, const PGresult *columns,
                          Error *e) {
    const char *params[PARAMS_MAX] = {[P_NAMES] = writer_string(&lists->names),
                                      [P_TYPES] = writer_string(&lists->types),
                                      [P_MODIFIERS] = writer_string(&lists->modifiers)};
    Writer keys[PARAMS_MAX - P_KEYS];
    Writer sql = writer_new(TEXT_LIMIT);
    rows_write(&sql, s->pg, columns, q);
    for (uint16_t at = 0; at < q->key_count; at++) {
        keys[at] = writer_new(TEXT_LIMIT);
        keys_write(&keys[at], q, at);
        params[P_KEYS + at] = writer_string(&keys[at]);
    }
    PGresult *rows = pg_query(s->pg, writer_string(&sql), P_KEYS + q->key_count, params, e);
    for (uint16_t at = 0; at < q->key_count; at++)
        writer_free(&keys[at]);
    writer_free(&sql);
    return rows;
}

Value source_rows_value(const RowsAnswer *answer, int row, uint16_t column) {
    const Value absent = {.kind = VALUE_ABSENT};
    char name[16];
    int at = row;
    if (answer->rows == NULL)
        return absent;
    snprintf(name, sizeof name, "c%d", column);
    int cell = PQfnumber(answer->rows, name);
    while (at < PQntuples(answer->rows) && pg_cell_int(answer->rows, at, R_NUMBER) <= row)
        at++; /* a key that is not unique any more has several */
    bool twice = at + 1 < PQntuples(answer->rows) && pg_cell_int(answer->rows, at + 1, R_NUMBER) == row + 1;
    if (cell < 0 || twice || at == PQntuples(answer->rows) || pg_cell_null(answer->rows, at, R_FOUND))
        return absent;
    if (pg_cell_null(answer->rows, at, cell))
        return (Value){.kind = VALUE_NULL};
    Slice text = {PQgetvalue(answer->rows, at, cell), (size_t)PQgetlength(answer->rows, at, cell)};
    return (Value){.kind = VALUE_TEXT, .bytes = text};
}

/* ---- the question ---- */

/* Between the two statements somebody has altered the table. */
static bool was_altered(const PGresult *rows, const Error *e) {
    if (rows != NULL)
        return !pg_cell_bool(rows, 0, R_SAME);
    return strncmp(e->sqlstate, "42", 2) == 0 && !sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE);
}

static bool round_run(SourceRows *s, const RowsQuestion *q, Lists *lists, RowsAnswer *out, bool *again,
                      Error *e) {
    PGresult *columns = columns_ask(s, q, lists, e);
    *again = false;
    if (columns == NULL)
        return false;
    *out = (RowsAnswer){.answered = q->count};
    if (can_be_found(columns, q)) {
        out->rows = rows_ask(s, q, lists, columns, e);
        *again = was_altered(out->rows, e);
    }
    bool ok = out->rows != NULL || !can_be_found(columns, q);
    PQclear(columns);
    if (out->rows == NULL)
        return ok;
    out->at = pg_cell_lsn(out->rows, 0, R_AT);
    out->answered = (int)pg_cell_int(out->rows, PQntuples(out->rows) - 1, R_NUMBER);
    return ok;
}

static bool rounds_run(SourceRows *s, const RowsQuestion *q, Lists *lists, RowsAnswer *out, Error *e) {
    bool again;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        bool ok = round_run(s, q, lists, out, &again, e);
        if (!again)
            return ok;
        PQclear(out->rows);
    }
    return fail(e, ERR_RETRY, "it is altered again and again");
}

static void failed(const RowsQuestion *q, Error *e) {
    fail_context(e, "kafka.toast: complete: values of table \"%s.%s\"", q->rel->schema, q->rel->name);
    if (sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE))
        fail_hint(e, "a session at the source holds an exclusive lock on the table: see its pg_locks");
    else if (sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE))
        fail_hint(e, "GRANT SELECT on the table to the source's user");
}

bool source_rows_ask(SourceRows *s, const RowsQuestion *question, RowsAnswer *out, Error *e) {
    if (!connected(s, e))
        return false;
    Lists lists = lists_new(question);
    bool ok = rounds_run(s, question, &lists, out, e);
    lists_free(&lists);
    s->used_ms = clock_ms();
    if (ok)
        return true;
    failed(question, e);
    leave(s);
    return false;
}
