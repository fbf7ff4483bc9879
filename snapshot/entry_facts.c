#include "snapshot/entry_facts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* By the words that pg_restore's list has for them. */
static const char SQL_FACTS[] =
    "SELECT 'INDEX', n.nspname::text, x.relname::text, i.indrelid, false FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
    " UNION ALL SELECT CASE k.contype WHEN 'f' THEN 'FK CONSTRAINT' ELSE 'CONSTRAINT' END, n.nspname::text,"
    " c.relname || ' ' || k.conname, k.conrelid, k.contype = 'p' FROM pg_catalog.pg_constraint k"
    " JOIN pg_catalog.pg_class c ON c.oid = k.conrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.contype IN ('p', 'u', 'x', 'f')"
    " UNION ALL SELECT 'STATISTICS', n.nspname::text, s.stxname::text, s.stxrelid, false"
    " FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace";

typedef struct Row {
    const char *type, *schema, *name;
    EntryFact fact;
} Row;

struct EntryFacts {
    PGresult *result; /* holds the texts */
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
    const Table **tables = calloc((size_t)selection->count + 1, sizeof *tables);
    assert(tables != NULL);
    for (int at = 0; at < selection->count; at++)
        tables[at] = &selection->tables[at];
    qsort(tables, (size_t)selection->count, sizeof *tables, oids_compare);
    return tables;
}

static void rows_fill(EntryFacts *facts, const Selection *selection) {
    const Table **tables = tables_by_oid(selection);
    for (int row = 0; row < facts->count; row++) {
        const Table wanted = {.oid = (uint32_t)pg_cell_int(facts->result, row, 3)}, *key = &wanted;
        const Table **found = bsearch(&key, tables, (size_t)selection->count, sizeof *tables, oids_compare);
        facts->rows[row] =
            (Row){.type = pg_cell(facts->result, row, 0),
                  .schema = pg_cell(facts->result, row, 1),
                  .name = pg_cell(facts->result, row, 2),
                  .fact = {found == NULL ? NULL : *found, pg_cell_bool(facts->result, row, 4)}};
    }
    free(tables);
    qsort(facts->rows, (size_t)facts->count, sizeof *facts->rows, rows_compare);
}

EntryFacts *entry_facts_read(Pg *source, const Selection *selection, Error *e) {
    PGresult *result = pg_query(source, SQL_FACTS, 0, NULL, e);
    if (result == NULL)
        return NULL;
    EntryFacts *facts = calloc(1, sizeof *facts);
    assert(facts != NULL);
    facts->result = result;
    facts->count = PQntuples(result);
    facts->rows = calloc((size_t)facts->count + 1, sizeof *facts->rows);
    assert(facts->rows != NULL);
    rows_fill(facts, selection);
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
    PQclear(facts->result);
    free(facts->rows);
    free(facts);
}
