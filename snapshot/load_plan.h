/* load_plan: what the load does first. Pure. */
#ifndef WALFERRY_SNAPSHOT_LOAD_PLAN_H
#define WALFERRY_SNAPSHOT_LOAD_PLAN_H

#include "core/selection.h"
#include "core/state.h"
#include "snapshot/dump.h"

/* Indexes of the tables that `records` (NULL: nothing is) does not call loaded, largest first: a large one
 * that began last would run alone at the end. `out` has room for all; returns how many. */
int load_plan_tables(const Selection *selection, const TableRecords *records, int *out);

/* The entries of the wanted kinds in the three steps in which they can run. */
typedef struct EntryPlan {
    const DumpEntry **builds;   /* indexes, constraints over them, statistics: in any order, side by side */
    const DumpEntry **attaches; /* joins partitions' indexes, which must be there: one after the other */
    const DumpEntry **others;   /* one after the other in pg_restore's order */
    int build_count, attach_count, other_count;
} EntryPlan;

EntryPlan load_plan_entries(const Dump *dump, unsigned kinds);
void load_plan_free(EntryPlan *plan);

#endif
