/* join: tables that have come to the source since the job's birth and that the job takes (`ddl: pause-table` and `apply`):
 * they are published, made at the target with what belongs to them, loaded under a snapshot of their own and followed from
 * there (F60). Partitions of a table that is there already, too. The walk's thread only; needs the job's lock.
 *
 *   1. Published. A transaction that was open by then may be decoded with a view of the catalogs from before, and some
 *      servers keep that view for those that follow: so all of them are waited for, and then every decoder is told to look
 *      again. Only then the snapshot of the load is taken (trap A2): what is committed behind it is sent for certain.
 *   2. Definitions and records in one transaction of the destination: killed before it, the next walk begins with 1 again.
 *      What it made is noted ("join <oid>") until everything behind the rows is made, too.
 *   3. Loaded as every table that is pending (again.c), then indexes, and behind the point where the stream has reached
 *      the snapshot everything else.
 * What the source has got beside its tables (views, functions) comes only as far as a new table needs it. */
#ifndef WALFERRY_JOB_JOIN_H
#define WALFERRY_JOB_JOIN_H

#include "job/walk.h"
#include "snapshot/dump.h"

/* Some of the selection have no record. */
bool join_waits(const Walk *walk);
/* 1 and 2, for these. */
bool join_begin(Walk *walk, Error *e);
/* What is to be built behind the rows of tables that joined; left empty where there are none. */
bool join_dump(Walk *walk, Dump *out, Error *e);
/* The rest of it: the stream has reached the snapshots. Forgets the notes. */
bool join_end(Walk *walk, Dump *dump, Error *e);

#endif
