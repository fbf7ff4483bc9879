#include "snapshot/load_plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int larger_first(const void *a, const void *b, void *context) {
    const Selection *selection = context;
    const Table *left = &selection->tables[*(const int *)a], *right = &selection->tables[*(const int *)b];
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? 1 : -1;
    if (left->rows_estimated != right->rows_estimated)
        return left->rows_estimated < right->rows_estimated ? 1 : -1;
    return *(const int *)a - *(const int *)b;
}

int load_plan_tables(const Selection *selection, const TableRecords *records, int *out) {
    bool *loaded = calloc((size_t)selection->count + 1, sizeof *loaded);
    assert(loaded != NULL);
    for (int at = 0; records != NULL && at < records->count; at++) {
        const TableRecord *record = &records->rows[at];
        const Table *table = selection_find(selection, record->schema, record->name);
        if (table != NULL && record->loaded)
            loaded[table - selection->tables] = true;
    }
    int count = 0;
    for (int at = 0; at < selection->count; at++)
        if (!loaded[at])
            out[count++] = at;
    free(loaded);
    Selection view = *selection;
    qsort_r(out, (size_t)count, sizeof *out, larger_first, &view);
    return count;
}

static const DumpEntry **entry_room(const Dump *dump) {
    const DumpEntry **room = calloc((size_t)dump->entry_count + 1, sizeof *room);
    assert(room != NULL);
    return room;
}

EntryPlan load_plan_entries(const Dump *dump, unsigned kinds) {
    EntryPlan plan = {.builds = entry_room(dump), .attaches = entry_room(dump), .others = entry_room(dump)};
    for (int at = 0; at < dump->entry_count; at++) {
        const DumpEntry *entry = &dump->entries[at];
        if ((kinds & 1u << entry->kind) == 0)
            continue;
        if (entry->kind != DUMP_INDEX)
            plan.others[plan.other_count++] = entry;
        else if (strcmp(entry->type, "INDEX ATTACH") == 0)
            plan.attaches[plan.attach_count++] = entry;
        else
            plan.builds[plan.build_count++] = entry;
    }
    return plan;
}

void load_plan_free(EntryPlan *plan) {
    free(plan->builds);
    free(plan->attaches);
    free(plan->others);
}
