/* again: tables that are loaded again after the job was complete, set aside by the sink (`ddl: pause-table`), with the form
 * that they have on the source by then; and those that are new (join.h). */
#ifndef WALFERRY_JOB_AGAIN_H
#define WALFERRY_JOB_AGAIN_H

#include "job/walk.h"
#include "snapshot/dump.h"

/* Whether there are such tables, or were when a killed run began with them: walk->again. */
bool again_look(Walk *walk, Error *e);
/* With the job's lock: the phase goes back to `full`; gives them the form that they have at the source now, and loads them
 * under a snapshot of a temporary slot (trap A2), with the indexes of `dump`. */
bool again_load(Walk *walk, Dump *dump, Error *e);

#endif
