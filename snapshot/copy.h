/* copy: one table from the source's snapshot to the destination, whole, in one transaction with its ledger row:
 * TRUNCATE, COPY FREEZE (trap B4), table_state. Of a table with `existing: keep` the rows that are there stay: COPY goes
 * into a temporary table, and from there goes what meets none of them. Or one range of its rows, behind what is there,
 * in one transaction with a note that this range is in: the caller has truncated the table and counts it as loaded when
 * all notes are there (snapshot/ranges.h). The bytes are relayed without parsing, binary where every column's
 * binary form means the same on both sides (B3), else text. After its lock the worker proves that the table was not
 * rewritten since the snapshot (A10). One thread per CopyWorker. */
#ifndef WALFERRY_SNAPSHOT_COPY_H
#define WALFERRY_SNAPSHOT_COPY_H

#include <stdatomic.h>

#include "core/config.h"
#include "core/metrics.h"
#include "core/pg.h"
#include "core/selection.h"
#include "core/state.h"
#include "core/throttle.h"

typedef enum CopyResult {
    COPY_DONE,
    COPY_THERE,     /* a range: an earlier attempt, of which nobody knew, has committed it */
    COPY_REWRITTEN, /* the snapshot does not show this table's rows any more: load it again under a new one */
    COPY_FAILED     /* e says why */
} CopyResult;

typedef struct CopyRange {
    const char *condition; /* on its rows */
    const char *note;      /* the hash in object_state */
    int64_t rows, bytes;   /* set once all of them are at the destination, but not yet committed */
} CopyRange;

typedef struct CopyJob {
    const Config *cfg;
    const Table *table;
    CopyRange *range; /* NULL: the whole table */
    const char *snapshot;
    Lsn point; /* the snapshot's LSN: becomes the table's start_lsn */
    TableMetrics *progress;
    Metrics *metrics;
    Throttle *throttle;
    const atomic_bool *stop;
    bool again;              /* as in Load */
    ExistingPolicy existing; /* of a table that was there before the job; fail: it was not */
} CopyJob;

/* Both connections idle, the target's with the job's shared lock. Leaves no transaction open: after a failure in the
 * middle of the rows the connections are cut and only good for pg_close. */
CopyResult copy_table(Pg *source, Pg *target, const CopyJob *job, Error *e);

#endif
