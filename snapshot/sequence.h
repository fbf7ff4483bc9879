/* sequence: carries the sequences' values over: they are not in the stream. Never sets one back. */
#ifndef WALFERRY_SNAPSHOT_SEQUENCE_H
#define WALFERRY_SNAPSHOT_SEQUENCE_H

#include "core/config.h"
#include "core/pg.h"
#include "core/selection.h"

/* Every sequence of the source that the job takes, outside system schemas, extensions and walferry's own: one that a
 * table owns goes with it, others by the patterns or with a taken table whose default uses them. One that the patterns
 * take and the destination does not have is an error that names it, unless it belongs to a table that was there before
 * the job (`existing`, of state_existing). *count: how many were set. */
bool sequence_carry(Pg *source, Pg *target, const Selection *selection, const PGresult *existing, int *count,
                    Error *e);

/* Where a sequence stands: the last value given out, or, while not called, the first one to give out. */
typedef struct SequenceAt {
    int64_t value;
    bool called;
} SequenceAt;
/* Must the destination's sequence be set to the source's? Never backwards in the direction of its increment; one that
 * still stands at its start, uncalled, has given out nothing and may go anywhere. Exposed for its tests. */
bool sequence_moves(int64_t increment, int64_t target_start, SequenceAt source, SequenceAt target);

#endif
