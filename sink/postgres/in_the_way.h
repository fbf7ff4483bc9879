/* in_the_way: which of the sink's own transactions another one of them waits for (trap A7b). The server sees no deadlock
 * there, because the one in the way waits for its turn in walferry. So whenever an answer has not come for LIVE_LOOK_MS, a
 * further connection asks who is in the way, and who is in the way of that one: the waiter goes on, and whoever of ours is
 * in the way is rolled back (early_give_up, runs_give_back). The sink's thread only. */
#ifndef WALFERRY_SINK_IN_THE_WAY_H
#define WALFERRY_SINK_IN_THE_WAY_H

#include "sink/postgres/apply.h"

/* From now on this one looks; `waiter` stays the caller's and outlives the session. */
void in_the_way_watch(Waiter *waiter, Sink *s, ApplySession *session);
void in_the_way_free(Sink *s);

#endif
