#include "sink/postgres/group.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"

void group_keep(Group *group, Batch *b) {
    if (group->batch_count == group->batch_capacity) {
        group->batch_capacity = group->batch_capacity == 0 ? 16 : group->batch_capacity * 2;
        group->batches = memory_grow(group->batches, group->batch_capacity * sizeof(Batch *));
    }
    batch_use(b);
    group->batches[group->batch_count++] = b;
    group->bytes += b->bytes;
}

void group_note_end(Group *group, const Transaction *tx) {
    group->inside = false;
    group->end = tx->end;
    group->end_us = tx->committed_us;
    group->transactions++;
    group->counted += group->touched ? 1 : 0;
    group->touched = false;
}

void group_note_beat(Group *group, const Batch *b, int64_t number) {
    group->beat = number;
    group->beat_received_us = b->received_us;
    group->beat_decoded_us = b->decoded_us;
    group->beat_queued_us = clock_us();
}

void group_clear(Group *group) {
    for (uint32_t at = 0; at < group->batch_count; at++)
        batch_drop(group->batches[at]);
    audit_cut(&group->audit, 0);
    *group =
        (Group){.batches = group->batches, .batch_capacity = group->batch_capacity, .audit = group->audit};
}

void group_free(Group *group) {
    group_clear(group);
    free(group->batches);
    audit_delta_free(&group->audit);
    *group = (Group){0};
}
