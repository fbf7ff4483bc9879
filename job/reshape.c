#include "job/reshape.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/definition.h"
#include "core/log.h"

static const char SQL_BEGIN[] =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = error";
/* What the record knows the table by, and where it belongs: the topmost table of a partition. */
static const char SQL_FIND[] =
    "SELECT n.nspname, c.relname, c.relispartition, tn.nspname, t.relname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_class t ON t.oid = CASE WHEN c.relispartition"
    "   THEN pg_catalog.pg_partition_root(c.oid)::oid ELSE c.oid END"
    " JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace"
    " WHERE c.relkind = 'r' AND (c.oid = $1::oid OR (n.nspname = $2 AND c.relname = $3))"
    " ORDER BY c.oid = $1::oid DESC LIMIT 1";
static const char SQL_COLUMNS[] =
    "SELECT a.attname, a.attnum, CASE WHEN s.nspname = 'pg_catalog' THEN '' ELSE s.nspname END,"
    " CASE WHEN s.nspname = 'pg_catalog' THEN pg_catalog.format_type(a.atttypid, a.atttypmod)"
    " ELSE pg_catalog.substr(pg_catalog.format_type(a.atttypid, a.atttypmod),"
    "                        pg_catalog.length(pg_catalog.quote_ident(s.nspname)) + 2) END, a.attnotnull"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace s ON s.oid = "
    "t.typnamespace"
    " WHERE n.nspname = $1 AND c.relname = $2 ORDER BY a.attnum";
enum { THERE_NAME, THERE_NUMBER, THERE_SCHEMA, THERE_TYPE, THERE_NOT_NULL };
/* Of the source: what comes behind the type of each column. */
static const char SQL_EXTRAS[] =
    "SELECT a.attnum, a.attidentity, a.attgenerated, pg_catalog.pg_get_expr(d.adbin, d.adrelid)"
    " FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum "
    "="
    " a.attnum WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped";
enum { EXTRA_NUMBER, EXTRA_IDENTITY, EXTRA_GENERATED, EXTRA_EXPRESSION };
/* TRUNCATE refuses a table that others refer to. */
static const char SQL_REFERRED[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid ="
    " pg_catalog.to_regclass($1) AND conrelid <> confrelid)";
static const char SQL_KEEP_STILL[] = "SET LOCAL session_replication_role = replica";

enum { SQL_LIMIT = 1 << 20 };

typedef struct Reshape {
    Pg *source, *target;
    const TableRecord *record;
    const Table *table;
    const Selection *selection;
    Arena *arena;
    Writer name, top; /* at the target, quoted; the one that columns are changed of */
    bool partition, emptied;
    PGresult *there, *extras;
} Reshape;

/* "ALTER TABLE <top> …" */
static Writer alter(const Reshape *r) {
    Writer sql = writer_new(SQL_LIMIT);
    writer_format(&sql, "ALTER TABLE %.*s ", (int)r->top.len, r->top.at);
    return sql;
}

static bool alter_run(const Reshape *r, Writer *sql, Error *e) {
    bool ok = pg_run(r->target, writer_string(sql), e);
    if (ok)
        log_info("at the target: %s", writer_string(sql));
    writer_free(sql);
    return ok;
}

/* What a refusal must not take with it. */
static void alter_try(const Reshape *r, Writer *sql) {
    Error refused, lost;
    if (!pg_attempt(r->target, writer_string(sql), &refused, &lost))
        log_warn("left out at the target: %s (%s)", writer_string(sql), lost.text);
    else if (refused.kind != ERR_NONE)
        log_warn("left out at the target: %s (%s)", writer_string(sql), refused.text);
    writer_free(sql);
}

/* ---- names ---- */

static void names_write(Reshape *r, const char *schema, const char *name, const char *top_schema,
                        const char *top_name) {
    writer_reset(&r->name);
    writer_reset(&r->top);
    pg_write_table(&r->name, r->target, schema, name);
    pg_write_table(&r->top, r->target, top_schema, top_name);
}

static bool name_move(Reshape *r, const char *schema, const char *name, Error *e) {
    const Table *t = r->table;
    bool ok = true;
    Writer sql = writer_new(SQL_LIMIT);
    if (strcmp(schema, t->target_schema) != 0) {
        writer_format(&sql, "ALTER TABLE %s SET SCHEMA ", writer_string(&r->name));
        pg_write_name(&sql, r->target, t->target_schema);
        ok = pg_run(r->target, writer_string(&sql), e);
        writer_reset(&sql);
    }
    if (ok && strcmp(name, t->target_name) != 0) {
        writer_text(&sql, "ALTER TABLE ");
        pg_write_table(&sql, r->target, t->target_schema, name);
        writer_text(&sql, " RENAME TO ");
        pg_write_name(&sql, r->target, t->target_name);
        ok = pg_run(r->target, writer_string(&sql), e);
    }
    writer_free(&sql);
    return ok;
}

/* Another captured table may still have the name: its own turn comes. */
static bool name_free(const Reshape *r, Error *e) {
    Writer sql = writer_new(SQL_LIMIT);
    writer_text(&sql, "SELECT pg_catalog.to_regclass($1)::oid");
    Writer wanted = writer_new(SQL_LIMIT);
    pg_write_table(&wanted, r->target, r->table->target_schema, r->table->target_name);
    const char *const params[] = {writer_string(&wanted)};
    char oid[16];
    bool ok = pg_value(r->target, writer_string(&sql), 1, params, oid, sizeof oid, e);
    writer_reset(&sql);
    if (ok && oid[0] != '\0') {
        writer_format(&sql, "ALTER TABLE %s RENAME TO dts_moved_%s", writer_string(&wanted), oid);
        ok = pg_run(r->target, writer_string(&sql), e);
    }
    writer_free(&sql);
    writer_free(&wanted);
    return ok;
}

static bool table_find(Reshape *r, const char *schema, const char *name, PGresult **out, Error *e) {
    char oid[16];
    const char *const params[] = {oid, schema, name};
    snprintf(oid, sizeof oid, "%u", r->record->target_oid);
    *out = pg_query(r->target, SQL_FIND, 3, params, e);
    if (*out == NULL || PQntuples(*out) == 1)
        return *out != NULL;
    PQclear(*out);
    *out = NULL;
    fail(e, ERR_DATA, "table \"%s\" does not exist at the target, where it is to be loaded again",
         r->table->target_full_name);
    return fail_hint(e, "make it there as it is on the source, then start again");
}

static bool name_settle(Reshape *r, Error *e) {
    const Table *t = r->table;
    PGresult *found;
    if (!table_find(r, t->target_schema, t->target_name, &found, e))
        return false;
    const char *schema = pg_cell(found, 0, 0), *name = pg_cell(found, 0, 1);
    r->partition = pg_cell_bool(found, 0, 2);
    names_write(r, schema, name, pg_cell(found, 0, 3), pg_cell(found, 0, 4));
    bool moves = strcmp(schema, t->target_schema) != 0 || strcmp(name, t->target_name) != 0;
    bool ok = !moves || (name_free(r, e) && name_move(r, schema, name, e));
    if (ok && moves)
        names_write(r, t->target_schema, t->target_name,
                    r->partition ? pg_cell(found, 0, 3) : t->target_schema,
                    r->partition ? pg_cell(found, 0, 4) : t->target_name);
    PQclear(found);
    return ok;
}

/* ---- columns ---- */

static bool columns_read(Reshape *r, Error *e) {
    const char *const params[] = {r->table->target_schema, r->table->target_name};
    PQclear(r->there);
    r->there = pg_query(r->target, SQL_COLUMNS, 2, params, e);
    return r->there != NULL;
}

static int there_row(const Reshape *r, const char *name) {
    for (int row = 0; row < PQntuples(r->there); row++)
        if (strcmp(pg_cell(r->there, row, THERE_NAME), name) == 0)
            return row;
    return -1;
}

/* A name that the record gives to the column which has it now. */
static bool is_the_one(const Reshape *r, const char *name, int row) {
    json_t *numbers =
        r->record->target_columns == NULL ? NULL : json_loads(r->record->target_columns, 0, NULL);
    bool same =
        json_integer_value(json_object_get(numbers, name)) == pg_cell_int(r->there, row, THERE_NUMBER);
    json_decref(numbers);
    return same;
}

static const char *target_column(const Reshape *r, const char *name) {
    return selection_target_column(r->selection, r->arena, r->table->schema, r->table->name, name);
}

static bool rename_run(const Reshape *r, const char *from, const char *to, Error *e) {
    Writer sql = alter(r);
    writer_text(&sql, "RENAME COLUMN ");
    pg_write_name(&sql, r->target, from);
    writer_text(&sql, " TO ");
    pg_write_name(&sql, r->target, to);
    return alter_run(r, &sql, e);
}

/* By way of names that nobody has: two columns may have changed theirs with each other. */
static bool columns_rename(Reshape *r, Error *e) {
    const Definition *after = definition_of_table(r->arena, r->table), *before;
    before = r->record->definition == NULL ? NULL : definition_read(r->arena, r->record->definition);
    if (before == NULL)
        return true;
    size_t most = 2 * ((size_t)before->count + (size_t)after->count) + 1;
    Alteration *list = arena_alloc(r->arena, most * sizeof *list);
    bool *moved = arena_alloc(r->arena, most * sizeof *moved);
    int count = definition_alterations(before, after, list);
    bool ok = true;
    char name[32];
    for (int at = 0; ok && at < count; at++) {
        if (list[at].kind != ALTERED_RENAMED)
            continue;
        const char *from = target_column(r, list[at].before->name);
        int row = there_row(r, from);
        if (row < 0 || !is_the_one(r, from, row))
            continue;
        snprintf(name, sizeof name, "dts_moved_%d", at);
        ok = rename_run(r, from, name, e);
        moved[at] = true;
    }
    for (int at = 0; ok && at < count; at++) {
        snprintf(name, sizeof name, "dts_moved_%d", at);
        ok = !moved[at] || rename_run(r, name, target_column(r, list[at].after->name), e);
    }
    return ok && columns_read(r, e);
}

/* Only what came with the job, or by it: a column of the destination's own is not ours to drop. */
static bool columns_drop(Reshape *r, Error *e) {
    bool ok = true;
    for (int row = 0; ok && row < PQntuples(r->there); row++) {
        const char *name = pg_cell(r->there, row, THERE_NAME);
        bool kept = !is_the_one(r, name, row);
        for (int at = 0; !kept && at < r->table->column_count; at++)
            kept = r->table->columns[at].taken && strcmp(r->table->columns[at].target_name, name) == 0;
        if (kept)
            continue;
        Writer sql = alter(r);
        writer_text(&sql, "DROP COLUMN ");
        pg_write_name(&sql, r->target, name);
        ok = alter_run(r, &sql, e);
    }
    return ok && columns_read(r, e);
}

static bool empty(Reshape *r, Error *e) {
    if (r->emptied || r->partition)
        return true;
    const char *const params[] = {writer_string(&r->name)};
    char referred[8];
    Writer sql = writer_new(SQL_LIMIT);
    bool ok = pg_value(r->target, SQL_REFERRED, 1, params, referred, sizeof referred, e);
    if (ok && referred[0] == 't') {
        Writer still = writer_new(SQL_LIMIT);
        writer_text(&still, SQL_KEEP_STILL);
        alter_try(r, &still);
    }
    writer_format(&sql, "%s ONLY %s", ok && referred[0] == 't' ? "DELETE FROM" : "TRUNCATE",
                  writer_string(&r->name));
    ok = ok && pg_run(r->target, writer_string(&sql), e);
    r->emptied = ok;
    writer_free(&sql);
    return ok;
}

static void type_write(const Reshape *r, Writer *sql, const TableColumn *column) {
    if (column->target_type_schema[0] != '\0') {
        pg_write_name(sql, r->target, column->target_type_schema);
        writer_u8(sql, '.');
    }
    writer_text(sql, column->type_name);
}

static int extras_row(const Reshape *r, const TableColumn *column) {
    for (int row = 0; row < PQntuples(r->extras); row++)
        if (pg_cell_int(r->extras, row, EXTRA_NUMBER) == column->number)
            return row;
    return -1;
}

static void default_set(const Reshape *r, const TableColumn *column) {
    int row = extras_row(r, column);
    if (row < 0 || pg_cell_null(r->extras, row, EXTRA_EXPRESSION) ||
        pg_cell(r->extras, row, EXTRA_GENERATED)[0] != '\0')
        return;
    Writer sql = alter(r);
    writer_text(&sql, "ALTER COLUMN ");
    pg_write_name(&sql, r->target, column->target_name);
    writer_format(&sql, " SET DEFAULT %s", pg_cell(r->extras, row, EXTRA_EXPRESSION));
    alter_try(r, &sql);
}

static bool column_add(Reshape *r, const TableColumn *column, Error *e) {
    int row = extras_row(r, column);
    if (!empty(r, e))
        return false;
    Writer sql = alter(r);
    writer_text(&sql, "ADD COLUMN ");
    pg_write_name(&sql, r->target, column->target_name);
    writer_u8(&sql, ' ');
    type_write(r, &sql, column);
    char identity = row < 0 ? '\0' : pg_cell(r->extras, row, EXTRA_IDENTITY)[0];
    if (identity != '\0')
        writer_format(&sql, " GENERATED %s AS IDENTITY", identity == 'a' ? "ALWAYS" : "BY DEFAULT");
    if (row >= 0 && pg_cell(r->extras, row, EXTRA_GENERATED)[0] == 's')
        writer_format(&sql, " GENERATED ALWAYS AS (%s) STORED", pg_cell(r->extras, row, EXTRA_EXPRESSION));
    if (column->not_null && !r->partition)
        writer_text(&sql, " NOT NULL");
    if (!alter_run(r, &sql, e))
        return false;
    default_set(r, column);
    return true;
}

/* Of a table without rows any type becomes any other. */
static bool column_retype(Reshape *r, const TableColumn *column, Error *e) {
    if (!empty(r, e))
        return false;
    Writer sql = alter(r);
    writer_text(&sql, "ALTER COLUMN ");
    pg_write_name(&sql, r->target, column->target_name);
    writer_text(&sql, " DROP DEFAULT, ALTER COLUMN ");
    pg_write_name(&sql, r->target, column->target_name);
    writer_text(&sql, " TYPE ");
    type_write(r, &sql, column);
    if (!r->partition) {
        writer_text(&sql, " USING NULL::");
        type_write(r, &sql, column);
    }
    if (!alter_run(r, &sql, e))
        return false;
    default_set(r, column);
    return true;
}

static bool not_null_settle(const Reshape *r, const TableColumn *column, int row, Error *e) {
    if (r->partition || pg_cell_bool(r->there, row, THERE_NOT_NULL) == column->not_null)
        return true;
    Writer sql = alter(r);
    writer_text(&sql, "ALTER COLUMN ");
    pg_write_name(&sql, r->target, column->target_name);
    writer_format(&sql, " %s NOT NULL", column->not_null ? "SET" : "DROP");
    return alter_run(r, &sql, e);
}

static bool column_settle(Reshape *r, const TableColumn *column, Error *e) {
    int row = there_row(r, column->target_name);
    if (row < 0)
        return column_add(r, column, e);
    const char *schema = pg_cell(r->there, row, THERE_SCHEMA);
    bool same = strcmp(pg_cell(r->there, row, THERE_TYPE), column->type_name) == 0 &&
                (strcmp(schema, column->target_type_schema) == 0 || strcmp(schema, column->type_schema) == 0);
    if (!same && !column->generated && !column_retype(r, column, e))
        return false;
    return not_null_settle(r, column, row, e);
}

static bool columns_settle(Reshape *r, Error *e) {
    char oid[16];
    const char *const params[] = {oid};
    snprintf(oid, sizeof oid, "%u", r->table->oid);
    r->extras = pg_query(r->source, SQL_EXTRAS, 1, params, e);
    bool ok = r->extras != NULL && columns_read(r, e) && columns_rename(r, e) && columns_drop(r, e);
    for (int at = 0; ok && at < r->table->column_count; at++)
        ok = !r->table->columns[at].taken || column_settle(r, &r->table->columns[at], e);
    return ok;
}

bool reshape_table(Pg *source, Pg *target, const Selection *selection, const TableRecord *record,
                   const Table *table, Error *e) {
    Reshape r = {.source = source,
                 .target = target,
                 .record = record,
                 .table = table,
                 .selection = selection,
                 .arena = arena_new(),
                 .name = writer_new(SQL_LIMIT),
                 .top = writer_new(SQL_LIMIT)};
    Error ignored;
    bool ok = pg_run(target, SQL_BEGIN, e) && name_settle(&r, e) && columns_settle(&r, e) &&
              pg_run(target, "COMMIT", e);
    if (!ok) {
        fail_context(e, "giving table \"%s\" its new form at the target", table->target_full_name);
        pg_run(target, "ROLLBACK", &ignored);
    }
    PQclear(r.there);
    PQclear(r.extras);
    writer_free(&r.name);
    writer_free(&r.top);
    arena_free(r.arena);
    return ok;
}
