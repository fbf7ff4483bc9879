/* target_wait: who holds the lock that the database sink waits for (F81), for the log and the view. */
#ifndef WALFERRY_JOB_TARGET_WAIT_H
#define WALFERRY_JOB_TARGET_WAIT_H

#include "job/pipeline.h"

/* What was said last about a wait of the database sink: "" when it does not wait for anybody. */
typedef struct WaitTold {
    char why[600];
    int64_t looked_ms;
} WaitTold;

/* `record`: a session at the target that is idle; NULL: there is none. */
bool target_wait_tell(Pipeline *p, Pg *record, WaitTold *told, Error *e);

#endif
