#include <inttypes.h>
#include <string.h>

#include "core/log.h"
#include "core/sqlstate.h"
#include "snapshot/copy_intern.h"
#include "snapshot/session.h"

static const char SQL_TARGET_BEGIN[] =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = error";
/* TRUNCATE refuses a table that others refer to, also when those are empty; a partitioned one knows neither ONLY nor
 * FREEZE. */
static const char SQL_LOOK[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f'"
    " AND confrelid = pg_catalog.to_regclass($1) AND conrelid <> confrelid),"
    " (SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)::oid)";
static const char SQL_TARGET_COLUMNS[] =
    "SELECT a.attname, CASE WHEN s.nspname = 'pg_catalog' THEN '' ELSE s.nspname END,"
    " CASE WHEN s.nspname = 'pg_catalog' THEN pg_catalog.format_type(a.atttypid, a.atttypmod)"
    " ELSE pg_catalog.substr(pg_catalog.format_type(a.atttypid, a.atttypmod),"
    "                        pg_catalog.length(pg_catalog.quote_ident(s.nspname)) + 2) END"
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " JOIN pg_catalog.pg_namespace s ON s.oid = t.typnamespace"
    " WHERE a.attrelid = pg_catalog.to_regclass($1)::oid AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

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
    bool ok = target_columns_agree(c->table, rows) ? true : copy_definition_changed(c, e);
    PQclear(rows);
    return ok;
}

typedef struct Destination {
    bool referred, partitioned;
} Destination;

/* Only where the table is not of the job's making. Where others refer to it and it has rows, the references do not act:
 * check has seen to it that the session may take the replica role. */
static bool destination_look(Copying *c, Destination *out, Error *e) {
    const char *const params[] = {writer_string(&c->target_name)};
    *out = (Destination){0};
    if (c->job->existing == EXISTING_FAIL && c->job->cfg->phases.schema && !c->job->again)
        return true;
    PGresult *rows = pg_query(c->target, SQL_LOOK, 1, params, e);
    if (rows == NULL)
        return false;
    *out = (Destination){pg_cell_bool(rows, 0, 0), pg_cell_bool(rows, 0, 1)};
    PQclear(rows);
    return true;
}

/* Waits for the transaction of an earlier attempt that is not over yet. */
static CopyResult range_begin(Copying *c, Error *e) {
    if (!pg_run(c->target, SQL_TARGET_BEGIN, e))
        return COPY_FAILED;
    if (!state_object_note(c->target, c->job->cfg, c->job->range->note, c->table->full_name, e))
        return sqlstate_is(e, SQLSTATE_UNIQUE_VIOLATION) ? COPY_THERE : COPY_FAILED;
    return target_columns_check(c, e) ? COPY_DONE : COPY_FAILED;
}

CopyResult copy_target_begin(Copying *c, Error *e) {
    if (c->job->range != NULL)
        return range_begin(c, e);
    Writer sql = writer_new(COPY_SQL_MAX_BYTES);
    Destination there = {0};
    bool ok = pg_run(c->target, SQL_TARGET_BEGIN, e) && destination_look(c, &there, e);
    bool empties = ok && c->job->existing != EXISTING_KEEP;
    const char *only = there.partitioned ? "" : "ONLY ";
    c->frozen = empties && !there.referred && !there.partitioned;
    if (empties)
        writer_format(&sql, "%s %s%s", there.referred ? "DELETE FROM" : "TRUNCATE", only,
                      writer_string(&c->target_name));
    else if (ok)
        writer_format(&sql,
                      "CREATE TEMPORARY TABLE " COPY_KEPT_ROWS " ON COMMIT DROP AS SELECT %s FROM %s"
                      " WITH NO DATA",
                      writer_string(&c->target_columns), writer_string(&c->target_name));
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
bool copy_target_keep(Copying *c, int64_t rows, Error *e) {
    if (c->job->existing != EXISTING_KEEP)
        return true;
    int64_t added;
    Writer sql = writer_new(COPY_SQL_MAX_BYTES);
    writer_format(&sql, "INSERT INTO %s", writer_string(&c->target_name));
    list_write(&sql, &c->target_columns);
    writer_format(&sql, " OVERRIDING SYSTEM VALUE SELECT %s FROM " COPY_KEPT_ROWS " ON CONFLICT DO NOTHING",
                  writer_string(&c->target_columns));
    bool ok = session_change(c->target, writer_string(&sql), c->job->stop, &added, e);
    if (ok && added < rows)
        log_info("table \"%s\": %" PRId64 " of %" PRId64
                 " rows of the source met rows of the target, which stay",
                 c->table->full_name, rows - added, rows);
    writer_free(&sql);
    return ok;
}
