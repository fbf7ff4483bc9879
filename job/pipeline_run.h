/* pipeline_run: one session of the stream, from its recovery to its end (pipeline.h): its threads, and what is watched meanwhile. */
#ifndef WALFERRY_JOB_PIPELINE_RUN_H
#define WALFERRY_JOB_PIPELINE_RUN_H

#include "job/pipeline.h"

/* Blocks until the session has ended. `p`: job, selection and how it is to stream, all else 0. True: stopped or reached.
 * *progressed: something was applied in it. */
bool pipeline_run(Pipeline *p, bool *progressed, Error *e);

#endif
