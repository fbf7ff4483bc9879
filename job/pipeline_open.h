/* pipeline_open: opens a session of the stream, in the order that makes it exclusive: the slot, the locks, the positions (trap A6). */
#ifndef WALFERRY_JOB_PIPELINE_OPEN_H
#define WALFERRY_JOB_PIPELINE_OPEN_H

#include "job/pipeline.h"

bool pipeline_open(Pipeline *p, Error *e); /* also after a failure everything is left to pipeline_run */

#endif
