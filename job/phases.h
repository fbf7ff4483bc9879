/* phases: a job's walk: checking → schema → full → catching-up → running, from wherever its record at the destination
 * says it stands. Every walk begins at that record, so that going on after an error or a kill is the same as starting. It has
 * the order alone; the pieces, from below:
 *
 *   walk.c          what a walk has open, and its locks
 *   exported.c      a snapshot of the source
 *   birth_source.c  what a new job makes on the source
 *   birth.c         a new job; birth_alone.c: without a database as destination
 *   build.c         definitions and rows at the destination; load_alone.c: rows into Kafka
 *   recorded.c      what the record knows, against the source
 *   join.c          tables that are new on the source
 *   again.c         tables that are loaded again, with the form that they have by then
 *   walk_stream.c   the stream, until somewhere (pipeline_run.h)
 *   reload.c        tables that somebody wants in Kafka once more */
#ifndef WALFERRY_JOB_PHASES_H
#define WALFERRY_JOB_PHASES_H

#include "job/walk.h"

/* One walk, to its end or to the first failure; nothing of it is open afterwards. */
bool phases_walk(Walk *walk, Error *e);

#endif
