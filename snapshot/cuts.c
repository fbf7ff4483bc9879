#include "snapshot/cuts.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/log.h"
#include "core/sqlstate.h"

enum { BY_PLACE_SINCE = 140000, UNITS_MIN = 2 };

/* The size is asked for under a lock. */
static const char SQL_IMPATIENT[] = "SET lock_timeout = '1s'";
static const char SQL_BLOCKS[] =
    "SELECT CASE WHEN a.amname = 'heap'"
    " THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint ELSE -1 END"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE c.oid = $1::oid";
/* The inner values of the histogram: ascending by the operators that a comparison under an empty search_path takes, too,
 * which is only sure of the server's own scalar types. Rows that do not lie in the order of their key would make each
 * range read most of the table. */
static const char SQL_KEY[] =
    "SELECT pg_catalog.quote_ident(a.attname),"
    " pg_catalog.quote_literal(b.value) || '::' || pg_catalog.format_type(a.atttypid, -1)"
    " FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = "
    "c.relnamespace"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname"
    "  AND s.attname = a.attname AND NOT s.inherited"
    " CROSS JOIN LATERAL pg_catalog.unnest(s.histogram_bounds::text::text[]) WITH ORDINALITY b(value, at)"
    " WHERE i.indrelid = $1::oid AND i.indisprimary AND i.indisvalid"
    "  AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typelem = 0"
    "  AND pg_catalog.abs(s.correlation) >= 0.9"
    "  AND b.at BETWEEN 2 AND pg_catalog.cardinality(s.histogram_bounds::text::text[]) - 1"
    " ORDER BY b.at";

static bool key_find(Pg *source, const Table *table, const char *oid, Cuts *cuts, Error *e) {
    cuts->key = pg_query(source, SQL_KEY, 1, (const char *const[]){oid}, e);
    if (cuts->key == NULL)
        return false;
    cuts->units = PQntuples(cuts->key) + 1;
    if (cuts->units >= UNITS_MIN)
        return true;
    cuts_free(cuts);
    log_info(
        "table \"%s\" is copied whole, not in ranges: the source cannot read it by place, and its statistics "
        "show no primary key in whose order its rows lie",
        table->full_name);
    return true;
}

bool cuts_find(Pg *source, const Table *table, Cuts *cuts, Error *e) {
    char oid[16];
    snprintf(oid, sizeof oid, "%u", table->oid);
    *cuts = (Cuts){0};
    if (!pg_run(source, SQL_IMPATIENT, e))
        return false;
    PGresult *rows = pg_query(source, SQL_BLOCKS, 1, (const char *const[]){oid}, e);
    if (rows == NULL)
        return sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE);
    bool found = PQntuples(rows) == 1;
    int64_t blocks = pg_cell_int(rows, 0, 0);
    PQclear(rows);
    bool by_place = blocks >= 0 && source->version >= BY_PLACE_SINCE;
    if (found && !by_place)
        return key_find(source, table, oid, cuts, e);
    cuts->units = found ? blocks : 0;
    return true;
}

void cuts_free(Cuts *cuts) {
    PQclear(cuts->key);
    *cuts = (Cuts){0};
}

void cuts_write(const Cuts *cuts, int64_t from, int64_t to, Writer *out) {
    if (cuts->key == NULL) {
        writer_format(out, "ctid >= '(%" PRId64 ",0)'", from);
        if (to >= 0)
            writer_format(out, " AND ctid < '(%" PRId64 ",0)'", to);
        return;
    }
    const char *column = pg_cell(cuts->key, 0, 0);
    if (from == 0 && to < 0)
        writer_format(out, "%s IS NOT NULL", column);
    if (from > 0)
        writer_format(out, "%s >= %s%s", column, pg_cell(cuts->key, (int)from - 1, 1),
                      to >= 0 ? " AND " : "");
    if (to >= 0)
        writer_format(out, "%s < %s", column, pg_cell(cuts->key, (int)to - 1, 1));
}
