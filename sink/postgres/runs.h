/* runs: the catch-up gear's groups on their way. A run is a number of whole source transactions, netted by rows and sent
 * as sets in one destination transaction with its progress. While one is on its way the next one is collected; up to
 * `count` of them are on their way at a time, each on a connection of its own (a lane), in the order of the source. With
 * one lane that is the sink's in-order connection, and with more the in-order connection has none.
 *
 *   PARTLY  sent is what touches no row of an older run (touched.h), because rows of different identity may go in any
 *           order; and only as much as can be sent without waiting. The rest is bound.
 *   WHOLE   it is the oldest: the rest was sent, and the progress. What is left is to read the answers and to commit.
 *   BACK    it was rolled back while it was not the oldest, and is sent again, whole, when it is.
 *
 * Commits are sent in the order of the source, each when the one before was answered, with its progress row,
 * compare-and-set from where that one ended (A6, B2): a kill at any moment leaves a prefix. Nobody sees anything of a run
 * before, and whoever wants to apply something else (apply_session_idle) has every run committed first: pieces, prepared
 * transactions, DDL, TRUNCATE, tables that no set can do. A run in which such a thing was done while it was collected is
 * alone: the next one is sent when it is committed.
 *
 * What touched does not see is left to chance. A run that fails after something of it was sent before its turn is rolled
 * back and sent again as the oldest: only the oldest run's error counts, and only when it had its turn from the
 * beginning; it leads to one transaction after the other (alone_again), with everything younger rolled back. When
 * the oldest waits for a younger one (in_the_way.h), or the server finds that they wait for each other, the younger is
 * rolled back. A table that was the reason is learnt: for a number of runs, twice as many each time, all of its rows are
 * bound.
 *
 * A younger run never makes the sink wait: neither COPY nor a full pipeline. While the oldest is waited for, the others
 * are pumped. Each connection holds the job's lock (A6); one that cannot be had is one less, one that is lost ends the
 * session. How many there are: workers.h. The sink's thread only. */
#ifndef WALFERRY_SINK_RUNS_H
#define WALFERRY_SINK_RUNS_H

#include "sink/postgres/apply_sink.h"
#include "sink/postgres/workers.h"

typedef struct Runs Runs;

Runs *runs_new(Sink *s); /* one lane, the in-order connection's */
void runs_free(Sink *s); /* rolls back what is on its way */

/* A run is about to be collected: s->at is the session for it. Ends what is on its way when the number of lanes changes. */
bool runs_begin(Sink *s, Error *e);
/* s->group is on its way from here on, also after a failure. */
bool runs_send(Sink *s, Error *e);
/* Everything that is on its way is committed. Fits ApplySession.end_other. */
bool runs_end(void *sink, Error *e);
/* The same for those on the connection of s->at, and when one of them may have changed more than rows. Fits end_form. */
bool runs_end_here(void *sink, Error *e);
/* What has been answered is committed; what is on its way goes on. */
bool runs_go_on(Sink *s, Error *e);
/* No run follows for now. */
void runs_rest(Sink *s);
int runs_lanes(const Sink *s);

/* For in_the_way.h: the backends with open runs that are not the oldest (at most WORKERS_MOST), but for one; whoever of
 * them has this one is rolled back, and what `waiter` waits for is learnt. */
int runs_open(const Sink *s, const ApplySession *besides, int *pids);
bool runs_give_way(Sink *s, const ApplySession *waiter, int pid, Error *e);

#endif
