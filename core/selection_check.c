#include <stdlib.h>
#include <string.h>

#include "core/config_value.h"
#include "core/memory.h"
#include "core/selection.h"
#include "core/selection_tree.h"

/* One row for each of $1 (schemas), $2 (relations, "" for none) and $3 (columns, "" for none), in their order. */
static const char NAMED_SQL[] =
    "SELECT n.oid IS NOT NULL, c.oid, c.relkind, a.attname IS NOT NULL, coalesce(a.attinhcount > 0, false),"
    " EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid AND p.proname = x.r)"
    " FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS x (s, r, col, place)"
    " LEFT JOIN pg_namespace n ON n.nspname = x.s"
    " LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = x.r"
    "   AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
    " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = x.col AND a.attnum > 0 AND NOT "
    "a.attisdropped"
    " ORDER BY x.place";
enum NamedField { N_SCHEMA, N_OID, N_KIND, N_COLUMN, N_INHERITED, N_ROUTINE };

/* The ancestors, the relation itself included, of the tables $1. */
static const char ANCESTORS_SQL[] = "WITH RECURSIVE up(oid) AS (SELECT unnest($1::oid[])"
                                    " UNION SELECT h.inhparent FROM pg_inherits h JOIN up ON h.inhrelid = "
                                    "up.oid) SELECT oid FROM up ORDER BY oid";

/* What a mistyped name may have meant. */
static const char SCHEMAS_SQL[] = "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'";
static const char RELATIONS_SQL[] =
    "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname NOT LIKE 'pg\\_%'"
    " AND n.nspname <> 'information_schema'";
static const char COLUMNS_SQL[] =
    "SELECT attname FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped";

enum { TEXT_MAX_BYTES = 4096, LIST_MAX_BYTES = 64 << 20 };

typedef struct Looker {
    Pg *source;
    const Selection *selection;
    SelectionTell *tell;
    void *context;
    Writer schemas, relations, columns; /* arrays of what is named */
    NamedObject *named;
    int count;
    Writer sentence, fix;
} Looker;

static void told(Looker *l) {
    l->tell(l->context, writer_string(&l->sentence), writer_string(&l->fix));
    writer_reset(&l->sentence);
    writer_reset(&l->fix);
}

/* ---- one name for two ---- */

static void tables_collide(Looker *l) {
    const Selection *s = l->selection;
    for (int at = 1; at < s->count; at++) {
        const Table *a = &s->tables[s->by_target[at - 1]], *b = &s->tables[s->by_target[at]];
        if (strcmp(a->target_schema, b->target_schema) != 0 || strcmp(a->target_name, b->target_name) != 0)
            continue;
        writer_format(&l->sentence, "tables \"%s\" and \"%s\" would both be \"%s\" at the target",
                      a->full_name, b->full_name, a->target_full_name);
        writer_text(&l->fix, "give one of them another name in objects.rename, or leave one out");
        told(l);
    }
}

/* Only a rename can lead there. */
static void tables_misplaced(Looker *l, const Config *cfg) {
    for (int at = 0; at < l->selection->count; at++) {
        const Table *t = &l->selection->tables[at];
        bool system =
            strncmp(t->target_schema, "pg_", 3) == 0 || strcmp(t->target_schema, "information_schema") == 0;
        if (!system && strcmp(t->target_schema, cfg->target.state_schema) != 0)
            continue;
        writer_format(&l->sentence, "table \"%s\" would be in schema \"%s\" at the target, which is %s",
                      t->full_name, t->target_schema,
                      system ? "the server's own" : "that of the job's record");
        writer_text(&l->fix, "give it another schema in objects.rename");
        told(l);
    }
}

static int columns_compare(const void *a, const void *b) {
    const TableColumn *const *left = a, *const *right = b;
    int by_target = strcmp((*left)->target_name, (*right)->target_name);
    return by_target != 0 ? by_target : strcmp((*left)->name, (*right)->name);
}

static void columns_collide(Looker *l, const Table *t) {
    const TableColumn **order = memory_array((size_t)t->column_count + 1, sizeof *order);
    int count = 0;
    for (int at = 0; at < t->column_count; at++)
        order[count++] = &t->columns[at];
    qsort(order, (size_t)count, sizeof *order, columns_compare);
    for (int at = 1; at < count; at++) {
        if (strcmp(order[at - 1]->target_name, order[at]->target_name) != 0)
            continue;
        writer_format(&l->sentence,
                      "columns \"%s\" and \"%s\" of table \"%s\" would both be \"%s\" at the target",
                      order[at - 1]->name, order[at]->name, t->full_name, order[at]->target_name);
        writer_text(&l->fix, "give one of them another name in objects.rename.columns");
        told(l);
    }
    free(order);
}

/* ---- what is named by hand ---- */

static void named_add(Looker *l, const NamedObject *named) {
    if (l->count == 0) {
        writer_text(&l->schemas, "{");
        writer_text(&l->relations, "{");
        writer_text(&l->columns, "{");
    }
    NamedObject *grown = memory_grow(l->named, ((size_t)l->count + 1) * sizeof *grown);
    l->named = grown;
    l->named[l->count++] = *named;
    pg_write_item(&l->schemas, named->schema);
    pg_write_item(&l->relations, named->table == NULL ? "" : named->table);
    pg_write_item(&l->columns, named->column == NULL ? "" : named->column);
}

static bool named_take(void *context, const NamedObject *named, Error *e) {
    (void)e;
    named_add(context, named);
    return true;
}

/* Patterns without "*" are names. */
static void included_take(Looker *l, const Config *cfg, Arena *arena) {
    for (int at = 0; at < cfg->objects.include.count; at++) {
        const char *text = cfg->objects.include.items[at];
        ConfigName name;
        if (text[0] == '!' || strchr(text, '*') != NULL || !config_table_read(text, &name, NULL))
            continue;
        named_add(l, &(NamedObject){.option = "objects.include",
                                    .schema = arena_text(arena, slice_text(name.schema)),
                                    .table = arena_text(arena, slice_text(name.table))});
    }
}

static bool nearest_write(Looker *l, const char *word, const char *sql, const char *oid, Error *e) {
    PGresult *rows = pg_query(l->source, sql, oid == NULL ? 0 : 1, &oid, e);
    if (rows == NULL)
        return false;
    size_t count = (size_t)PQntuples(rows);
    const char **names = memory_array(count + 1, sizeof *names);
    for (size_t row = 0; row < count; row++)
        names[row] = pg_cell(rows, (int)row, 0);
    const char *nearest = config_nearest(word, names, count);
    if (nearest != NULL)
        writer_format(&l->fix, "did you mean \"%s\"?", nearest);
    free(names);
    PQclear(rows);
    return true;
}

static bool missing_tell(Looker *l, const NamedObject *named, const PGresult *rows, int row, Error *e) {
    const char *const option = named->option;
    Writer name = writer_new(TEXT_MAX_BYTES);
    bool ok = true;
    writer_format(&name, "%s%s%s", named->schema, named->table == NULL ? "" : ".",
                  named->table == NULL ? "" : named->table);
    if (named->table == NULL) {
        writer_format(&l->sentence, "%s names schema \"%s\", which the source has not", option,
                      named->schema);
        ok = nearest_write(l, named->schema, SCHEMAS_SQL, NULL, e);
    } else if (pg_cell_null(rows, row, N_OID)) {
        writer_format(&l->sentence, "%s names \"%s\", which the source has not", option,
                      writer_string(&name));
        ok = nearest_write(l, writer_string(&name), RELATIONS_SQL, NULL, e);
    } else {
        writer_format(&l->sentence, "%s names column \"%s\" of \"%s\", which has none of this name", option,
                      named->column, writer_string(&name));
        ok = nearest_write(l, named->column, COLUMNS_SQL, pg_cell(rows, row, N_OID), e);
    }
    writer_free(&name);
    if (ok)
        told(l);
    return ok;
}

static bool oid_among(const PGresult *rows, const char *oid) {
    uint32_t wanted = (uint32_t)strtoul(oid, NULL, 10);
    return tree_row_is_of(rows, tree_row(rows, wanted), wanted);
}

/* A table that is there, but that no pattern takes: what is said of it has no effect. */
static void untaken_tell(Looker *l, const NamedObject *named) {
    writer_format(&l->sentence, "%s names \"%s.%s\", which the job does not take", named->option,
                  named->schema, named->table);
    writer_text(&l->fix, "take it by objects.include, or leave it out of the option");
    told(l);
}

/* Its name is that of the ancestor's column: what is said here has no effect. */
static void inherited_tell(Looker *l, const NamedObject *named) {
    writer_format(&l->sentence, "%s names column \"%s\" of \"%s.%s\", which inherits it", named->option,
                  named->column, named->schema, named->table);
    writer_text(&l->fix, "name the column of the topmost table: the others follow");
    told(l);
}

static bool row_look(Looker *l, int row, const PGresult *rows, const PGresult *taken, Error *e) {
    const NamedObject *named = &l->named[row];
    if (pg_cell_bool(rows, row, N_ROUTINE) && strcmp(named->option, "objects.include") == 0)
        return true; /* patterns are of routines, too */
    bool there = named->table == NULL ? pg_cell_bool(rows, row, N_SCHEMA) : !pg_cell_null(rows, row, N_OID);
    if (!there || (named->column != NULL && !pg_cell_bool(rows, row, N_COLUMN)))
        return missing_tell(l, named, rows, row, e);
    char kind = pg_cell(rows, row, N_KIND)[0];
    if ((kind == 'r' || kind == 'p') && !oid_among(taken, pg_cell(rows, row, N_OID)))
        untaken_tell(l, named);
    else if (pg_cell_bool(rows, row, N_INHERITED) && strcmp(named->option, "objects.rename.columns") == 0)
        inherited_tell(l, named);
    return true;
}

static PGresult *ancestors_read(Looker *l, Error *e) {
    Writer oids = writer_new(LIST_MAX_BYTES);
    writer_text(&oids, "{");
    for (int at = 0; at < l->selection->count; at++)
        writer_format(&oids, "%s%u", at == 0 ? "" : ",", l->selection->tables[at].oid);
    writer_text(&oids, "}");
    const char *const params[] = {writer_string(&oids)};
    PGresult *rows = pg_query(l->source, ANCESTORS_SQL, 1, params, e);
    writer_free(&oids);
    return rows;
}

static bool named_look(Looker *l, Error *e) {
    Writer *const arrays[] = {&l->schemas, &l->relations, &l->columns};
    const char *params[3];
    for (int at = 0; at < 3; at++) {
        writer_text(arrays[at], "}");
        params[at] = writer_string(arrays[at]);
    }
    PGresult *rows = pg_query(l->source, NAMED_SQL, 3, params, e);
    PGresult *taken = rows == NULL ? NULL : ancestors_read(l, e);
    bool ok = taken != NULL;
    for (int row = 0; ok && row < l->count; row++)
        ok = row_look(l, row, rows, taken, e);
    PQclear(rows);
    PQclear(taken);
    return ok;
}

bool selection_check(Pg *source, const Config *cfg, const Selection *s, bool named, SelectionTell *tell,
                     void *context, Error *e) {
    Looker l = {.source = source,
                .selection = s,
                .tell = tell,
                .context = context,
                .schemas = writer_new(LIST_MAX_BYTES),
                .relations = writer_new(LIST_MAX_BYTES),
                .columns = writer_new(LIST_MAX_BYTES),
                .sentence = writer_new(TEXT_MAX_BYTES),
                .fix = writer_new(TEXT_MAX_BYTES)};
    Arena *arena = arena_new();
    bool ok = true;
    tables_collide(&l);
    tables_misplaced(&l, cfg);
    for (int at = 0; mapping_renames(s->mapping) && at < s->count; at++)
        columns_collide(&l, &s->tables[at]);
    if (named) {
        ok = mapping_visit(s->mapping, named_take, &l, e);
        included_take(&l, cfg, arena);
        ok = ok && (l.count == 0 || named_look(&l, e));
    }
    Writer *const writers[] = {&l.schemas, &l.relations, &l.columns, &l.sentence, &l.fix};
    for (size_t at = 0; at < sizeof writers / sizeof *writers; at++)
        writer_free(writers[at]);
    free(l.named);
    arena_free(arena);
    return ok;
}
