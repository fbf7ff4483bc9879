/* in_the_way: which of the sink's own transactions another one of them waits for (trap A7b). The server sees no deadlock
 * there, because the one in the way waits for its turn in walferry. So whenever an answer has not come for LIVE_LOOK_MS, a
 * further connection asks who is in the way, and who is in the way of that one: the waiter goes on, and whoever of ours is
 * in the way is rolled back (early_give_way, runs_give_way). The sink's thread only. */
#ifndef WALFERRY_SINK_IN_THE_WAY_H
#define WALFERRY_SINK_IN_THE_WAY_H

#include "sink/postgres/apply_sink.h"

bool in_the_way_look(void *waiter, Error *e); /* for Sink.look; of the ApplySession that waits */
void in_the_way_free(Sink *s);

#endif
