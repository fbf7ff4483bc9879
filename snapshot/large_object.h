/* large_object: large objects, which no publication carries: copied once, in the load, under its snapshot. What
 * happens to them afterwards is not in the stream; `check` says so. */
#ifndef WALFERRY_SNAPSHOT_LARGE_OBJECT_H
#define WALFERRY_SNAPSHOT_LARGE_OBJECT_H

#include "snapshot/load.h"

/* Whether an earlier run has copied them: all in one transaction, with a row of object_state. */
bool large_object_copied(Pg *target, const Config *cfg, bool *copied, Error *e);
/* With their comments, and owners and grants as the job wants them. Opens its own connections. */
bool large_object_copy(const Load *load, const char *snapshot, Error *e);

#endif
