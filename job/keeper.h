/* keeper: the keeper's thread: heartbeat, guard, lag; and the ear for a source that is shutting down (trap A13). */
#ifndef WALFERRY_JOB_KEEPER_H
#define WALFERRY_JOB_KEEPER_H

#include "job/pipeline.h"

void *keeper_thread(void *pipeline);

#endif
