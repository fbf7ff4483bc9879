/* walk_stream: the walk's sessions of the stream (pipeline_run.h). Each begins by closing the walk's connections, because the
 * session takes the job's lock, and blocks until the session has ended. */
#ifndef WALFERRY_JOB_WALK_STREAM_H
#define WALFERRY_JOB_WALK_STREAM_H

#include "job/walk.h"

/* Until then (none: until now); opens the source again, with the tables as they are by then, but not the record. *reached:
 * false when the run is to end, or the walk to begin anew. */
bool walk_stream(Walk *walk, Lsn until, bool *reached, Error *e);
/* Below the newest snapshot of its tables the destination is not a prefix of the source (trap A2): streams up to there, where
 * it is needed, and takes the job's lock again. *reached: false when the run was asked to end on the way. */
bool walk_converge(Walk *walk, bool *reached, Error *e);
/* Until the end that was asked for. */
bool walk_follow(Walk *walk, Error *e);

#endif
