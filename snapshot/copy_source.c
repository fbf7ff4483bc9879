#include <stdio.h>
#include <string.h>

#include "core/sqlstate.h"
#include "snapshot/copy_intern.h"
#include "snapshot/session.h"

enum { SOURCE_QUERIES = 8 }; /* of one table or range: its transaction, lock, proofs and COPY */

static const char SQL_LOCK_TIMEOUT[] = "SET LOCAL lock_timeout = '10s'";
/* Whatever the server's settings and its statistics say, a range reads its own rows and no others. */
static const char SQL_ONLY_ITS[] = "SET LOCAL enable_tidscan = on; SET LOCAL enable_indexscan = on;"
                                   " SET LOCAL enable_seqscan = off;"
                                   " SET LOCAL max_parallel_workers_per_gather = 0";

/* Trap A10: pg_class is read under the imported snapshot, pg_relation_filenode() and to_regclass() answer for
 * now. */
static const char SQL_PROOF[] =
    "SELECT c.relfilenode IS NOT DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid),"
    " pg_catalog.to_regclass($2)::oid IS NOT DISTINCT FROM c.oid"
    " FROM pg_catalog.pg_class c WHERE c.oid = $1::oid";

static const char SQL_SOURCE_COLUMNS[] =
    "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnum, a.atttypid, a.atttypmod,"
    " t.typtype = 'd'"
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

bool copy_definition_changed(const Copying *c, Error *e) {
    fail(e, c->job->again ? ERR_RETRY : ERR_DATA,
         "table \"%s\" changed its definition since the schema was copied", c->table->full_name);
    return fail_hint(e, "undo the change on one side, or begin again: walferry cleanup, then walferry run");
}

static bool table_missing(const Table *table, Error *e) {
    fail(e, ERR_DATA, "table \"%s\" was dropped or renamed since the snapshot was taken", table->full_name);
    return fail_hint(e, "begin again without it: walferry cleanup, then walferry run");
}

static bool table_lock(Copying *c, Error *e) {
    Writer sql = writer_new(COPY_SQL_MAX_BYTES);
    writer_format(&sql, "LOCK TABLE ONLY %s IN ACCESS SHARE MODE", writer_string(&c->name));
    bool ok = pg_run(c->source, SQL_LOCK_TIMEOUT, e) &&
              session_run(c->source, writer_string(&sql), c->job->stop, e);
    writer_free(&sql);
    if (!ok && (sqlstate_is(e, SQLSTATE_UNDEFINED_TABLE) || sqlstate_is(e, SQLSTATE_INVALID_SCHEMA_NAME)))
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
    Writer sql = writer_new(COPY_SQL_MAX_BYTES);
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
        ok = copy_definition_changed(c, e);
    PQclear(then);
    PQclear(now);
    return ok;
}

CopyResult copy_source_begin(Copying *c, Error *e) {
    if (!session_turn(c->job->throttle, SOURCE_QUERIES, c->job->stop, e) ||
        !session_import(c->source, c->job->snapshot, e) || !table_lock(c, e))
        return COPY_FAILED;
    CopyResult result = rewrite_check(c, e);
    if (result != COPY_DONE)
        return result;
    bool ok = source_columns_check(c, e) && (c->job->range == NULL || pg_run(c->source, SQL_ONLY_ITS, e));
    return ok ? COPY_DONE : COPY_FAILED;
}
