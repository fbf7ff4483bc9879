#include "snapshot/copy.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "snapshot/relay.h"
#include "snapshot/session.h"

#define DUPLICATE "23505"

enum {
    SQL_MAX_BYTES = 4 << 20, /* 1600 columns with names of 63 bytes, quoted, several times over */
    SOURCE_QUERIES = 8       /* of one table or range: its transaction, lock, proofs and COPY */
};

static const char SQL_TARGET_BEGIN[] =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = error";
static const char SQL_LOCK_TIMEOUT[] = "SET LOCAL lock_timeout = '10s'";

/* Whatever the server's settings and its statistics say, a range reads its own blocks and no others. */
static const char SQL_BY_PLACE[] = "SET LOCAL enable_tidscan = on; SET LOCAL enable_seqscan = off;"
                                   " SET LOCAL max_parallel_workers_per_gather = 0";

/* Trap A10: pg_class is read under the imported snapshot, pg_relation_filenode() and to_regclass() answer for
 * now. */
static const char SQL_PROOF[] =
    "SELECT c.relfilenode IS NOT DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid),"
    " pg_catalog.to_regclass($2)::oid IS NOT DISTINCT FROM c.oid"
    " FROM pg_catalog.pg_class c WHERE c.oid = $1::oid";

/* TRUNCATE refuses a table that others refer to, also when those are empty. */
static const char SQL_REFERRED[] = "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f'"
                                   " AND confrelid = pg_catalog.to_regclass($1) AND conrelid <> confrelid)";
#define KEPT_ROWS "pg_temp.walferry_rows"

static const char SQL_SOURCE_COLUMNS[] =
    "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnum, a.atttypid, a.atttypmod,"
    " t.typtype = 'd'"
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

static const char SQL_TARGET_COLUMNS[] =
    "SELECT a.attname, CASE WHEN s.nspname = 'pg_catalog' THEN '' ELSE s.nspname END,"
    " CASE WHEN s.nspname = 'pg_catalog' THEN pg_catalog.format_type(a.atttypid, a.atttypmod)"
    " ELSE pg_catalog.substr(pg_catalog.format_type(a.atttypid, a.atttypmod),"
    "                        pg_catalog.length(pg_catalog.quote_ident(s.nspname)) + 2) END"
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " JOIN pg_catalog.pg_namespace s ON s.oid = t.typnamespace"
    " WHERE a.attrelid = pg_catalog.to_regclass($1)::oid AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

/* One table on its way. */
typedef struct Copying {
    const CopyJob *job;
    const Table *table;
    Pg *source, *target;
    Writer name, target_name;       /* quoted, with its schema */
    Writer columns, target_columns; /* "a, b", or empty when there is none to name */
    bool binary;
    bool frozen; /* the same transaction truncated the table */
} Copying;

static bool definition_changed(const Table *table, Error *e) {
    fail(e, ERR_DATA, "table \"%s\" changed its definition since the schema was copied", table->full_name);
    return fail_hint(e, "undo the change on one side, or begin again: walferry cleanup, then walferry run");
}

static bool table_missing(const Table *table, Error *e) {
    fail(e, ERR_DATA, "table \"%s\" was dropped or renamed since the snapshot was taken", table->full_name);
    return fail_hint(e, "begin again without it: walferry cleanup, then walferry run");
}

/* Generated columns cannot be named in COPY. Without a list COPY takes all the others: none is left, or none
 * was. */
static void columns_write(Copying *c) {
    bool binary = true;
    int named = 0;
    for (int at = 0; at < c->table->column_count; at++) {
        const TableColumn *column = &c->table->columns[at];
        if (column->generated || !column->taken)
            continue;
        const char *comma = named++ == 0 ? "" : ", ";
        writer_text(&c->columns, comma);
        pg_write_name(&c->columns, c->source, column->name);
        writer_text(&c->target_columns, comma);
        pg_write_name(&c->target_columns, c->target, column->target_name);
        binary = binary && column->binary_safe;
    }
    c->binary = binary && named > 0;
}

/* ---- the source ---- */

static bool table_lock(Copying *c, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_format(&sql, "LOCK TABLE ONLY %s IN ACCESS SHARE MODE", writer_string(&c->name));
    bool ok = pg_run(c->source, SQL_LOCK_TIMEOUT, e) &&
              session_run(c->source, writer_string(&sql), c->job->stop, e);
    writer_free(&sql);
    if (!ok && (strcmp(e->sqlstate, "42P01") == 0 || strcmp(e->sqlstate, "3F000") == 0))
        return table_missing(c->table, e);
    return ok;
}

/* Are these the rows of the snapshot? Only asked under the lock. */
static CopyResult rewrite_check(Copying *c, Error *e) {
    char oid[16];
    snprintf(oid, sizeof oid, "%u", c->table->oid);
    const char *const params[] = {oid, writer_string(&c->name)};
    PGresult *rows = pg_query(c->source, SQL_PROOF, 2, params, e);
    CopyResult result = COPY_FAILED;
    if (rows == NULL)
        return COPY_FAILED;
    if (PQntuples(rows) == 0)
        fail(e, ERR_DATA, "table \"%s\" was made after the snapshot was taken", c->table->full_name);
    else if (!pg_cell_bool(rows, 0, 1))
        table_missing(c->table, e);
    else
        result = pg_cell_bool(rows, 0, 0) ? COPY_DONE : COPY_REWRITTEN;
    PQclear(rows);
    return result;
}

/* The names and types of a column list against the selection's. */
static bool columns_agree(const Table *table, const PGresult *rows) {
    if (PQntuples(rows) != table->column_count)
        return false;
    for (int at = 0; at < table->column_count; at++)
        if (strcmp(pg_cell(rows, at, 0), table->columns[at].name) != 0 ||
            strcmp(pg_cell(rows, at, 1), table->columns[at].type_text) != 0)
            return false;
    return true;
}

/* What the parser sees now, against the columns of the snapshot. It shows a domain as its base type. */
static bool columns_unchanged(const PGresult *now, const PGresult *then) {
    if (PQnfields(now) != PQntuples(then))
        return false;
    for (int at = 0; at < PQnfields(now); at++) {
        bool domain = pg_cell_bool(then, at, 5);
        if (strcmp(PQfname(now, at), pg_cell(then, at, 0)) != 0 ||
            PQftablecol(now, at) != pg_cell_int(then, at, 2))
            return false;
        if (!domain && (PQftype(now, at) != (Oid)pg_cell_int(then, at, 3) ||
                        PQfmod(now, at) != pg_cell_int(then, at, 4)))
            return false;
    }
    return true;
}

/* The result of describing "SELECT *": it comes from the catalogs of now, while a query on them would read
 * those of the snapshot. */
static PGresult *columns_now(Copying *c, Error *e) {
    PGconn *conn = c->source->conn;
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_format(&sql, "SELECT * FROM ONLY %s", writer_string(&c->name));
    PGresult *result = PQprepare(conn, "", writer_string(&sql), 0, NULL);
    writer_free(&sql);
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        PQclear(result);
        result = PQdescribePrepared(conn, "");
    }
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        return result;
    pg_failed(c->source, result, e);
    PQclear(result);
    return NULL;
}

static bool source_columns_check(Copying *c, Error *e) {
    char oid[16];
    snprintf(oid, sizeof oid, "%u", c->table->oid);
    const char *const params[] = {oid};
    PGresult *then = pg_query(c->source, SQL_SOURCE_COLUMNS, 1, params, e);
    PGresult *now = then == NULL ? NULL : columns_now(c, e);
    bool ok = now != NULL;
    if (ok && (!columns_agree(c->table, then) || !columns_unchanged(now, then)))
        ok = definition_changed(c->table, e);
    PQclear(then);
    PQclear(now);
    return ok;
}

/* COPY_DONE: the table is locked, its rows are those of the snapshot and its columns those we know. */
static CopyResult source_begin(Copying *c, Error *e) {
    if (!session_turn(c->job->throttle, SOURCE_QUERIES, c->job->stop, e) ||
        !session_import(c->source, c->job->snapshot, e) || !table_lock(c, e))
        return COPY_FAILED;
    CopyResult result = rewrite_check(c, e);
    if (result == COPY_DONE && !source_columns_check(c, e))
        return COPY_FAILED;
    return result;
}

/* ---- the destination ---- */

/* An extension's types may have stayed in their schema when the others moved. */
static bool target_has(const PGresult *rows, const TableColumn *column) {
    for (int row = 0; row < PQntuples(rows); row++) {
        const char *schema = pg_cell(rows, row, 1);
        if (strcmp(pg_cell(rows, row, 0), column->target_name) == 0)
            return strcmp(pg_cell(rows, row, 2), column->type_name) == 0 &&
                   (strcmp(schema, column->target_type_schema) == 0 ||
                    strcmp(schema, column->type_schema) == 0);
    }
    return false;
}

/* What is taken has to be there; under a column list the destination may have more than that. Without one the order
 * does not matter either: rows travel by names. */
static bool target_columns_agree(const Table *table, const PGresult *rows) {
    int taken = 0;
    for (int at = 0; at < table->column_count; at++) {
        const TableColumn *column = &table->columns[at];
        taken += column->taken ? 1 : 0;
        if (column->taken && !target_has(rows, column))
            return false;
    }
    return table->listed || taken == PQntuples(rows);
}

static bool target_columns_check(Copying *c, Error *e) {
    const char *const params[] = {writer_string(&c->target_name)};
    PGresult *rows = pg_query(c->target, SQL_TARGET_COLUMNS, 1, params, e);
    if (rows == NULL)
        return false;
    bool ok = target_columns_agree(c->table, rows) ? true : definition_changed(c->table, e);
    PQclear(rows);
    return ok;
}

/* True: the table is not of the job's making, and others refer to it. Where it has rows, the references do not act: check
 * has seen to it that the session may take the replica role. */
static bool referred_look(Copying *c, bool *referred, Error *e) {
    const char *const params[] = {writer_string(&c->target_name)};
    *referred = false;
    if (c->job->existing == EXISTING_FAIL && c->job->cfg->phases.schema)
        return true;
    PGresult *rows = pg_query(c->target, SQL_REFERRED, 1, params, e);
    if (rows != NULL)
        *referred = pg_cell_bool(rows, 0, 0);
    PQclear(rows);
    return rows != NULL;
}

/* Waits for the transaction of an earlier attempt that is not over yet. */
static CopyResult range_begin(Copying *c, Error *e) {
    if (!pg_run(c->target, SQL_TARGET_BEGIN, e))
        return COPY_FAILED;
    if (!state_object_note(c->target, c->job->cfg, c->job->range->note, c->table->full_name, e))
        return strcmp(e->sqlstate, DUPLICATE) == 0 ? COPY_THERE : COPY_FAILED;
    return target_columns_check(c, e) ? COPY_DONE : COPY_FAILED;
}

static CopyResult target_begin(Copying *c, Error *e) {
    if (c->job->range != NULL)
        return range_begin(c, e);
    Writer sql = writer_new(SQL_MAX_BYTES);
    bool referred, ok = pg_run(c->target, SQL_TARGET_BEGIN, e) && referred_look(c, &referred, e);
    c->frozen = ok && !referred && c->job->existing != EXISTING_KEEP;
    if (c->frozen)
        writer_format(&sql, "TRUNCATE ONLY %s", writer_string(&c->target_name));
    else if (c->job->existing == EXISTING_KEEP)
        writer_format(&sql,
                      "CREATE TEMPORARY TABLE " KEPT_ROWS " ON COMMIT DROP AS SELECT %s FROM %s"
                      " WITH NO DATA",
                      writer_string(&c->target_columns), writer_string(&c->target_name));
    else
        writer_format(&sql, "DELETE FROM ONLY %s", writer_string(&c->target_name));
    ok = ok && session_run(c->target, writer_string(&sql), c->job->stop, e) && target_columns_check(c, e);
    writer_free(&sql);
    return ok ? COPY_DONE : COPY_FAILED;
}

/* " (a, b)", or nothing where no column is named. */
static void list_write(Writer *out, Writer *columns) {
    if (columns->len > 0)
        writer_format(out, " (%s)", writer_string(columns));
}

/* The rows that meet none of the destination's. */
static bool kept_fill(Copying *c, int64_t rows, Error *e) {
    if (c->job->existing != EXISTING_KEEP)
        return true;
    int64_t added;
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_format(&sql, "INSERT INTO %s", writer_string(&c->target_name));
    list_write(&sql, &c->target_columns);
    writer_format(&sql, " OVERRIDING SYSTEM VALUE SELECT %s FROM " KEPT_ROWS " ON CONFLICT DO NOTHING",
                  writer_string(&c->target_columns));
    bool ok = session_change(c->target, writer_string(&sql), c->job->stop, &added, e);
    if (ok && added < rows)
        log_info("table \"%s\": %" PRId64 " of %" PRId64
                 " rows of the source met rows of the target, which stay",
                 c->table->full_name, rows - added, rows);
    writer_free(&sql);
    return ok;
}

/* ---- both ---- */

static bool copy_start(Pg *pg, const char *sql, ExecStatusType wanted, Error *e) {
    PGresult *result = PQexec(pg->conn, sql);
    bool ok = PQresultStatus(result) == wanted;
    if (!ok)
        pg_failed(pg, result, e);
    PQclear(result);
    return ok;
}

/* COPY TO takes no condition: what needs one comes by a query. A filter may end in a comment. */
static void copy_out_write(Copying *c, const char *format, Writer *out) {
    const char *columns = writer_string(&c->columns), *name = writer_string(&c->name);
    const CopyRange *range = c->job->range;
    if (range == NULL && c->table->where == NULL) {
        writer_format(out, "COPY %s", name);
        if (columns[0] != '\0')
            writer_format(out, " (%s)", columns);
    } else {
        writer_format(out, "COPY (SELECT %s FROM ONLY %s WHERE ", columns, name);
        if (c->table->where != NULL)
            writer_format(out, "(%s\n)", c->table->where);
        if (range != NULL)
            writer_format(out, "%sctid >= '(%" PRId64 ",0)'", c->table->where != NULL ? " AND " : "",
                          range->from_block);
        if (range != NULL && range->to_block >= 0)
            writer_format(out, " AND ctid < '(%" PRId64 ",0)'", range->to_block);
        writer_text(out, ")");
    }
    writer_format(out, " TO STDOUT (FORMAT %s)", format);
}

/* FREEZE is allowed where the same transaction truncated the table (trap B4). */
static void copy_in_write(Copying *c, const char *format, Writer *in) {
    const char *columns = writer_string(&c->target_columns);
    writer_format(in, "COPY %s",
                  c->job->existing == EXISTING_KEEP ? KEPT_ROWS : writer_string(&c->target_name));
    if (columns[0] != '\0')
        writer_format(in, " (%s)", columns);
    writer_format(in, " FROM STDIN (FORMAT %s%s)", format, c->frozen ? ", FREEZE" : "");
}

static bool copies_start(Copying *c, Error *e) {
    const char *format = c->binary ? "binary" : "text";
    Writer out = writer_new(SQL_MAX_BYTES), in = writer_new(SQL_MAX_BYTES);
    copy_out_write(c, format, &out);
    copy_in_write(c, format, &in);
    assert(!out.full && !in.full);
    bool ok = copy_start(c->source, writer_string(&out), PGRES_COPY_OUT, e) &&
              copy_start(c->target, writer_string(&in), PGRES_COPY_IN, e);
    writer_free(&out);
    writer_free(&in);
    return ok;
}

/* Which row the source cannot send: each comes in a CopyData of its own, the binary form's header with the first. */
static void row_tell(Copying *c, const Relay *relay, Error *e) {
    const CopyRange *range = c->job->range;
    char from[64] = "";
    if (relay->refused == 0)
        return;
    if (range != NULL)
        snprintf(from, sizeof from, " WHERE ctid >= '(%" PRId64 ",0)'", range->from_block);
    fail_context(e, "row %" PRId64 "%s", relay->refused, from);
    if (c->table->where != NULL)
        return; /* among which the statement below would not count */
    fail_hint(e,
              "mend it at the source: SET synchronize_seqscans = off; SELECT ctid, * FROM ONLY %s%s"
              " OFFSET %" PRId64 " LIMIT 1",
              writer_string(&c->name), from, relay->refused - 1);
}

static bool rows_note(Copying *c, const Relay *relay, Error *e) {
    const CopyJob *job = c->job;
    if (job->range == NULL)
        return state_table_loaded(c->target, job->cfg, c->table, job->point, relay->rows, relay->bytes, e);
    job->range->rows = relay->rows;
    job->range->bytes = relay->bytes;
    return FAULT("snapshot.range_commit", e);
}

static bool rows_copy(Copying *c, Error *e) {
    const CopyJob *job = c->job;
    Relay relay = {.source = c->source,
                   .target = c->target,
                   .stop = job->stop,
                   .progress = job->progress,
                   .metrics = job->metrics,
                   .throttle = job->throttle};
    bool ok = copies_start(c, e) && relay_run(&relay, e) && pg_run(c->source, "COMMIT", e) &&
              kept_fill(c, relay.rows, e) && rows_note(c, &relay, e) && pg_run(c->target, "COMMIT", e);
    row_tell(c, &relay, e);
    if (!ok)
        relay_untell(&relay);
    return ok;
}

static CopyResult table_try(Copying *c, Error *e) {
    CopyResult result = source_begin(c, e);
    if (result == COPY_DONE && c->job->range != NULL && !pg_run(c->source, SQL_BY_PLACE, e))
        return COPY_FAILED;
    if (result == COPY_DONE)
        result = target_begin(c, e);
    return result != COPY_DONE ? result : rows_copy(c, e) ? COPY_DONE : COPY_FAILED;
}

CopyResult copy_table(Pg *source, Pg *target, const CopyJob *job, Error *e) {
    Copying c = {.job = job,
                 .table = job->table,
                 .source = source,
                 .target = target,
                 .name = writer_new(SQL_MAX_BYTES),
                 .target_name = writer_new(SQL_MAX_BYTES),
                 .columns = writer_new(SQL_MAX_BYTES),
                 .target_columns = writer_new(SQL_MAX_BYTES)};
    pg_write_table(&c.name, source, job->table->schema, job->table->name);
    pg_write_table(&c.target_name, target, job->table->target_schema, job->table->target_name);
    columns_write(&c);
    metrics_copying(job->progress, clock_us());
    CopyResult result = table_try(&c, e);
    session_leave(source);
    session_leave(target);
    if (job->range == NULL)
        atomic_store(&job->progress->stage, result == COPY_DONE ? TABLE_LOADED : TABLE_PENDING);
    if (result == COPY_FAILED && e->kind != ERR_STOPPED && strstr(e->text, job->table->full_name) == NULL)
        fail_context(e, "table \"%s\"", job->table->full_name);
    Writer *const writers[] = {&c.name, &c.target_name, &c.columns, &c.target_columns};
    for (size_t at = 0; at < sizeof writers / sizeof *writers; at++)
        writer_free(writers[at]);
    return result;
}
