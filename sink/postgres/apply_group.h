/* apply_group: which source transactions make one at the destination, in which gear, and what becomes of those that are
 * refused. The sink's thread only. */
#ifndef WALFERRY_SINK_APPLY_GROUP_H
#define WALFERRY_SINK_APPLY_GROUP_H

#include "sink/postgres/apply_sink.h"

bool group_add(Sink *s, Batch *b, Error *e); /* a batch's transactions, committing in between where it must */
/* Commits when there is something to commit: whole transactions, or (lazily, unless `now`) only empty ones.
 */
bool group_flush(Sink *s, bool now, Error *e);
void group_forget(Sink *s); /* drops its batches, commits nothing */
uint32_t group_run_changes(void);

#endif
