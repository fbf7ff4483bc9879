#include "job/captured.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "decoder/publication.h"

/* Places in the list of OIDs, from 1, of those that are gone, and whether something else has the name. */
static const char SQL_GONE[] =
    "SELECT g.place, EXISTS (SELECT FROM pg_catalog.pg_class o"
    "   JOIN pg_catalog.pg_namespace n ON n.oid = o.relnamespace"
    "   WHERE n.nspname = g.schema AND o.relname = g.name AND o.relkind IN ('r', 'p'))"
    " FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::text[]), "
    "pg_catalog.unnest($3::text[]))"
    " WITH ORDINALITY AS g (oid, schema, name, place)"
    " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = g.oid)";

/* Which of them are partitions, and of what: their place in the list of OIDs, the parent, its bound. */
static const char SQL_PARENTS[] =
    "SELECT g.place, p.oid, n.nspname, p.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid)"
    " FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY AS g (oid, place)"
    " JOIN pg_catalog.pg_class c ON c.oid = g.oid AND c.relispartition"
    " JOIN pg_catalog.pg_inherits h ON h.inhrelid = c.oid JOIN pg_catalog.pg_class p ON p.oid = h.inhparent"
    " JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace";

/* Ordinary tables that nobody has looked at yet. */
static const char SQL_UNSEEN[] =
    "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%'"
    " AND n.nspname <> 'information_schema' AND c.oid <> ALL ($1::oid[])"
    " AND (n.nspname, c.relname) <> ($2, $3)"; /* our heartbeat's */

enum { LIST_LIMIT = 64 << 20 };

struct Captured {
    const Config *cfg;
    const Selection *selection;
    Writer seen;       /* OIDs, of the selection and of others that were looked at */
    bool *told;        /* by table: that it is gone */
    uint32_t *parents; /* by table, as seen last; 0: none */
    bool looked, looked_for_new;
    Writer oids, schemas, names;
};

Captured *captured_new(const Config *cfg, const Selection *selection) {
    Captured *c = memory_new(sizeof *c);
    c->cfg = cfg;
    c->selection = selection;
    c->seen = writer_new(LIST_LIMIT);
    c->told = memory_array((size_t)selection->count + 1, sizeof *c->told);
    c->parents = memory_array((size_t)selection->count + 1, sizeof *c->parents);
    c->oids = writer_new(LIST_LIMIT);
    c->schemas = writer_new(LIST_LIMIT);
    c->names = writer_new(LIST_LIMIT);
    for (int at = 0; at < selection->count; at++) {
        writer_format(&c->oids, "%s%u", at == 0 ? "{" : ",", selection->tables[at].oid);
        writer_text(&c->schemas, at == 0 ? "{" : "");
        writer_text(&c->names, at == 0 ? "{" : "");
        pg_write_item(&c->schemas, selection->tables[at].schema);
        pg_write_item(&c->names, selection->tables[at].name);
    }
    writer_text(&c->seen, c->oids.len == 0 ? "{" : writer_string(&c->oids));
    writer_text(&c->oids, "}");
    writer_text(&c->schemas, "}");
    writer_text(&c->names, "}");
    return c;
}

void captured_free(Captured *c) {
    if (c == NULL)
        return;
    writer_free(&c->oids);
    writer_free(&c->seen);
    writer_free(&c->schemas);
    writer_free(&c->names);
    free(c->told);
    free(c->parents);
    free(c);
}

bool captured_made_again(const char *schema, const char *name, Error *e) {
    fail(e, ERR_DATA,
         "table \"%s.%s\" was dropped on the source, and another one of its name was made: the rows at the "
         "target are those of the first one",
         schema, name);
    return fail_hint(e, "begin again with a new load: walferry cleanup, then walferry run");
}

static bool gone_look(Captured *c, const PGresult *gone, Error *e) {
    for (int row = 0; row < PQntuples(gone); row++) {
        int64_t at = pg_cell_int(gone, row, 0) - 1;
        const Table *table = &c->selection->tables[at];
        if (pg_cell_bool(gone, row, 1))
            return captured_made_again(table->schema, table->name, e);
        if (!c->told[at])
            log_warn("table \"%s\" was dropped on the source; at the target it stays", table->full_name);
        c->told[at] = true;
    }
    return true;
}

/* The rows of a partition travel as its own, so nothing is lost; but where they are seen through its parent, the
 * destination shows others (trap A18). */
static void parents_look(Captured *c, const PGresult *rows) {
    uint32_t *now = memory_array((size_t)c->selection->count + 1, sizeof *now);
    for (int row = 0; row < PQntuples(rows); row++) {
        int64_t at = pg_cell_int(rows, row, 0) - 1;
        now[at] = (uint32_t)pg_cell_int(rows, row, 1);
        if (c->looked && now[at] != c->parents[at])
            log_warn("table \"%s\" was attached to \"%s.%s\" on the source (%s): do the same at the target",
                     c->selection->tables[at].full_name, pg_cell(rows, row, 2), pg_cell(rows, row, 3),
                     pg_cell(rows, row, 4));
    }
    for (int at = 0; at < c->selection->count; at++)
        if (c->looked && now[at] == 0 && c->parents[at] != 0 && !c->told[at])
            log_warn("table \"%s\" was detached from its partitioned table on the source: do the same at the "
                     "target",
                     c->selection->tables[at].full_name);
    free(c->parents);
    c->parents = now;
    c->looked = true;
}

bool captured_look(Captured *c, Pg *source, Error *e) {
    const char *const params[] = {writer_string(&c->oids), writer_string(&c->schemas),
                                  writer_string(&c->names)};
    if (c->selection->count == 0)
        return true;
    PGresult *gone = pg_query(source, SQL_GONE, 3, params, e);
    bool ok = gone != NULL && gone_look(c, gone, e);
    PQclear(gone);
    PGresult *parents = ok ? pg_query(source, SQL_PARENTS, 1, params, e) : NULL;
    ok = parents != NULL;
    if (ok)
        parents_look(c, parents);
    PQclear(parents);
    return ok;
}

bool captured_takes(const Pg *source, const Config *cfg, const Table *table, const char **why) {
    *why = "";
    if (cfg->ddl == DDL_STOP)
        *why = ", because of \"ddl: stop\"";
    else if (!cfg->phases.schema || !cfg->phases.full)
        *why = ", because the job does not make tables";
    else if (strcmp(cfg->source.publication, cfg->slot) != 0)
        *why = ", because its publication is not the job's own";
    else if (table->identity == TABLE_IDENTITY_NONE && !table->unlogged && cfg->identity == IDENTITY_FAIL)
        *why = ", because it has no replica identity";
    else if (table->identity == TABLE_IDENTITY_FULL && publication_forbids_full(source, table))
        *why = ", because of its generated column under the replica identity FULL";
    return **why == '\0';
}

void captured_refused_tell(const Table *table, const char *why) {
    log_warn("table \"%s\" is new on the source and not part of this job%s", table->full_name, why);
}

/* What is unseen is mostly what the job leaves out: the selection says what it takes. */
static bool unseen_look(Captured *c, Pg *source, const PGresult *unseen, bool *joins, Error *e) {
    Selection *now = selection_load(source, c->cfg, e);
    if (now == NULL)
        return false;
    for (int row = 0; row < PQntuples(unseen); row++) {
        uint32_t oid = (uint32_t)pg_cell_int(unseen, row, 0);
        writer_format(&c->seen, "%s%u", c->seen.len > 1 ? "," : "", oid);
        for (int at = 0; at < now->count; at++) {
            const char *why;
            const Table *table = &now->tables[at];
            if (table->oid != oid)
                continue;
            if (captured_takes(source, c->cfg, table, &why))
                *joins = true;
            else if (c->looked_for_new) /* what was there before, the walk has told */
                captured_refused_tell(table, why);
        }
    }
    selection_free(now);
    return true;
}

bool captured_look_for_new(Captured *c, Pg *source, bool *joins, Error *e) {
    Writer list = writer_new(LIST_LIMIT);
    writer_format(&list, "%s}", writer_string(&c->seen));
    const char *const params[] = {writer_string(&list), c->cfg->source.heartbeat_schema,
                                  c->cfg->source.heartbeat_table};
    PGresult *unseen = pg_query(source, SQL_UNSEEN, 3, params, e);
    bool ok = unseen != NULL && (PQntuples(unseen) == 0 || unseen_look(c, source, unseen, joins, e));
    *joins = *joins && ok;
    c->looked_for_new = true;
    PQclear(unseen);
    writer_free(&list);
    return ok;
}
