#include "snapshot/rename.h"

#include <string.h>

#include "core/log.h"
#include "snapshot/existing.h"
#include "snapshot/role.h"
#include "snapshot/scratch.h"
#include "snapshot/session.h"

static const char SQL_BEGIN[] = "SET synchronous_commit = off; SET lock_timeout = '30s'";
/* Else they would act on what follows. */
static const char SQL_EVENT_TRIGGERS[] =
    "SELECT pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', t.evtname),"
    " pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE%s', t.evtname,"
    "   CASE t.evtenabled WHEN 'R' THEN ' REPLICA' WHEN 'A' THEN ' ALWAYS' ELSE '' END)"
    " FROM pg_catalog.pg_event_trigger t WHERE t.evtenabled <> 'D'"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
    "  WHERE d.classid = 'pg_catalog.pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')";

static bool entries_run(Pg *inside, const Dump *dump, const atomic_bool *stop, Error *e) {
    if (!pg_run(inside, dump->preamble, e))
        return false;
    for (int at = 0; at < dump->entry_count; at++) {
        const DumpEntry *entry = &dump->entries[at];
        if (!session_run(inside, entry->sql, stop, e))
            return fail_context(e, "%s %s.%s", entry->type, entry->schema, entry->name);
    }
    return true;
}

static bool column_run(Pg *inside, const PGresult *statements, int column, Error *e) {
    bool ok = true;
    for (int row = 0; ok && row < PQntuples(statements); row++)
        ok = pg_run(inside, pg_cell(statements, row, column), e);
    return ok;
}

static bool objects_make(const Renaming *r, Pg *inside, const Dump *dump, Error *e) {
    bool ok = (!r->cfg->schema.roles || role_carry(r->source, inside, r->cfg, e)) &&
              pg_run(inside, SQL_BEGIN, e) && session_run(inside, dump->pre_data, r->stop, e) &&
              entries_run(inside, dump, r->stop, e);
    PGresult *triggers = ok ? pg_query(inside, SQL_EVENT_TRIGGERS, 0, NULL, e) : NULL;
    ok = triggers != NULL && column_run(inside, triggers, 0, e) &&
         rename_objects(r->mapping, inside, r->stop, e) && column_run(inside, triggers, 1, e);
    PQclear(triggers);
    return ok;
}

/* By their names at the destination. */
static PGresult *there_renamed(const Renaming *r) {
    PGresult *renamed = PQcopyResult(r->relations_there, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
    Arena *arena = arena_new();
    for (int row = 0; row < PQntuples(renamed); row++) {
        MappedName name = mapping_relation(r->mapping, arena, pg_cell(r->relations_there, row, 0),
                                           pg_cell(r->relations_there, row, 1));
        const char *const parts[] = {name.schema, name.name};
        for (int part = 0; part < 2; part++)
            PQsetvalue(renamed, row, part, (char *)(uintptr_t)parts[part], (int)strlen(parts[part]));
    }
    arena_free(arena);
    return renamed;
}

/* What the destination has already is left out now. */
static bool renamed_take(const Renaming *r, const Scratch *scratch, Dump *out, Error *e) {
    DumpTool tool;
    DumpParts parts = *r->parts;
    DumpFrom from = {.dsn = scratch->dsn};
    PGresult *relations = r->relations_there == NULL ? NULL : there_renamed(r);
    PGresult *objects = existing_objects(scratch->inside, r->target, r->cfg, e);
    parts.relations_there = relations;
    parts.objects_there = objects;
    bool ok = objects != NULL && dump_choose(r->cfg, r->target->version, r->target->version, &tool, e) &&
              dump_take(&tool, r->cfg, &parts, &from, r->stop, out, e);
    PQclear(relations);
    PQclear(objects);
    return ok;
}

bool rename_dump(const Renaming *r, Dump *dump, Error *e) {
    Scratch scratch;
    Dump renamed = {0};
    Error ignored;
    log_info("the definitions get their new names in a database of their own");
    bool ok = scratch_make(r->cfg, r->target, &scratch, e) && objects_make(r, scratch.inside, dump, e) &&
              renamed_take(r, &scratch, &renamed, e);
    if (!scratch_end(&scratch, ok ? e : &ignored))
        ok = false;
    dump_free(dump);
    if (!ok)
        dump_free(&renamed);
    *dump = renamed;
    return ok;
}
