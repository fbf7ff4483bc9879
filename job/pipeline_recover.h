/* pipeline_recover: the session's sinks and where they stand. For pipeline_open.c, before there are threads. */
#ifndef WALFERRY_JOB_PIPELINE_RECOVER_H
#define WALFERRY_JOB_PIPELINE_RECOVER_H

#include "job/pipeline.h"

/* *lowest: the position of the sink that is behind the others, read without its lock. */
bool pipeline_sinks_open(Pipeline *p, Position *lowest, Error *e);
/* With the slot ours: takes the locks, follows the source's timeline, makes the ledger. */
bool pipeline_sinks_recover(Pipeline *p, const ServerIdentity *server, const SlotView *slot, Error *e);

#endif
