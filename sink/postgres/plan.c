#include "sink/postgres/plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One row a column; the first four say the same in each row. `in_key`: in the primary key, else in the first
 * unique, valid, immediate, whole index over not-null columns. The type is without its modifier (-1, not
 * NULL: for char that would say "character", which is char(1)). watched: by a rule, by a trigger, or by a foreign key
 * that follows a row's deletion, and that is in force for this session. base: what a domain is
 * in the end, or the type itself; eq: its default btree "=". */
const char PLAN_QUERY[] =
    "WITH rel AS (SELECT c.oid, c.relkind, EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = "
    "c.oid) AS"
    " has_children, c.relhasrules OR EXISTS (SELECT FROM pg_catalog.pg_trigger g LEFT JOIN"
    "  pg_catalog.pg_constraint k ON k.oid = g.tgconstraint AND k.contype = 'f' AND k.confrelid = c.oid"
    "  WHERE g.tgrelid = c.oid"
    "  AND (NOT g.tgisinternal OR k.confdeltype IN ('c', 'n', 'd')) AND g.tgenabled IN ('A', CASE "
    "pg_catalog.current_setting("
    "'session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)) AS watched FROM pg_catalog.pg_class "
    "c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')),"
    " best AS (SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] AS keys FROM pg_catalog.pg_index i, rel WHERE "
    "i.indrelid = rel.oid AND i.indisunique"
    " AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute k WHERE k.attrelid = i.indrelid"
    "   AND k.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND NOT k.attnotnull)"
    " ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1)"
    " SELECT rel.relkind, rel.has_children, a.attname, pg_catalog.format_type(a.atttypid, -1),"
    " a.attgenerated <> '', a.attidentity = 'a',"
    " COALESCE(a.attnum = ANY ((SELECT keys FROM best)::int2[]), false),"
    " EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid AND "
    "x.relam = 403"
    "   WHERE i.indrelid = rel.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum),"
    " eq.schema, eq.name,"
    " ARRAY(SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = rel.oid AND i.indisunique"
    "   AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL"
    "   AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])),"
    " a.atttypid, rel.watched, NOT EXISTS (SELECT FROM pg_catalog.pg_cast x"
    "   WHERE x.castsource = 'pg_catalog.text'::regtype AND x.castmethod = 'f' AND x.casttarget = base.oid"
    "   AND x.casttarget NOT IN ('pg_catalog.xml'::regtype, 'pg_catalog.name'::regtype)),"
    " CASE WHEN base.oid <> a.atttypid THEN pg_catalog.format_type(base.oid, -1) END"
    " FROM rel JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " CROSS JOIN LATERAL (WITH RECURSIVE down AS (SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type t"
    "   WHERE t.oid = a.atttypid UNION ALL SELECT t.oid, t.typbasetype FROM down JOIN pg_catalog.pg_type t"
    "   ON t.oid = down.typbasetype) SELECT down.oid FROM down WHERE down.typbasetype = 0) base"
    " LEFT JOIN LATERAL (SELECT n.nspname AS schema, o.oprname AS name FROM pg_catalog.pg_opclass k"
    "   JOIN pg_catalog.pg_amop ao ON ao.amopfamily = k.opcfamily AND ao.amopstrategy = 3"
    "     AND ao.amoplefttype = k.opcintype AND ao.amoprighttype = k.opcintype"
    "   JOIN pg_catalog.pg_operator o ON o.oid = ao.amopopr JOIN pg_catalog.pg_namespace n ON n.oid = "
    "o.oprnamespace"
    "   WHERE k.opcmethod = 403 AND k.opcdefault AND k.opcintype = base.oid LIMIT 1) eq ON true"
    " ORDER BY a.attnum";

enum {
    CELL_KIND,
    CELL_CHILDREN,
    CELL_NAME,
    CELL_TYPE,
    CELL_GENERATED,
    CELL_ALWAYS,
    CELL_IN_KEY,
    CELL_INDEXED,
    CELL_EQUAL_SCHEMA,
    CELL_EQUAL_NAME,
    CELL_UNIQUES,
    CELL_TYPE_OID,
    CELL_WATCHED,
    CELL_CASTABLE,
    CELL_BASE,
    TEXT_LIMIT = 1024
};

static const char *quoted_name(Arena *arena, Pg *pg, const char *name) {
    Writer out = writer_new(TEXT_LIMIT);
    pg_write_name(&out, pg, name);
    const char *kept = arena_text(arena, writer_slice(&out));
    writer_free(&out);
    return kept;
}

static const char *equal_operator(Arena *arena, Pg *pg, const PGresult *columns, int row) {
    if (pg_cell_null(columns, row, CELL_EQUAL_SCHEMA) ||
        strcmp(pg_cell(columns, row, CELL_EQUAL_SCHEMA), "pg_catalog") == 0)
        return " = ";
    Writer out = writer_new(TEXT_LIMIT);
    writer_text(&out, " OPERATOR(");
    pg_write_name(&out, pg, pg_cell(columns, row, CELL_EQUAL_SCHEMA));
    writer_format(&out, ".%s) ", pg_cell(columns, row, CELL_EQUAL_NAME));
    const char *kept = arena_text(arena, writer_slice(&out));
    writer_free(&out);
    return kept;
}

static int row_of(const PGresult *columns, const char *name) {
    for (int row = 0; row < PQntuples(columns); row++)
        if (strcmp(pg_cell(columns, row, CELL_NAME), name) == 0)
            return row;
    return -1;
}

/* FULL identity: the destination's own key finds the row faster, when the source sends all of its columns. */
static PlanWhere where_full(Plan *plan, const PGresult *columns) {
    int in_key = 0, sent = 0;
    for (int row = 0; row < PQntuples(columns); row++)
        in_key += pg_cell_bool(columns, row, CELL_IN_KEY) ? 1 : 0;
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        int row = row_of(columns, plan->columns[column].name);
        plan->columns[column].key = row >= 0 && pg_cell_bool(columns, row, CELL_IN_KEY);
        sent += plan->columns[column].key ? 1 : 0;
    }
    if (in_key > 0 && sent == in_key)
        return PLAN_WHERE_KEY;
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        plan->columns[column].key = false;
    return PLAN_WHERE_WHOLE_ROW;
}

static PlanWhere where_of(Plan *plan, const PGresult *columns) {
    const Relation *rel = plan->rel;
    if (rel->identity == 'f')
        return where_full(plan, columns);
    PlanWhere where = PLAN_WHERE_NONE;
    for (uint16_t column = 0; column < rel->column_count; column++) {
        plan->columns[column].key = rel->columns[column].key;
        if (rel->columns[column].key)
            where = PLAN_WHERE_KEY;
    }
    return where;
}

static bool is_listed(const char *list, const char *entry, size_t length) {
    for (const char *at = list + 1; *at != '\0' && *at != '}';) {
        size_t size = strcspn(at, ",}");
        if (size == length && strncmp(at, entry, length) == 0)
            return true;
        at += at[size] == ',' ? size + 1 : size;
    }
    return false;
}

static bool is_key(const Plan *plan, const char *column) {
    for (uint16_t at = 0; at < plan->rel->column_count; at++)
        if (plan->columns[at].key && strcmp(plan->columns[at].name, column) == 0)
            return true;
    return false;
}

/* No column beside the key is part of this unique index. */
static bool within_key(const Plan *plan, const PGresult *columns, const char *oid, size_t length) {
    for (int row = 0; row < PQntuples(columns); row++)
        if (!is_key(plan, pg_cell(columns, row, CELL_NAME)) &&
            is_listed(pg_cell(columns, row, CELL_UNIQUES), oid, length))
            return false;
    return true;
}

static bool key_is_unique(const Plan *plan, const PGresult *columns) {
    for (int row = 0; row < PQntuples(columns); row++) {
        if (!is_key(plan, pg_cell(columns, row, CELL_NAME)))
            continue;
        for (const char *at = pg_cell(columns, row, CELL_UNIQUES) + 1; *at != '\0' && *at != '}';) {
            size_t size = strcspn(at, ",}");
            if (within_key(plan, columns, at, size))
                return true;
            at += at[size] == ',' ? size + 1 : size;
        }
    }
    return false;
}

/* A NaN has a sign and more that no text shows, and what was loaded in binary has kept it: floats, what is made of them,
 * and types that we do not know. Those have a schema, because the search path is empty. */
static bool has_many_images(const char *type) {
    static const char *const with_floats[] = {"real", "double precision", "point", "line", "lseg", "box",
                                              "path", "polygon",          "circle"};
    size_t length = strcspn(type, "[");
    for (size_t at = 0; at < sizeof with_floats / sizeof *with_floats; at++)
        if (strlen(with_floats[at]) == length && strncmp(with_floats[at], type, length) == 0)
            return true;
    return strchr(type, '.') != NULL;
}

static bool column_plan(Plan *plan, Arena *arena, Pg *pg, const PGresult *columns, uint16_t column,
                        Error *e) {
    const Relation *rel = plan->rel;
    PlanColumn *out = &plan->columns[column];
    int row = row_of(columns, out->name);
    if (row < 0) {
        bool renamed = strcmp(out->name, rel->columns[column].name) != 0;
        fail(e, ERR_DATA, "table \"%s.%s\"%s has no column \"%s\" at the target%s%s%s", rel->schema,
             rel->name, plan->called, out->name, renamed ? " (\"" : "",
             renamed ? rel->columns[column].name : "", renamed ? "\" of the source)" : "");
        return fail_hint(e, "make the same change of the table at the target, then start again");
    }
    out->quoted = quoted_name(arena, pg, out->name);
    out->type = arena_text(arena, slice_text(pg_cell(columns, row, CELL_TYPE)));
    out->base = pg_cell_null(columns, row, CELL_BASE)
                    ? NULL
                    : arena_text(arena, slice_text(pg_cell(columns, row, CELL_BASE)));
    out->equal = equal_operator(arena, pg, columns, row);
    out->by_text = has_many_images(out->type);
    out->indexed = pg_cell_bool(columns, row, CELL_INDEXED);
    out->writable = !pg_cell_bool(columns, row, CELL_GENERATED);
    out->always = pg_cell_bool(columns, row, CELL_ALWAYS);
    out->oid = (uint32_t)pg_cell_int(columns, row, CELL_TYPE_OID);
    out->castable = pg_cell_bool(columns, row, CELL_CASTABLE);
    plan->unarrayed = plan->unarrayed || !out->castable;
    plan->has_always = plan->has_always || out->always;
    return true;
}

static bool relation_fills(const Plan *plan, const char *column) {
    for (uint16_t at = 0; at < plan->rel->column_count; at++)
        if (strcmp(plan->columns[at].name, column) == 0)
            return true;
    return false;
}

static void beside_plan(Plan *plan, Arena *arena, Pg *pg, const PGresult *columns) {
    plan->beside = arena_alloc(arena, (size_t)PQntuples(columns) * sizeof *plan->beside);
    for (int row = 0; row < PQntuples(columns); row++) {
        const char *name = pg_cell(columns, row, CELL_NAME);
        if (!pg_cell_bool(columns, row, CELL_GENERATED) && !relation_fills(plan, name))
            plan->beside[plan->beside_count++] = quoted_name(arena, pg, name);
    }
}

/* ", there "crm.client"," behind the source's name, where the destination's is another one. */
static const char *called_there(Arena *arena, const Relation *rel, MappedName target) {
    if (strcmp(target.schema, rel->schema) == 0 && strcmp(target.name, rel->name) == 0)
        return "";
    Writer out = writer_new(TEXT_LIMIT);
    writer_format(&out, ", there \"%s.%s\",", target.schema, target.name);
    const char *kept = arena_text(arena, writer_slice(&out));
    writer_free(&out);
    return kept;
}

static PlanUnique *unique_find(Plan *plan, Arena *arena, uint32_t oid) {
    for (PlanUnique *unique = plan->uniques; unique != NULL; unique = unique->next)
        if (unique->oid == oid)
            return unique;
    PlanUnique *unique = arena_alloc(arena, sizeof *unique + plan->rel->column_count * sizeof(bool));
    memset(unique->columns, 0, plan->rel->column_count * sizeof(bool));
    unique->oid = oid;
    unique->next = plan->uniques;
    plan->uniques = unique;
    return unique;
}

/* Takes the indexes from "{16391,16402}". */
static void uniques_read(Plan *plan, Arena *arena, const char *text, uint16_t column) {
    for (const char *at = text + (*text == '{' ? 1 : 0); *at != '\0';) {
        char *end;
        unsigned long oid = strtoul(at, &end, 10);
        if (end == at)
            return;
        unique_find(plan, arena, (uint32_t)oid)->columns[column] = true;
        at = *end == '\0' ? end : end + 1;
    }
}

static void uniques_plan(Plan *plan, Arena *arena, const PGresult *columns) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        int row = row_of(columns, plan->columns[column].name);
        uniques_read(plan, arena, pg_cell(columns, row, CELL_UNIQUES), column);
    }
}

Plan *plan_build(Arena *arena, Pg *pg, const Selection *names, const Relation *rel, const PGresult *columns,
                 Lsn start, Error *e) {
    MappedName target = selection_target(names, arena, rel->schema, rel->name);
    const char *called = called_there(arena, rel, target);
    if (PQntuples(columns) == 0) {
        fail(e, ERR_DATA, "table \"%s.%s\"%s does not exist at the target", rel->schema, rel->name, called);
        fail_hint(e, "make it there, then start again");
        return NULL;
    }
    Plan *plan = arena_alloc(arena, sizeof *plan);
    plan->arena = arena;
    Writer table = writer_new(TEXT_LIMIT);
    pg_write_table(&table, pg, target.schema, target.name);
    plan->called = called;
    plan->rel = rel;
    plan->table = arena_text(arena, writer_slice(&table));
    writer_free(&table);
    plan->partitioned = pg_cell(columns, 0, CELL_KIND)[0] == 'p';
    plan->only = !plan->partitioned && pg_cell_bool(columns, 0, CELL_CHILDREN);
    plan->watched = pg_cell_bool(columns, 0, CELL_WATCHED);
    plan->start = start;
    plan->columns = arena_alloc(arena, (size_t)(rel->column_count + 1) * sizeof(PlanColumn));
    for (uint16_t column = 0; column < rel->column_count; column++) {
        const char *name = rel->columns[column].name;
        plan->columns[column].name = selection_target_column(names, arena, rel->schema, rel->name, name);
        if (!column_plan(plan, arena, pg, columns, column, e))
            return NULL;
    }
    beside_plan(plan, arena, pg, columns);
    plan->where = where_of(plan, columns);
    plan->choice = selection_choice(names, rel->schema, rel->name);
    uniques_plan(plan, arena, columns);
    plan->key_is_unique = plan->where == PLAN_WHERE_KEY && key_is_unique(plan, columns);
    return plan;
}

bool plan_keep(Plan *plan, Error *e) {
    plan->kept = true;
    if (plan->where != PLAN_WHERE_WHOLE_ROW && plan->uniques != NULL)
        return true;
    fail(e, ERR_DATA, "table \"%s.%s\"%s has no unique key at the target, which \"existing: keep\" needs",
         plan->rel->schema, plan->rel->name, plan->called);
    return fail_hint(e, "make the key that the source's table has, then start again");
}

Shape *plan_shape(Plan *plan, Arena *arena, ShapeKind kind, const bool *written, int finder,
                  uint32_t *next_name) {
    size_t size = plan->rel->column_count * sizeof(bool);
    for (Shape *shape = plan->shapes; shape != NULL; shape = shape->next)
        if (shape->kind == kind && shape->finder == finder && memcmp(shape->written, written, size) == 0)
            return shape;
    Shape *shape = arena_alloc(arena, sizeof *shape + size);
    shape->kind = kind;
    shape->finder = finder;
    memcpy(shape->written, written, size);
    snprintf(shape->name, sizeof shape->name, "w%" PRIu32, (*next_name)++);
    shape->next = plan->shapes;
    plan->shapes = shape;
    return shape;
}

SetShape *plan_set(Plan *plan, Arena *arena, SetKind kind, const uint8_t *forms, uint32_t *next_name) {
    size_t columns = plan->rel->column_count, size = 2 * columns * sizeof *forms;
    for (SetShape *set = plan->sets; set != NULL; set = set->next)
        if (set->kind == kind && memcmp(set->forms, forms, size) == 0)
            return set;
    SetShape *set = arena_alloc(arena, sizeof *set + size);
    set->kind = kind;
    set->binary = true;
    for (size_t at = 0; at < 2 * columns; at++) {
        set->binary = set->binary && forms[at] != SET_TEXT;
        set->written = (uint16_t)(set->written + (at < columns && forms[at] != SET_LEFT_OUT ? 1 : 0));
    }
    memcpy(set->forms, forms, size);
    snprintf(set->name, sizeof set->name, "w%" PRIu32, (*next_name)++);
    set->next = plan->sets;
    plan->sets = set;
    return set;
}

const char *plan_settable(const Plan *plan) {
    uint16_t column = 0;
    while (!plan->columns[column].writable || plan->columns[column].always) {
        column++;
        assert(column < plan->rel->column_count);
    }
    return plan->columns[column].quoted;
}
