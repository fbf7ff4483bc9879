/* pipeline_sink: the thread of one sink: write, settle, promise. */
#ifndef WALFERRY_JOB_PIPELINE_SINK_H
#define WALFERRY_JOB_PIPELINE_SINK_H

#include "job/pipeline.h"

typedef struct SinkThread {
    Pipeline *pipeline;
    int number;
    bool leaves; /* what is queued, to the source */
} SinkThread;

void *pipeline_sink(void *sink_thread);

#endif
