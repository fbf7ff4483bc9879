#include "snapshot/existing.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/mapping.h"
#include "core/memory.h"
#include "core/selection_tree.h"
#include "core/sqlstate.h"
#include "core/state.h"

enum { SQL_MAX_BYTES = 16 << 20, SHOWN_MAX = 20, SHOWN_MAX_BYTES = 4096 };

#define RELATIONS(but)                                                                                       \
    "SELECT n.nspname, c.relname, c.relkind, c.oid FROM pg_catalog.pg_class c"                               \
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                                              \
    " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'"                         \
    " AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'walferry')" but           \
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass"  \
    "                 AND d.objid = c.oid AND d.deptype = 'e')"                                              \
    " ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
static const char SQL_RELATIONS[] = RELATIONS("");
/* Of a table that is left out, its sequences are, too. */
static const char SQL_OTHERS[] =
    RELATIONS(" AND c.oid <> ALL ($1::oid[]) AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend o"
              "  WHERE c.relkind = 'S' AND o.classid = 'pg_catalog.pg_class'::regclass AND o.objid = c.oid"
              "  AND o.refclassid = 'pg_catalog.pg_class'::regclass AND o.deptype IN ('a', 'i')"
              "  AND o.refobjid = ANY ($1::oid[]))");
/* Dropping a partitioned table drops its partitions, too. */
static const char SQL_PARTITIONS[] =
    "SELECT pn.nspname, p.relname, cn.nspname, c.relname FROM pg_catalog.pg_inherits i"
    " JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'"
    " JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace"
    " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
    " JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f')";
/* Of a table whose rows go, other tables' references would point to nothing. */
static const char SQL_REFERENCES[] =
    "SELECT pn.nspname, p.relname, cn.nspname, c.relname FROM pg_catalog.pg_constraint k"
    " JOIN pg_catalog.pg_class p ON p.oid = k.confrelid"
    " JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace"
    " JOIN pg_catalog.pg_class c ON c.oid = k.conrelid"
    " JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace"
    " WHERE k.contype = 'f' AND k.confrelid <> k.conrelid AND k.conparentid = 0";

/* By what the server itself calls them. A type that belongs to a table or to another type comes and goes with it. */
#define OBJECTS                                                                                              \
    "SELECT o.class, o.oid, i.type || ' ' || i.identity AS name FROM ("                                      \
    " SELECT 'pg_catalog.pg_namespace'::regclass::oid AS class, oid FROM pg_catalog.pg_namespace"            \
    "  WHERE nspname NOT LIKE 'pg\\_%'"                                                                      \
    " UNION ALL SELECT 'pg_catalog.pg_type'::regclass, t.oid FROM pg_catalog.pg_type t WHERE t.typelem = 0"  \
    "  AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c"                                     \
    "       WHERE c.oid = t.typrelid AND c.relkind = 'c'))"                                                  \
    " UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc"                          \
    " UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid FROM pg_catalog.pg_operator"                  \
    " UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid FROM pg_catalog.pg_opclass"                    \
    " UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid FROM pg_catalog.pg_opfamily"                  \
    " UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid FROM pg_catalog.pg_collation"                \
    " UNION ALL SELECT 'pg_catalog.pg_conversion'::regclass, oid FROM pg_catalog.pg_conversion"              \
    " UNION ALL SELECT 'pg_catalog.pg_ts_parser'::regclass, oid FROM pg_catalog.pg_ts_parser"                \
    " UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid FROM pg_catalog.pg_ts_dict"                    \
    " UNION ALL SELECT 'pg_catalog.pg_ts_template'::regclass, oid FROM pg_catalog.pg_ts_template"            \
    " UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid FROM pg_catalog.pg_ts_config"                \
    " UNION ALL SELECT 'pg_catalog.pg_cast'::regclass, oid FROM pg_catalog.pg_cast"                          \
    " UNION ALL SELECT 'pg_catalog.pg_language'::regclass, oid FROM pg_catalog.pg_language"                  \
    " UNION ALL SELECT 'pg_catalog.pg_transform'::regclass, oid FROM pg_catalog.pg_transform"                \
    " UNION ALL SELECT 'pg_catalog.pg_am'::regclass, oid FROM pg_catalog.pg_am"                              \
    " UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid"                                  \
    "  FROM pg_catalog.pg_foreign_data_wrapper"                                                              \
    " UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid FROM pg_catalog.pg_foreign_server"      \
    " UNION ALL SELECT 'pg_catalog.pg_user_mapping'::regclass, umid FROM pg_catalog.pg_user_mappings"        \
    " UNION ALL SELECT 'pg_catalog.pg_event_trigger'::regclass, oid FROM pg_catalog.pg_event_trigger"        \
    ") o, pg_catalog.pg_identify_object(o.class, o.oid, 0) i WHERE o.oid >= 16384" /* FirstNormalObjectId */
static const char SQL_OBJECT_NAMES[] =
    "SELECT coalesce(pg_catalog.array_agg(x.name), '{}') FROM (" OBJECTS ") x";
static const char SQL_OBJECTS_THERE[] = "SELECT x.class, x.oid FROM (" OBJECTS ") x WHERE x.name IN"
                                        " (SELECT pg_catalog.unnest($1::text[])) ORDER BY 1, 2";

static const char SQL_SCHEMA_NAMES[] =
    "SELECT pg_catalog.array_agg(nspname::text) FROM pg_catalog.pg_namespace";
static const char SQL_SCHEMAS_THERE[] =
    "SELECT 'pg_catalog.pg_namespace'::regclass::oid, oid FROM pg_catalog.pg_namespace"
    " WHERE nspname::text IN (SELECT pg_catalog.unnest($1::text[])) AND nspname <> 'public' ORDER BY 1, 2";

PGresult *existing_objects(Pg *source, Pg *target, const Config *cfg, Error *e) {
    bool schemas = cfg->existing == EXISTING_FAIL;
    PGresult *names = pg_query(target, schemas ? SQL_SCHEMA_NAMES : SQL_OBJECT_NAMES, 0, NULL, e);
    if (names == NULL)
        return NULL;
    const char *const params[] = {pg_cell(names, 0, 0)};
    PGresult *there = pg_query(source, schemas ? SQL_SCHEMAS_THERE : SQL_OBJECTS_THERE, 1, params, e);
    PQclear(names);
    return there;
}

/* A relation of the source that the destination has, too. */
typedef struct Found {
    StateName here; /* at the source */
    MappedName there;
    bool is_table; /* the job's: an ordinary one, or one whose partitions are */
} Found;

typedef struct Settling {
    Pg *source, *target;
    const Config *cfg;
    const Selection *selection;
    Mapping *mapping;
    Arena *arena;
    PGresult *ours, *parents; /* at the source */
    Found *found;
    int count;
} Settling;

PGresult *existing_relations(Pg *pg, Error *e) {
    return pg_query(pg, SQL_RELATIONS, 0, NULL, e);
}

PGresult *existing_others(Pg *pg, const char *oids, Error *e) {
    return pg_query(pg, SQL_OTHERS, 1, &oids, e);
}

PGresult *existing_partitions(Pg *pg, Error *e) {
    return pg_query(pg, SQL_PARTITIONS, 0, NULL, e);
}

/* A partitioned table is no table of the selection. */
static bool is_of_job(const Settling *s, int row) {
    const char *schema = pg_cell(s->ours, row, 0), *name = pg_cell(s->ours, row, 1);
    char kind = pg_cell(s->ours, row, 2)[0];
    if (kind == 'r')
        return selection_find(s->selection, schema, name) != NULL;
    uint32_t oid = (uint32_t)pg_cell_int(s->ours, row, 3);
    return kind == 'p' && tree_lineage_takes(s->mapping, s->parents, oid, schema, name) == TAKEN_YES;
}

static bool find(Settling *s, Error *e) {
    PGresult *theirs = existing_relations(s->target, e);
    if (theirs == NULL)
        return false;
    s->count = 0;
    for (int row = 0; row < PQntuples(s->ours); row++) {
        const char *schema = pg_cell(s->ours, row, 0), *name = pg_cell(s->ours, row, 1);
        MappedName there = mapping_relation(s->mapping, s->arena, schema, name);
        if (pg_row_of_name(theirs, there.schema, there.name) >= 0)
            s->found[s->count++] = (Found){{schema, name}, there, is_of_job(s, row)};
    }
    PQclear(theirs);
    return true;
}

/* Whether the destination's relation is one of the job's tables. */
static bool is_ours_there(const Settling *s, const char *schema, const char *name) {
    for (int at = 0; at < s->count; at++)
        if (s->found[at].is_table && strcmp(schema, s->found[at].there.schema) == 0 &&
            strcmp(name, s->found[at].there.name) == 0)
            return true;
    return false;
}

/* Refuses a row (of whom, by whom) whose first is the job's and whose second is somebody else's. Takes the rows; NULL: they
 * could not be had. */
static bool strangers_refuse(const Settling *s, PGresult *rows, const char *what, Error *e) {
    bool ok = rows != NULL;
    for (int row = 0; ok && row < PQntuples(rows); row++) {
        const char *schema = pg_cell(rows, row, 2), *name = pg_cell(rows, row, 3);
        if (!is_ours_there(s, pg_cell(rows, row, 0), pg_cell(rows, row, 1)) || is_ours_there(s, schema, name))
            continue;
        fail(e, ERR_CONFIG,
             "existing: %s: table \"%s.%s\" at the target, which is not part of the job, %s \"%s.%s\"",
             existing_policy_name(s->cfg->existing), schema, name, what, pg_cell(rows, row, 0),
             pg_cell(rows, row, 1));
        ok = fail_hint(e, "undo that at the target, or take another way for \"existing\"");
    }
    PQclear(rows);
    return ok;
}

/* The detail names what depends on the tables, one line each. */
static bool drop_refused(Pg *target, const PGresult *result, Error *e) {
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    pg_failed(target, result, e);
    if (!sqlstate_is(e, SQLSTATE_DEPENDENT_OBJECTS_STILL_EXIST) || detail == NULL)
        return fail_context(e, "existing: drop");
    fail(e, ERR_CONFIG,
         "existing: drop: tables are not dropped at the target because of what depends on them: %s", detail);
    return fail_hint(e, "drop that yourself: walferry never drops more than the job's own tables");
}

static bool tables_drop(const Settling *s, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    int dropped = 0;
    writer_text(&sql, "DROP TABLE ");
    for (int at = 0; at < s->count; at++) {
        if (!s->found[at].is_table)
            continue;
        writer_text(&sql, dropped++ == 0 ? "" : ", ");
        pg_write_table(&sql, s->target, s->found[at].there.schema, s->found[at].there.name);
    }
    writer_text(&sql, " RESTRICT");
    bool ok = true;
    if (dropped > 0) {
        PGresult *result = PQexec(s->target->conn, writer_string(&sql));
        ok = PQresultStatus(result) == PGRES_COMMAND_OK || drop_refused(s->target, result, e);
        PQclear(result);
    }
    if (ok && dropped > 0)
        log_info("existing: drop: %d tables are dropped at the target and made again", dropped);
    writer_free(&sql);
    return ok;
}

static bool found_note(const Settling *s, Error *e) {
    StateName *names = memory_array((size_t)s->count + 1, sizeof *names);
    Writer shown = writer_new(SHOWN_MAX_BYTES);
    int tables = 0;
    for (int at = 0; at < s->count; at++) {
        names[at] = s->found[at].here;
        if (s->found[at].is_table && tables++ < SHOWN_MAX)
            writer_format(&shown, "%s%s.%s", tables == 1 ? "" : ", ", names[at].schema, names[at].name);
    }
    bool ok = state_existing_note(s->target, s->cfg, names, s->count, e);
    if (ok && tables > 0)
        log_info("existing: %s: %d tables stay at the target as they are defined there: %s%s",
                 existing_policy_name(s->cfg->existing), tables, writer_string(&shown),
                 tables > SHOWN_MAX ? ", …" : "");
    writer_free(&shown);
    free(names);
    return ok;
}

static bool settle(Settling *s, Error *e) {
    if (!find(s, e))
        return false;
    switch (s->cfg->existing) {
    case EXISTING_DROP:
        if (!strangers_refuse(s, existing_partitions(s->target, e), "is a partition of", e) ||
            !tables_drop(s, e) || !find(s, e))
            return false;
        break;
    case EXISTING_TRUNCATE:
        if (!strangers_refuse(s, pg_query(s->target, SQL_REFERENCES, 0, NULL, e), "refers to", e))
            return false;
        break;
    case EXISTING_KEEP:
    case EXISTING_FAIL: break;
    }
    return found_note(s, e);
}

bool existing_settle(Pg *source, Pg *target, const Config *cfg, const Selection *selection, Error *e) {
    if (cfg->existing == EXISTING_FAIL)
        return true;
    Settling s = {.source = source, .target = target, .cfg = cfg, .selection = selection};
    s.ours = existing_relations(source, e);
    s.parents = s.ours == NULL ? NULL : pg_query(source, TREE_PARENTS_SQL, 0, NULL, e);
    if (s.parents == NULL) {
        PQclear(s.ours);
        return false;
    }
    s.mapping = mapping_new(cfg);
    s.arena = arena_new();
    s.found = memory_array((size_t)PQntuples(s.ours) + 1, sizeof *s.found);
    bool ok = settle(&s, e);
    free(s.found);
    arena_free(s.arena);
    mapping_free(s.mapping);
    PQclear(s.ours);
    PQclear(s.parents);
    return ok;
}
