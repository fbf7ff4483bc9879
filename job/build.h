/* build: definitions and rows at the destination: dump, load, indexes, constraints (traps A2, A10). The walk holds the job's
 * lock. What is made is noted in the record with it: a killed run goes on with the rest. */
#ifndef WALFERRY_JOB_BUILD_H
#define WALFERRY_JOB_BUILD_H

#include "job/exported.h"
#include "snapshot/dump.h"

/* What comes before the rows. `dump`: the whole of it, the caller's to free. */
bool build_schema(Walk *walk, const Exported *exported, Dump *dump, Error *e);
bool build_load(Walk *walk, Exported *first, Error *e); /* takes over `first` */
/* Whether every row and large object is there, by the job's record. */
bool build_load_is_complete(const Walk *walk, bool *complete, Error *e);
/* Everything after the rows that may exist before the stream has converged (indexes, keys), or the rest. */
bool build_indexes(Walk *walk, Dump *dump, Error *e);
bool build_rest(Walk *walk, Dump *dump, Error *e);
/* As the snapshot shows them; NULL: as they are now. */
bool build_dump(Walk *walk, const char *snapshot, Dump *out, Error *e);
/* For tables that join (join.h): the definitions of now without those of the `others`, rows as of existing_relations; the
 * part before the rows, in the caller's transaction; and what build_rest does for the new ones alone. */
bool build_dump_beside(Walk *walk, const PGresult *others, Dump *out, Error *e);
bool build_definitions(const Walk *walk, const Dump *dump, Error *e);
bool build_rest_beside(Walk *walk, Dump *dump, Error *e);

#endif
