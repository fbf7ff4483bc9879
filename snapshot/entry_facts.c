#include "snapshot/entry_facts.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* By the words that pg_restore's list has for them. */
static const char SQL_FACTS[] =
    "SELECT 'INDEX', x.relname::text, i.indrelid, false FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid"
    " UNION ALL SELECT CASE k.contype WHEN 'f' THEN 'FK CONSTRAINT' ELSE 'CONSTRAINT' END, k.conname::text,"
    " k.conrelid, k.contype = 'p' FROM pg_catalog.pg_constraint k WHERE k.contype IN ('p', 'u', 'x', 'f')"
    " UNION ALL SELECT 'STATISTICS', s.stxname::text, s.stxrelid, false FROM pg_catalog.pg_statistic_ext s";

enum { NAME_MAX_BYTES = 256 };

typedef struct Row {
    const char *type, *schema, *name;
    EntryFact fact;
} Row;

struct EntryFacts {
    Arena *arena; /* holds the texts */
    int count;
    Row *rows; /* sorted */
};

static int rows_compare(const void *a, const void *b) {
    const Row *left = a, *right = b;
    int by_type = strcmp(left->type, right->type);
    int by_schema = by_type != 0 ? by_type : strcmp(left->schema, right->schema);
    return by_schema != 0 ? by_schema : strcmp(left->name, right->name);
}

static int oids_compare(const void *a, const void *b) {
    const Table *const *left = a, *const *right = b;
    return (*left)->oid < (*right)->oid ? -1 : (*left)->oid > (*right)->oid;
}

static const Table **tables_by_oid(const Selection *selection) {
    const Table **tables = memory_array((size_t)selection->count + 1, sizeof *tables);
    for (int at = 0; at < selection->count; at++)
        tables[at] = &selection->tables[at];
    qsort(tables, (size_t)selection->count, sizeof *tables, oids_compare);
    return tables;
}

/* As the list of a dump under the names of the destination calls it. Statistics of another schema than their table's are
 * not found then. */
static Row row_make(Arena *arena, const PGresult *result, int row, const Table *table) {
    const char *type = arena_text(arena, slice_text(pg_cell(result, row, 0)));
    const char *name = pg_cell(result, row, 1), *of_table = strstr(type, "CONSTRAINT");
    Writer words = writer_new(NAME_MAX_BYTES);
    writer_format(&words, "%s%s%s", of_table == NULL ? "" : table->target_name, of_table == NULL ? "" : " ",
                  name);
    Row out = {.type = type,
               .schema = table->target_schema,
               .name = arena_text(arena, slice_text(writer_string(&words))),
               .fact = {table, pg_cell_bool(result, row, 3)}};
    writer_free(&words);
    return out;
}

static void rows_fill(EntryFacts *facts, const PGresult *result, const Selection *selection) {
    const Table **tables = tables_by_oid(selection);
    for (int row = 0; row < PQntuples(result); row++) {
        const Table wanted = {.oid = (uint32_t)pg_cell_int(result, row, 2)}, *key = &wanted;
        const Table **found = bsearch(&key, tables, (size_t)selection->count, sizeof *tables, oids_compare);
        if (found != NULL)
            facts->rows[facts->count++] = row_make(facts->arena, result, row, *found);
    }
    free(tables);
    qsort(facts->rows, (size_t)facts->count, sizeof *facts->rows, rows_compare);
}

EntryFacts *entry_facts_read(Pg *source, const Selection *selection, Error *e) {
    PGresult *result = pg_query(source, SQL_FACTS, 0, NULL, e);
    if (result == NULL)
        return NULL;
    EntryFacts *facts = memory_new(sizeof *facts);
    facts->arena = arena_new();
    facts->rows = memory_array((size_t)PQntuples(result) + 1, sizeof *facts->rows);
    rows_fill(facts, result, selection);
    PQclear(result);
    return facts;
}

EntryFact entry_facts_find(const EntryFacts *facts, const DumpEntry *entry) {
    const Row wanted = {.type = entry->type, .schema = entry->schema, .name = entry->name};
    const Row *found = bsearch(&wanted, facts->rows, (size_t)facts->count, sizeof *facts->rows, rows_compare);
    return found == NULL ? (EntryFact){0} : found->fact;
}

void entry_facts_free(EntryFacts *facts) {
    if (facts == NULL)
        return;
    arena_free(facts->arena);
    free(facts->rows);
    free(facts);
}
