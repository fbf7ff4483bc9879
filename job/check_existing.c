#include "job/check_existing.h"

#include <stdlib.h>
#include <string.h>

#include "core/sqlstate.h"
#include "job/check_keep.h"
#include "job/check_text.h"
#include "snapshot/existing.h"

/* Tables that the destination has already, when `existing` says that they stay or go: do they fit? */

static const char COLUMNS_SQL[] =
    "SELECT n.nspname, c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod),"
    "  a.attgenerated <> ''"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
    "   AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c', 'i', 'I')"
    " ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", a.attname COLLATE \"C\"";
enum { COLUMN_SCHEMA, COLUMN_TABLE, COLUMN_KIND, COLUMN_NAME, COLUMN_TYPE, COLUMN_GENERATED };

/* The keys by which a row can be found, one row a column. */
static const char KEYS_SQL[] =
    "SELECT n.nspname, c.relname, i.indexrelid, a.attname, i.indnkeyatts"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])"
    " WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL"
    "   AND NOT EXISTS (SELECT FROM pg_attribute x WHERE x.attrelid = c.oid AND NOT x.attnotnull"
    "                   AND x.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))"
    "   AND n.nspname NOT LIKE 'pg\\_%'"
    " ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", i.indexrelid";
enum { KEY_INDEX = 2, KEY_COLUMN, KEY_COUNT };

static const char MAY_REPLICA_SQL[] = "BEGIN; SET LOCAL session_replication_role = replica";

typedef struct Looking {
    Check *c;
    Finding *out;
    PGresult *columns, *keys;
    Names differing, keyless, other;
    int found;
} Looking;

static bool is_about(const PGresult *rows, int row, const Table *t) {
    return row < PQntuples(rows) && strcmp(pg_cell(rows, row, COLUMN_SCHEMA), t->target_schema) == 0 &&
           strcmp(pg_cell(rows, row, COLUMN_TABLE), t->target_name) == 0;
}

static const TableColumn *column_find(const Table *t, const char *target_name) {
    for (int at = 0; at < t->column_count; at++)
        if (strcmp(t->columns[at].target_name, target_name) == 0)
            return &t->columns[at];
    return NULL;
}

/* In whatever schema it is at the destination. */
static bool type_fits(const TableColumn *column, const char *type) {
    if (column->type_schema[0] == '\0')
        return strcmp(column->type_text, type) == 0;
    size_t length = strlen(type), name = strlen(column->type_name);
    return length > name && type[length - name - 1] == '.' &&
           strcmp(type + length - name, column->type_name) == 0;
}

/* The first difference in words; false: there is none. Under a column list the destination may have more. */
static bool columns_differ(const Looking *l, const Table *t, int row, Writer *why) {
    int same = 0, taken = 0;
    for (int at = 0; at < t->column_count; at++)
        taken += t->columns[at].taken ? 1 : 0;
    for (; is_about(l->columns, row, t); row++) {
        if (pg_cell_null(l->columns, row, COLUMN_NAME))
            continue;
        const char *name = pg_cell(l->columns, row, COLUMN_NAME),
                   *type = pg_cell(l->columns, row, COLUMN_TYPE);
        const TableColumn *here = column_find(t, name);
        bool generated = pg_cell_bool(l->columns, row, COLUMN_GENERATED);
        bool beside = t->listed && (here == NULL || !here->taken);
        if (beside && l->c->cfg->existing == EXISTING_KEEP)
            writer_format(
                why, "%s (column \"%s\" is not in the job's column list: existing: keep would not keep it)",
                t->target_full_name, name);
        else if (beside)
            continue;
        else if (here == NULL)
            writer_format(why, "%s (column \"%s\" is not at the source)", t->target_full_name, name);
        else if (!type_fits(here, type))
            writer_format(why, "%s (column \"%s\" is %s, at the source %s)", t->target_full_name, name, type,
                          here->type_text);
        else if (here->generated != generated)
            writer_format(why, "%s (column \"%s\" is generated on one side only)", t->target_full_name, name);
        if (why->len > 0)
            return true;
        same++;
    }
    if (same < taken)
        writer_format(why, "%s (%d columns, at the source %d)", t->target_full_name, same, taken);
    return same < taken;
}

/* Whether the destination has a key by which the source's changes find their rows: its identity, or any when that is
 * the whole row or nothing. */
static bool has_key(const Looking *l, const Table *t) {
    int row = pg_row_of_name(l->keys, t->target_schema, t->target_name), identity = 0;
    for (int at = 0; at < t->column_count; at++)
        identity += t->columns[at].identity_key ? 1 : 0;
    if (row < 0 || t->identity != TABLE_IDENTITY_KEY)
        return row >= 0;
    for (int matching = 0; is_about(l->keys, row, t); row++) {
        const TableColumn *column = column_find(t, pg_cell(l->keys, row, KEY_COLUMN));
        bool begins = matching == 0 ||
                      strcmp(pg_cell(l->keys, row, KEY_INDEX), pg_cell(l->keys, row - 1, KEY_INDEX)) != 0;
        matching = (begins ? 0 : matching) + (column != NULL && column->identity_key ? 1 : 0);
        if (matching == identity && pg_cell_int(l->keys, row, KEY_COUNT) == identity)
            return true;
    }
    return false;
}

static void table_look(Looking *l, const Table *t) {
    ExistingPolicy policy = l->c->cfg->existing;
    int row = pg_row_of_name(l->columns, t->target_schema, t->target_name);
    if (row < 0)
        return;
    l->found++;
    if (pg_cell(l->columns, row, COLUMN_KIND)[0] != 'r') {
        names_add(&l->other, t->target_full_name);
        return;
    }
    if (policy == EXISTING_DROP)
        return;
    Writer why = writer_new(1 << 10);
    if (columns_differ(l, t, row, &why))
        names_add(&l->differing, writer_string(&why));
    else if (policy == EXISTING_KEEP && !has_key(l, t))
        names_add(&l->keyless, t->target_full_name);
    writer_free(&why);
}

static void misfits_tell(Looking *l) {
    if (l->other.count > 0) {
        finding_fix(l->out, "rename what has their names at the target");
        finding_fail(l->out, "%d names of tables belong to something else at the target: %s", l->other.count,
                     names_text(&l->other));
    }
    if (l->differing.count > 0) {
        finding_fix(l->out, "make the columns alike, or set existing: drop");
        finding_fail(l->out, "%d tables are defined otherwise at the target: %s", l->differing.count,
                     names_text(&l->differing));
    }
    if (l->keyless.count > 0) {
        finding_fix(l->out,
                    "make the key that the source has, ALTER TABLE … ADD PRIMARY KEY …, or set existing: "
                    "truncate");
        finding_fail(l->out,
                     "%d tables have no unique key at the target over the columns that identify a row at the "
                     "source, so existing: keep cannot tell which rows meet: %s",
                     l->keyless.count, names_text(&l->keyless));
    }
}

/* Of a partitioned table only all or nothing is left as it is. */
static bool partitions_look(Looking *l, Error *e) {
    PGresult *rows = existing_partitions(l->c->source, e);
    Names names = names_new();
    Arena *arena = arena_new();
    for (int row = 0; rows != NULL && row < PQntuples(rows); row++) {
        MappedName there =
            mapping_relation(l->c->selection->mapping, arena, pg_cell(rows, row, 0), pg_cell(rows, row, 1));
        bool parent = pg_row_of_name(l->columns, there.schema, there.name) >= 0;
        const Table *leaf = selection_find(l->c->selection, pg_cell(rows, row, 2), pg_cell(rows, row, 3));
        if (leaf != NULL &&
            parent != (pg_row_of_name(l->columns, leaf->target_schema, leaf->target_name) >= 0))
            names_add(&names, leaf->target_full_name);
    }
    arena_free(arena);
    if (names.count > 0) {
        finding_fix(l->out, "make the whole partitioned table at the target, or none of it");
        finding_fail(l->out, "of %d partitions only the table or only the partition is at the target: %s",
                     names.count, names_text(&names));
    }
    names_free(&names);
    PQclear(rows);
    return rows != NULL;
}

/* Their triggers and foreign keys would act on rows that have had their effects at the source. */
static bool replica_look(Looking *l, Error *e) {
    Error ignored;
    bool may = pg_run(l->c->target, MAY_REPLICA_SQL, e);
    pg_run(l->c->target, "ROLLBACK", &ignored);
    if (may || !sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE))
        return may;
    finding_fix(l->out,
                "GRANT SET ON PARAMETER session_replication_role to the target's user (15 and newer), or "
                "connect as a superuser");
    return finding_fail(l->out, "the user may not set session_replication_role: triggers and foreign keys of "
                                "existing tables would act on what is loaded");
}

static bool looking_ask(Looking *l, Error *e) {
    return (l->columns = pg_query(l->c->target, COLUMNS_SQL, 0, NULL, e)) != NULL &&
           (l->keys = pg_query(l->c->target, KEYS_SQL, 0, NULL, e)) != NULL;
}

static void result_tell(Looking *l) {
    static const char *const what[] = {
        [EXISTING_KEEP] =
            "their rows stay in the load, and the source's win from then on; large values that an "
            "UPDATE leaves unchanged are not sent, so a row that stayed keeps its own",
        [EXISTING_TRUNCATE] = "their definitions stay, their rows go with the load",
        [EXISTING_DROP] = "they are dropped and made again"};
    ExistingPolicy policy = l->c->cfg->existing;
    if (l->found == 0)
        finding_pass(l->out, "none of %d tables exists at the target", l->c->selection->count);
    else
        finding_alert(l->out, "%d of %d tables exist at the target: existing: %s: %s", l->found,
                      l->c->selection->count, existing_policy_name(policy), what[policy]);
}

bool existing_look(Check *c, Finding *out, Error *e) {
    Looking l = {.c = c, .out = out, .differing = names_new(), .keyless = names_new(), .other = names_new()};
    bool drop = c->cfg->existing == EXISTING_DROP;
    bool ok = looking_ask(&l, e);
    for (int n = 0; ok && n < c->selection->count; n++)
        table_look(&l, &c->selection->tables[n]);
    if (ok) {
        result_tell(&l);
        misfits_tell(&l);
    }
    ok = ok && (drop || (partitions_look(&l, e) && (l.found == 0 || replica_look(&l, e))));
    ok = ok && (c->cfg->existing != EXISTING_KEEP || keep_look(c, out, e));
    names_free(&l.differing);
    names_free(&l.keyless);
    names_free(&l.other);
    PQclear(l.columns);
    PQclear(l.keys);
    return ok;
}
