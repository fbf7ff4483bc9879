/* supervise: walks the job again and again until it is done, is asked to stop, or meets an error that no retry can
 * mend: the only place that decides about errors (core/retry's table, the windows of the job file). */
#ifndef WALFERRY_JOB_SUPERVISE_H
#define WALFERRY_JOB_SUPERVISE_H

#include "job/job.h"

/* From the check to the end that was asked for; blocks; the caller's own thread. True: exit 0. */
bool supervise(Job *job, Error *e);

#endif
