#include "snapshot/still.h"

#include "core/log.h"

enum { SQL_MAX_BYTES = 1024, SHOWN_MAX = 20, SHOWN_MAX_BYTES = 8192 };

/* Before 15 a partition's copy of its parent's trigger counts as internal, as those of foreign keys do. */
static const char SQL_FIRING[] =
    "SELECT n.nspname, c.relname, x.name, x.kind, CASE x.state WHEN 'A' THEN 'ENABLE' ELSE 'DISABLE' END "
    "FROM ("
    " SELECT t.tgrelid, t.tgname, 'TRIGGER', t.tgenabled FROM pg_catalog.pg_trigger t"
    " WHERE NOT t.tgisinternal OR t.tgconstraint = 0"
    " UNION ALL SELECT r.ev_class, r.rulename, 'RULE', r.ev_enabled FROM pg_catalog.pg_rewrite r"
    ") AS x (relation, name, kind, state) JOIN pg_catalog.pg_class c ON c.oid = x.relation"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE x.state IN ('A', 'R') AND c.relkind = 'r' ORDER BY 1, 2, 4, 3";

PGresult *still_read(Pg *pg, Error *e) {
    return pg_query(pg, SQL_FIRING, 0, NULL, e);
}

static bool one_keep(Pg *target, const PGresult *rows, int row, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "ALTER TABLE ONLY ");
    pg_write_table(&sql, target, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
    writer_format(&sql, " %s %s ", pg_cell(rows, row, 4), pg_cell(rows, row, 3));
    pg_write_name(&sql, target, pg_cell(rows, row, 2));
    bool ok = pg_run(target, writer_string(&sql), e) || fail_context(e, "%s", writer_string(&sql));
    writer_free(&sql);
    return ok;
}

bool still_keep(Pg *target, const Selection *selection, Error *e) {
    PGresult *rows = still_read(target, e);
    Writer names = writer_new(SHOWN_MAX_BYTES);
    int kept = 0;
    bool ok = rows != NULL;
    for (int row = 0; ok && row < PQntuples(rows); row++) {
        if (selection_find_target(selection, pg_cell(rows, row, 0), pg_cell(rows, row, 1)) == NULL)
            continue;
        if (kept++ < SHOWN_MAX)
            writer_format(&names, "%s%s of %s.%s", kept == 1 ? "" : ", ", pg_cell(rows, row, 2),
                          pg_cell(rows, row, 0), pg_cell(rows, row, 1));
        ok = one_keep(target, rows, row, e);
    }
    if (ok && kept > 0)
        log_warn(
            "%d triggers and rules that fire for applied rows, too (ENABLE ALWAYS, ENABLE REPLICA), are kept "
            "still at the target until the users move: %s%s",
            kept, writer_string(&names), kept > SHOWN_MAX ? ", …" : "");
    writer_free(&names);
    PQclear(rows);
    return ok;
}
