/* build_plan: in what order, with how much memory and how many processes that is built which comes behind the rows.
 * Pure. */
#ifndef WALFERRY_SNAPSHOT_BUILD_PLAN_H
#define WALFERRY_SNAPSHOT_BUILD_PLAN_H

#include "core/selection.h"
#include "snapshot/dump.h"

/* In the order in which they begin; within one the largest table first. */
typedef enum BuildKind {
    BUILD_VACUUM, /* of a table that was copied in ranges: before its indexes, which its lock keeps waiting */
    BUILD_PRIMARY_KEY,
    BUILD_CONSTRAINT, /* unique, exclusion */
    BUILD_INDEX,
    BUILD_STATISTICS,
    BUILD_VALIDATION /* of a foreign key */
} BuildKind;

typedef struct Build {
    BuildKind kind;
    const DumpEntry *entry;    /* not of a vacuum */
    const char *note, *quoted; /* of a vacuum: its note and the table's name */
    const Table *table;        /* NULL: not known; then it may run beside everything */
    int place;                 /* in pg_restore's order */
} Build;

/* One destination's settings, in bytes and processes. */
typedef struct BuildLimits {
    int64_t memory, buffers; /* maintenance_work_mem, shared_buffers */
    int parallel;            /* max_parallel_maintenance_workers */
    int workers;             /* ours */
} BuildLimits;

typedef struct BuildShare {
    int64_t memory; /* maintenance_work_mem for this one */
    int parallel;   /* further processes for this one */
} BuildShare;

void build_plan_sort(Build *builds, int count);
/* What nothing else of the same table may run beside: its lock shuts out the others. */
bool build_plan_alone(BuildKind kind);
/* For one of `unfinished` builds. All of them together take no more than a quarter of the destination's
 * shared_buffers, which its owner has fitted to the machine, but each at least what every session there may take; and no
 * more processes than our workers: further ones join when builds become fewer. */
BuildShare build_plan_share(const BuildLimits *limits, int unfinished);

#endif
