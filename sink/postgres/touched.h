/* touched: which rows of the destination a run of net rows touches, as far as the stream shows it: the key under which
 * the destination has a row, the one that it gets, and the values of its other unique columns that are sent. Kept as
 * 64-bit hashes: a row that is taken for another only waits without need. Pure.
 *
 * Of two runs in flight the younger sends at once only what touches nothing of the older ones; the rest is bound. Rows of
 * one run that change places are bound together, because they have to be sent in the order of their kinds. What the
 * stream does not show (the unique values of a row that goes or changes, values that are equal and look different,
 * exclusion constraints, foreign keys, triggers) is not here: whoever executes it finds out (runs.h). */
#ifndef WALFERRY_SINK_TOUCHED_H
#define WALFERRY_SINK_TOUCHED_H

#include "sink/postgres/net.h"

typedef struct Touched Touched;

Touched *touched_new(void);
void touched_free(Touched *touched); /* NULL is fine */
void touched_clear(Touched *touched);
/* Takes in what these rows touch, and binds those that touch what is in `older`, besides all of tables that are bound.
 * Returns how many are. */
uint32_t touched_add(Touched *touched, NetTable *tables, Touched *const *older, int older_count);

#endif
