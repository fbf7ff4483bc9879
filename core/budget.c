#include "core/budget.h"

#include <assert.h>

/* A larger batch is no faster, and makes the destination wait for its first change. */
enum { HELD_PARTS = 4, QUEUE_PARTS = 4, GROUP_PARTS = 10, HELD_BATCHES = 8, BATCH_BYTES_MAX = 1 << 20 };

Budget budget_of(size_t memory_bytes, int sinks) {
    assert(sinks > 0);
    size_t held = memory_bytes / HELD_PARTS, batch = held / HELD_BATCHES;
    return (Budget){.held_bytes = held,
                    .batch_bytes = batch < BATCH_BYTES_MAX ? batch : BATCH_BYTES_MAX,
                    .queue_bytes = memory_bytes / QUEUE_PARTS / (size_t)sinks,
                    .group_bytes = memory_bytes / GROUP_PARTS};
}
