#include "core/dead_letter.h"

#include <stdlib.h>

#include "core/state.h"

static const char SQL_THERE[] =
    "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relname = 'dead_letter' AND c.relkind = 'r'";
static const char SQL_COUNT[] = "SELECT count(*) FROM @.dead_letter WHERE job = $1";
/* One snapshot for what is shown and what is cleared. */
static const char SQL_BEGIN[] = "BEGIN ISOLATION LEVEL REPEATABLE READ";
static const char SQL_DECLARE[] =
    "DECLARE letters NO SCROLL CURSOR FOR"
    " SELECT lsn, xid, seq, schema_name, table_name, operation, old_key, new_values, sqlstate, reason,"
    " pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    " FROM @.dead_letter WHERE job = $1 ORDER BY lsn, seq";
static const char SQL_FETCH[] = "FETCH 100 FROM letters";
static const char SQL_CLEAR[] = "DELETE FROM @.dead_letter WHERE job = $1";

static bool number(Pg *pg, const Config *cfg, const char *constant, const char *param, int64_t *out,
                   Error *e) {
    PGresult *rows = state_query(pg, cfg, constant, 1, &param, e);
    if (rows == NULL)
        return false;
    *out = pg_cell_int(rows, 0, 0);
    PQclear(rows);
    return true;
}

bool dead_letter_count(Pg *pg, const Config *cfg, int64_t *count, Error *e) {
    return number(pg, cfg, SQL_THERE, cfg->target.state_schema, count, e) &&
           (*count == 0 || number(pg, cfg, SQL_COUNT, cfg->name, count, e));
}

static const char *cell_or_null(const PGresult *rows, int row, int column) {
    return pg_cell_null(rows, row, column) ? NULL : pg_cell(rows, row, column);
}

static DeadLetter letter_of(const PGresult *rows, int row) {
    return (DeadLetter){.lsn = pg_cell(rows, row, 0),
                        .xid = pg_cell(rows, row, 1),
                        .seq = pg_cell(rows, row, 2),
                        .schema = pg_cell(rows, row, 3),
                        .table = pg_cell(rows, row, 4),
                        .operation = pg_cell(rows, row, 5),
                        .key = cell_or_null(rows, row, 6),
                        .values = cell_or_null(rows, row, 7),
                        .sqlstate = cell_or_null(rows, row, 8),
                        .reason = pg_cell(rows, row, 9),
                        .at = pg_cell(rows, row, 10)};
}

/* *all: visit has taken every one. */
static bool fetch(Pg *pg, bool (*visit)(void *context, const DeadLetter *), void *context, bool *all,
                  Error *e) {
    for (int count = 1; *all && count > 0;) {
        PGresult *rows = pg_query(pg, SQL_FETCH, 0, NULL, e);
        if (rows == NULL)
            return false;
        count = PQntuples(rows);
        for (int row = 0; *all && row < count; row++) {
            DeadLetter letter = letter_of(rows, row);
            *all = visit(context, &letter);
        }
        PQclear(rows);
    }
    return true;
}

static bool run(Pg *pg, const Config *cfg, const char *constant, Error *e) {
    PGresult *result = state_query(pg, cfg, constant, 1, (const char *const[]){cfg->name}, e);
    PQclear(result);
    return result != NULL;
}

bool dead_letter_visit(Pg *pg, const Config *cfg, bool clear,
                       bool (*visit)(void *context, const DeadLetter *), void *context, Error *e) {
    int64_t there;
    bool all = true;
    Error ignored;
    if (!number(pg, cfg, SQL_THERE, cfg->target.state_schema, &there, e))
        return false;
    if (there == 0)
        return true;
    bool ok = pg_run(pg, SQL_BEGIN, e) && run(pg, cfg, SQL_DECLARE, e) &&
              fetch(pg, visit, context, &all, e) && (!clear || !all || run(pg, cfg, SQL_CLEAR, e)) &&
              pg_run(pg, "COMMIT", e);
    if (!ok)
        pg_run(pg, "ROLLBACK", &ignored);
    return ok;
}
