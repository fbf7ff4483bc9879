/* exported: a snapshot of the source under which tables are read, and the LSN that it belongs to. Made with a slot, whose
 * consistent point it is (trap A2), or, for a job that will not follow the source, by an ordinary transaction. While a slot
 * waits for transactions that are open on the source, it is told whom it waits for, and the job may be stopped. */
#ifndef WALFERRY_JOB_EXPORTED_H
#define WALFERRY_JOB_EXPORTED_H

#include "decoder/slot.h"
#include "job/walk.h"

/* The exporter stays idle for as long as the snapshot is used; it is of whoever has the Exported. */
typedef struct Exported {
    Pg *exporter; /* NULL: there is none */
    char snapshot[64];
    Lsn point; /* none: a job without incremental */
} Exported;

enum { EXPORTED_WAIT_MS = 10 * 60 * 1000 }; /* for transactions that are open on the source */

/* Of a new slot. All that make one leave nothing open when they fail. */
bool exported_by_slot(Walk *walk, const char *slot, SlotKind kind, int64_t wait_ms, Exported *out, Error *e);
/* Of the job's temporary slot. */
bool exported_by_load_slot(Walk *walk, int64_t wait_ms, Exported *out, Error *e);
bool exported_by_transaction(Walk *walk, Exported *out, Error *e);
/* For tables that are not loaded yet. A load without a slot is of one snapshot: then every table is pending again. */
bool exported_for_load(Walk *walk, Exported *out, Error *e);
void exported_end(Exported *exported); /* closes; a temporary slot goes with it */

/* Every transaction that is open on the source now has ended when it returns: a temporary slot is made and dropped. */
bool exported_wait(Walk *walk, Error *e);
/* Ends a killed run's walsender that has this slot, with the job's lock. */
bool exported_holder_end(Walk *walk, const char *slot, Error *e);

#endif
