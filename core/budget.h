/* budget: how `memory` is shared out: who of a run may hold how much of the changes on their way. Figures only; each
 * holder keeps to its own. Whoever is full makes the one before it wait, up to the source, which is not read meanwhile
 * but still told where we are.
 *
 *   share    holder                                                        when it is full
 *   1/4      transactions whose end has not come (decoder/held)            the largest of them spills
 *   1/4      batches in the queues, over all sinks (core/queue)            the source's thread waits
 *   2/10     batches of groups, one collected, the others under way (sink) the group is sent
 *            or of the parts of a transaction that is applied early
 *   3/10     what these cost beside their bytes: net rows of the groups, libpq's buffers (4 MiB unanswered at most),
 *            batches being filled, one and one more for each transaction applied early, what malloc rounds up
 *
 * Frames are counted as large as they are in memory, in one holder at a time: they are handed on, not copied.
 * Beside `memory`: three times the largest row (libpq holds it whole and hands out a copy, the statement that writes
 * it is another one); about 10 MiB for program, libraries, connections and threads; 4 KiB for each captured table and
 * connection that has applied something of it (relation version, plan, names of statements); 0.2 MiB for a spill file
 * while it is written or read, 16 bytes for each of its blocks of 64 KiB otherwise. */
#ifndef WALFERRY_CORE_BUDGET_H
#define WALFERRY_CORE_BUDGET_H

#include <stddef.h>

typedef struct Budget {
    size_t held_bytes;
    size_t batch_bytes; /* a batch is closed when it weighs this much */
    size_t queue_bytes; /* of one sink's queue */
    size_t group_bytes; /* a group is sent when its batches weigh this much: where there are two of them */
} Budget;

Budget budget_of(size_t memory_bytes, int sinks);

#endif
