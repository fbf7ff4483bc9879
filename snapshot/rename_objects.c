#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/sqlstate.h"
#include "snapshot/rename.h"
#include "snapshot/session.h"

enum { SQL_MAX_BYTES = 1 << 14 };

#define OURS(catalog)                                                                                        \
    " NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = 'pg_catalog." catalog                 \
    "'::regclass AND m.objid = x.oid AND m.deptype = 'e')"
#define SCHEMAS " n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"

/* Where a column begins: who inherits it follows. A typed table's columns are its type's. */
static const char SQL_COLUMNS[] =
    "SELECT DISTINCT ON (coalesce(o.typrelid, x.oid), a.attname) n.nspname, x.relname, a.attname,"
    " CASE WHEN o.oid IS NULL THEN pg_catalog.format('ALTER TABLE %I.%I RENAME COLUMN', n.nspname, x.relname)"
    "  ELSE pg_catalog.format('ALTER TYPE %s RENAME ATTRIBUTE', o.oid::regtype) END,"
    " CASE WHEN o.oid IS NULL THEN '' ELSE ' CASCADE' END, a.attnum"
    " FROM pg_catalog.pg_class x JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = x.oid AND a.attnum > 0 AND NOT a.attisdropped"
    "  AND a.attinhcount = 0"
    " LEFT JOIN pg_catalog.pg_type o ON o.oid = x.reloftype"
    " WHERE x.relkind IN ('r', 'p', 'v', 'm', 'f') AND" SCHEMAS
    " AND" OURS("pg_class") " ORDER BY coalesce(o.typrelid, x.oid), a.attname, x.oid";

/* A sequence of a column goes where its table goes. */
static const char SQL_RELATIONS[] =
    "SELECT x.oid, n.nspname, x.relname, x.relkind = 'S' AND EXISTS (SELECT FROM pg_catalog.pg_depend d"
    "  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = x.oid AND d.deptype IN ('a', 'i')"
    "  AND d.refclassid = 'pg_catalog.pg_class'::regclass)"
    " FROM pg_catalog.pg_class x JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
    " WHERE x.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND" SCHEMAS
    " AND" OURS("pg_class") " ORDER BY x.oid";
static const char SQL_PLACE[] = "SELECT n.nspname FROM pg_catalog.pg_class c"
                                " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";

static const char SQL_SCHEMAS[] = "SELECT x.oid, n.nspname FROM pg_catalog.pg_namespace n"
                                  " JOIN pg_catalog.pg_namespace x ON x.oid = n.oid WHERE" SCHEMAS
                                  " AND" OURS("pg_namespace") " ORDER BY x.oid";
static const char SQL_SCHEMA_EXISTS[] =
    "SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_namespace WHERE nspname = $1";
/* As the schema whose objects it takes. */
static const char SQL_SCHEMA_LIKE[] =
    "SELECT pg_catalog.format('CREATE SCHEMA %I AUTHORIZATION %I', $1::text, r.rolname)"
    " FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner WHERE n.nspname = $2"
    " UNION ALL SELECT pg_catalog.format('GRANT %s ON SCHEMA %I TO %s%s', a.privilege_type, $1::text,"
    "  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE "
    "pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,"
    "  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
    " FROM pg_catalog.pg_namespace n CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a"
    " WHERE n.nspname = $2 AND a.grantee <> n.nspowner";
/* What stands in a schema by itself; the rest goes with it. */
static const char SQL_INSIDE[] =
    "SELECT d.classid, d.objid FROM pg_catalog.pg_depend d"
    " CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i"
    " WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = $1 AND d.deptype = 'n'"
    " AND d.objsubid = 0 AND i.type NOT IN ('extension', 'default acl', 'index')"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE d.classid = 'pg_catalog.pg_type'::regclass"
    "  AND t.oid = d.objid AND NOT t.typisdefined)"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend o WHERE o.classid = d.classid AND o.objid = d.objid"
    "  AND (o.deptype = 'e' OR (d.classid = 'pg_catalog.pg_class'::regclass AND o.deptype IN ('a', 'i')"
    "   AND o.refclassid = 'pg_catalog.pg_class'::regclass AND i.type = 'sequence')))"
    " ORDER BY d.classid, d.objid";
/* By the name as of now: types among its arguments may have moved before. */
static const char SQL_MOVING[] =
    "SELECT pg_catalog.format('ALTER %s %s SET SCHEMA %I', CASE"
    "  WHEN i.type IN ('table', 'view', 'materialized view', 'foreign table', 'sequence') THEN 'TABLE'"
    "  WHEN i.type IN ('function', 'procedure', 'aggregate') THEN 'ROUTINE'"
    "  WHEN i.type = 'composite type' THEN 'TYPE' WHEN i.type = 'statistics object' THEN 'STATISTICS'"
    "  ELSE pg_catalog.upper(i.type) END, i.identity, $3::text)"
    " FROM pg_catalog.pg_identify_object($1::oid, $2::oid, 0) i";

/* A relation on its way. */
typedef struct Moved {
    const char *oid, *schema; /* the schema as it was; `oid` as text */
    MappedName new_name;
    const char *schema_follows; /* where its schema, renamed, takes it */
    bool owned, aside;          /* aside: it has a name of ours, because the new one was not free yet */
} Moved;

typedef struct Renamer {
    const Mapping *mapping;
    Pg *inside;
    const atomic_bool *stop;
    Arena *arena;
    int count;
    Moved *relations;
} Renamer;

static const char *kept(Renamer *r, const char *text) {
    return arena_text(r->arena, slice_text(text));
}

/* A name of ours that nobody has. */
static const char *aside_name(Renamer *r, const char *number, const char *part) {
    Writer w = writer_new(SQL_MAX_BYTES);
    writer_format(&w, "walferry_%s_%s", number, part);
    const char *name = kept(r, writer_string(&w));
    writer_free(&w);
    return name;
}

static bool run(Renamer *r, Writer *sql, Error *e) {
    bool ok = !atomic_load(r->stop) ? pg_run(r->inside, writer_string(sql), e)
                                    : fail(e, ERR_STOPPED, "stopped while definitions were renamed");
    if (!ok && e->kind != ERR_STOPPED)
        fail_context(e, "%s", writer_string(sql));
    writer_free(sql);
    return ok;
}

static bool is_taken(const Error *e) {
    return sqlstate_is(e, SQLSTATE_DUPLICATE_COLUMN) || sqlstate_is(e, SQLSTATE_DUPLICATE_TABLE) ||
           sqlstate_is(e, SQLSTATE_DUPLICATE_OBJECT);
}

/* ---- columns ---- */

static bool column_rename(Renamer *r, const PGresult *rows, int row, const char *from, const char *to,
                          Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_format(&sql, "%s ", pg_cell(rows, row, 3));
    pg_write_name(&sql, r->inside, from);
    writer_text(&sql, " TO ");
    pg_write_name(&sql, r->inside, to);
    writer_text(&sql, pg_cell(rows, row, 4));
    return run(r, &sql, e);
}

static const char *column_new(Renamer *r, const PGresult *rows, int row) {
    return mapping_column(r->mapping, r->arena, pg_cell(rows, row, 0), pg_cell(rows, row, 1),
                          pg_cell(rows, row, 2));
}

/* Names that are exchanged, or that take another's old one, find it taken: such a column steps aside. */
static bool columns_rename(Renamer *r, Error *e) {
    PGresult *rows = pg_query(r->inside, SQL_COLUMNS, 0, NULL, e);
    bool ok = rows != NULL;
    int count = ok ? PQntuples(rows) : 0;
    bool *aside = memory_array((size_t)count + 1, sizeof *aside);
    for (int row = 0; ok && row < count; row++) {
        const char *old = pg_cell(rows, row, 2), *new = column_new(r, rows, row);
        if (strcmp(old, new) == 0)
            continue;
        ok = column_rename(r, rows, row, old, new, e);
        aside[row] = !ok && is_taken(e);
        if (aside[row])
            ok = column_rename(r, rows, row, old, aside_name(r, pg_cell(rows, row, 5), "column"), e);
    }
    for (int row = 0; ok && row < count; row++)
        if (aside[row])
            ok = column_rename(r, rows, row, aside_name(r, pg_cell(rows, row, 5), "column"),
                               column_new(r, rows, row), e);
    free(aside);
    PQclear(rows);
    return ok;
}

/* ---- relations ---- */

/* `what`: " RENAME TO " or " SET SCHEMA ". */
static bool relation_alter(Renamer *r, const char *schema, const char *name, const char *what, const char *to,
                           Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "ALTER TABLE ");
    pg_write_table(&sql, r->inside, schema, name);
    writer_text(&sql, what);
    pg_write_name(&sql, r->inside, to);
    return run(r, &sql, e);
}

static bool relation_rename(Renamer *r, const char *schema, const char *from, const char *to, Error *e) {
    return relation_alter(r, schema, from, " RENAME TO ", to, e);
}

static bool relations_read(Renamer *r, PGresult *rows) {
    r->count = PQntuples(rows);
    r->relations = arena_alloc(r->arena, ((size_t)r->count + 1) * sizeof *r->relations);
    for (int row = 0; row < r->count; row++) {
        const char *schema = kept(r, pg_cell(rows, row, 1)), *name = kept(r, pg_cell(rows, row, 2));
        r->relations[row] = (Moved){.oid = kept(r, pg_cell(rows, row, 0)),
                                    .schema = schema,
                                    .new_name = mapping_relation(r->mapping, r->arena, schema, name),
                                    .schema_follows = mapping_schema(r->mapping, r->arena, schema),
                                    .owned = pg_cell_bool(rows, row, 3)};
    }
    return true;
}

/* Within the old schemas. */
static bool relations_rename(Renamer *r, Error *e) {
    PGresult *rows = pg_query(r->inside, SQL_RELATIONS, 0, NULL, e);
    bool ok = rows != NULL && relations_read(r, rows);
    for (int at = 0; ok && at < r->count; at++) {
        Moved *m = &r->relations[at];
        const char *old = pg_cell(rows, at, 2);
        if (strcmp(old, m->new_name.name) == 0)
            continue;
        ok = relation_rename(r, m->schema, old, m->new_name.name, e);
        m->aside = !ok && is_taken(e);
        if (m->aside)
            ok = relation_rename(r, m->schema, old, aside_name(r, m->oid, "relation"), e);
    }
    PQclear(rows);
    return ok;
}

static bool schema_exists(Renamer *r, const char *name, bool *exists, Error *e) {
    char text[8];
    bool ok = pg_value(r->inside, SQL_SCHEMA_EXISTS, 1, &name, text, sizeof text, e);
    *exists = text[0] == 't';
    return ok;
}

/* Makes the schema as `like` is, where there is none yet. */
static bool schema_need(Renamer *r, const char *name, const char *like, Error *e) {
    bool exists;
    if (!schema_exists(r, name, &exists, e) || exists)
        return exists;
    const char *const params[] = {name, like};
    PGresult *statements = pg_query(r->inside, SQL_SCHEMA_LIKE, 2, params, e);
    bool ok = statements != NULL;
    for (int row = 0; ok && row < PQntuples(statements); row++)
        ok = pg_run(r->inside, pg_cell(statements, row, 0), e);
    PQclear(statements);
    return ok;
}

/* Those that go elsewhere than their schema; then those that stepped aside get their names. */
static bool relations_move(Renamer *r, Error *e) {
    bool ok = true;
    for (int at = 0; ok && at < r->count; at++) {
        Moved *m = &r->relations[at];
        if (m->owned || strcmp(m->new_name.schema, m->schema_follows) == 0)
            continue;
        const char *name = m->aside ? aside_name(r, m->oid, "relation") : m->new_name.name;
        ok = schema_need(r, m->new_name.schema, m->schema_follows, e) &&
             relation_alter(r, m->schema_follows, name, " SET SCHEMA ", m->new_name.schema, e);
    }
    for (int at = 0; ok && at < r->count; at++) {
        const Moved *m = &r->relations[at];
        char schema[256];
        if (m->aside)
            ok = pg_value(r->inside, SQL_PLACE, 1, &m->oid, schema, sizeof schema, e) &&
                 relation_rename(r, schema, aside_name(r, m->oid, "relation"), m->new_name.name, e);
    }
    return ok;
}

/* ---- schemas ---- */

static bool schema_rename(Renamer *r, const char *from, const char *to, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "ALTER SCHEMA ");
    pg_write_name(&sql, r->inside, from);
    writer_text(&sql, " RENAME TO ");
    pg_write_name(&sql, r->inside, to);
    return run(r, &sql, e);
}

static bool schema_drop(Renamer *r, const char *name, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "DROP SCHEMA ");
    pg_write_name(&sql, r->inside, name);
    return run(r, &sql, e);
}

static bool schema_move(Renamer *r, const char *oid, const char *to, Error *e) {
    PGresult *objects = pg_query(r->inside, SQL_INSIDE, 1, &oid, e);
    bool ok = objects != NULL;
    for (int row = 0; ok && row < PQntuples(objects); row++) {
        const char *const params[] = {pg_cell(objects, row, 0), pg_cell(objects, row, 1), to};
        PGresult *statement = pg_query(r->inside, SQL_MOVING, 3, params, e);
        ok = statement != NULL;
        if (ok) {
            Writer sql = writer_new(SQL_MAX_BYTES);
            writer_text(&sql, pg_cell(statement, 0, 0));
            ok = run(r, &sql, e);
        }
        PQclear(statement);
    }
    PQclear(objects);
    return ok;
}

/* It has stepped aside. One whose new name is taken gives what is in it, and goes unless an extension stays. */
static bool schema_arrive(Renamer *r, const PGresult *rows, int row, const char *to, Error *e) {
    const char *oid = pg_cell(rows, row, 0), *aside = aside_name(r, oid, "schema");
    Error full;
    bool exists;
    if (!schema_exists(r, to, &exists, e))
        return false;
    if (!exists)
        return schema_rename(r, aside, to, e);
    return schema_move(r, oid, to, e) &&
           (schema_drop(r, aside, &full) || schema_rename(r, aside, pg_cell(rows, row, 1), e));
}

static bool schemas_rename(Renamer *r, Error *e) {
    PGresult *rows = pg_query(r->inside, SQL_SCHEMAS, 0, NULL, e);
    bool ok = rows != NULL;
    for (int pass = 0; ok && pass < 2; pass++)
        for (int row = 0; ok && row < PQntuples(rows); row++) {
            const char *oid = pg_cell(rows, row, 0), *old = pg_cell(rows, row, 1);
            const char *new = mapping_schema(r->mapping, r->arena, old);
            if (strcmp(old, new) == 0)
                continue;
            if (strcmp(old, "public") != 0)
                ok = pass == 0 ? schema_rename(r, old, aside_name(r, oid, "schema"), e)
                               : schema_arrive(r, rows, row, new, e);
            else if (pass == 1) /* every database has it, with rights of its own */
                ok = schema_need(r, new, old, e) && schema_move(r, oid, new, e);
        }
    PQclear(rows);
    return ok;
}

bool rename_objects(const Mapping *mapping, Pg *inside, const atomic_bool *stop, Error *e) {
    Renamer r = {.mapping = mapping, .inside = inside, .stop = stop, .arena = arena_new()};
    bool ok =
        columns_rename(&r, e) && relations_rename(&r, e) && schemas_rename(&r, e) && relations_move(&r, e);
    arena_free(r.arena);
    return ok;
}
