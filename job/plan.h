/* plan: what a run is about to do, before it does it: a few lines for a person. Reads only. */
#ifndef WALFERRY_JOB_PLAN_H
#define WALFERRY_JOB_PLAN_H

#include "core/config.h"
#include "core/selection.h"
#include "core/state.h"

/* `record` says whether this is a new job or one that goes on. Writes lines ended by \n. */
void plan_write(Writer *out, const Config *cfg, const Selection *selection, const JobRecord *record);
/* The line after a run: the next command, and how much WAL the slot keeps now (-1: unknown). `job_file` is
 * NULL for a job described by flags alone. */
void plan_next(Writer *out, const Config *cfg, const char *job_file, Phase phase, int64_t retained_bytes);

#endif
