/* early: streamed transactions applied while they arrive, each on a connection and in a destination transaction of its
 * own (trap A7). Belongs to one apply sink, whose in-order connection it is not.
 *
 *   BATCH_PART     the in-order group is committed, because what comes may rest on it; then the part is applied. Its
 *                  answers are read when the next one of the same transaction has been collected, or before anything else
 *                  is done. A run of another subtransaction begins with a savepoint.
 *   BATCH_CUT      ROLLBACK TO the savepoint of that subtransaction.
 *   BATCH_COMMIT   the in-order group is committed, then this one, with the progress from there to its end, as any other
 *                  group: compare-and-set, every row counted, COMMIT last (A6). So commits are in the order of the source.
 *   BATCH_ABORT    ROLLBACK.
 * Before BATCH_COMMIT nothing is visible, and no position speaks of it: a kill at any moment leaves what was committed
 * in order, and the source sends the rest again from there.
 *
 * Giving up is the answer to everything that a transaction in parts cannot decide alone: it is rolled back, its ticket
 * says so, and the source's thread hands it out whole at its commit, where it is applied in order, and where what refused
 * it now is a conflict or has passed. It is given up
 *   - when it is refused, or a savepoint is undone that is no longer there (EARLY_SAVEPOINTS: they are nested, so when
 *     there are so many, all are released and it begins anew);
 *   - when another transaction of ours waits for one of its locks (in_the_way.h);
 *   - when it does not end behind every table's snapshot (A2, A7a), which whoever hands out parts has seen to.
 * A connection that cannot be had is no failure: nothing more is applied early in this session. One that is lost is a
 * failure of the session, whose next one takes the job's lock exclusively (A6); each holds it shared.
 * Tables and their snapshots stay as they are for as long as the sink is open. The sink's thread only. */
#ifndef WALFERRY_SINK_EARLY_H
#define WALFERRY_SINK_EARLY_H

#include "sink/postgres/apply_sink.h"

enum {
    EARLY_MOST = 4,       /* transactions at a time; each costs a connection */
    EARLY_SAVEPOINTS = 60 /* fewer than the 64 subtransactions that a backend shows to others cheaply */
};

/* Anything but BATCH_WHOLE. */
bool early_write(Sink *s, Batch *b, Error *e);
/* What is under way of a part has been answered: before anything in order is begun, and when nothing more comes. */
bool early_rest(Sink *s, Error *e);
void early_free(Sink *s); /* rolls back what is open, settles nothing */
/* For in_the_way.h: the backends with open transactions (at most EARLY_MOST), but for one; whoever of them has this
 * one gives up. */
int early_open(const Sink *s, const ApplySession *besides, int *pids);
bool early_give_way(Sink *s, int pid, Error *e);

#endif
