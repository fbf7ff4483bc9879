/* pipeline_source: the source's thread: frames in, batches out, status back (also while a queue is full, L15). */
#ifndef WALFERRY_JOB_PIPELINE_SOURCE_H
#define WALFERRY_JOB_PIPELINE_SOURCE_H

#include "job/pipeline.h"

void *pipeline_source(void *pipeline);

#endif
