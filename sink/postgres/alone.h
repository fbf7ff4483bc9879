/* alone: source transactions of which each has a group to itself, on the in-order session, with nothing else on its way:
 * what was refused together, so that a conflict stops exactly before the one it is in, or is settled there; and what ends
 * otherwise than by a commit. The sink's thread only. */
#ifndef WALFERRY_SINK_ALONE_H
#define WALFERRY_SINK_ALONE_H

#include "sink/postgres/apply_sink.h"

/* Rolls back, and applies each whole transaction of `refused` by itself, up to the one that ends at `upto`; e says why.
 * The one that is refused again stops the job, with everything before it applied and nothing of it (s->broken), unless a
 * policy settles it. carefully: statement by statement at once. s->group is as it was. */
bool alone_again(Sink *s, const Group *refused, Lsn upto, bool carefully, Error *e);
/* s->group has nothing else, and all of it was applied: it is committed, prepared, or the outcome of one that was. */
bool alone_end(Sink *s, const Transaction *tx, Error *e);

#endif
