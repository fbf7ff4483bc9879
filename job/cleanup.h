/* cleanup: removes everything that the job made on both sides: slot, temporary slots, publications, heartbeat row (and
 * table with the last row), identities that it set, its rows at the destination (and the schema with the last job).
 * Never the copied tables, never the source's data. Idempotent. Refuses (ERR_CONFIG) only a job that is running. */
#ifndef WALFERRY_JOB_CLEANUP_H
#define WALFERRY_JOB_CLEANUP_H

#include "core/config.h"
#include "core/error.h"

/* `say` is called for each thing removed (or, with dry_run, to be removed): "slot dts_sync_shop on the source". */
bool cleanup_run(const Config *cfg, bool dry_run, int64_t wait_ms,
                 void (*say)(void *context, const char *what), void *context, Error *e);

#endif
