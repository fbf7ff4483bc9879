#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/state.h"

/* Places in selection->tables, by OID. */
typedef struct ByOid {
    uint32_t oid;
    int table;
} ByOid;

static int by_oid(const void *a, const void *b) {
    uint32_t left = ((const ByOid *)a)->oid, right = ((const ByOid *)b)->oid;
    return (left > right) - (left < right);
}

typedef struct Following {
    const TableRecords *records;
    Selection *selection;
    ByOid *places;
    StateJoins *joins;
    const void *context;
} Following;

static Table *followed(const Following *f, const TableRecord *record) {
    if (record->source_oid == 0)
        return (Table *)(uintptr_t)selection_find(f->selection, record->schema, record->name);
    ByOid wanted = {record->source_oid, 0};
    const ByOid *found = bsearch(&wanted, f->places, (size_t)f->selection->count, sizeof *f->places, by_oid);
    return found == NULL ? NULL : &f->selection->tables[found->table];
}

/* Behind the records: each table of the selection that joins, "" for the others. */
static bool name_new(const Following *f, int at, const char **schema, const char **name) {
    if (f->joins == NULL || at >= f->selection->count)
        return false;
    const Table *table = &f->selection->tables[at];
    bool joins = table->record_name == NULL &&
                 state_table_find(f->records, 0, table->schema, table->name) == NULL &&
                 f->joins(f->context, table);
    *schema = joins ? table->schema : "";
    *name = joins ? table->name : "";
    return true;
}

/* A SelectionNameAt: what each record's table is called now. */
static bool name_now(const void *following, int row, const char **schema, const char **name) {
    const Following *f = following;
    if (row >= f->records->count)
        return name_new(f, row - f->records->count, schema, name);
    const TableRecord *record = &f->records->rows[row];
    Table *table = followed(f, record);
    *schema = table == NULL ? "" : table->schema;
    *name = table == NULL ? "" : table->name;
    if (table != NULL) {
        table->record_schema = arena_text(f->selection->arena, slice_text(record->schema));
        table->record_name = arena_text(f->selection->arena, slice_text(record->name));
    }
    return true;
}

const Table *state_table_selected(const Selection *selection, const TableRecord *record) {
    const Table *named = selection_find(selection, record->schema, record->name);
    if (record->source_oid == 0 || (named != NULL && named->oid == record->source_oid))
        return named;
    for (int at = 0; at < selection->count; at++)
        if (selection->tables[at].oid == record->source_oid)
            return &selection->tables[at];
    return NULL;
}

void state_tables_follow(const TableRecords *records, Selection *selection, StateJoins *joins,
                         const void *context) {
    ByOid *places = memory_array((size_t)selection->count + 1, sizeof *places);
    for (int at = 0; at < selection->count; at++)
        places[at] = (ByOid){selection->tables[at].oid, at};
    qsort(places, (size_t)selection->count, sizeof *places, by_oid);
    Following f = {records, selection, places, joins, context};
    selection_keep(selection, name_now, &f);
    free(places);
}
