/* group: whole source transactions that make one at the destination, or the pieces of one, and what was counted of them.
 * One thread at a time. */
#ifndef WALFERRY_SINK_GROUP_H
#define WALFERRY_SINK_GROUP_H

#include "core/audit.h"
#include "core/change.h"

typedef struct Group {
    Batch **batches; /* one use each */
    uint32_t batch_count, batch_capacity;
    size_t bytes;
    bool inside;               /* in the middle of a transaction that comes in pieces */
    const Transaction *marked; /* the pieces from this one on can be taken back, NULL: none; */
    uint64_t changes_marked;   /* to this many changes */
    Lsn end;                   /* of the last whole transaction in it; none: empty */
    int64_t end_us;            /* its commit time */
    uint32_t transactions;     /* whole ones in it */
    uint32_t counted; /* those that changed something: beats and empty ones are no work of the users */
    bool touched;     /* the one in work has changed something */
    uint64_t changes;
    uint64_t left_out; /* of them, once it is sent; before, the session counts */
    int64_t since_ms;  /* when its first transaction came */
    int64_t beat;      /* newest beat in it; 0: none */
    int64_t beat_received_us, beat_decoded_us, beat_queued_us;
    AuditDelta audit;
} Group;

void group_keep(Group *group, Batch *b);                  /* takes a use of it */
void group_note_end(Group *group, const Transaction *tx); /* behind the last change of a whole one */
void group_note_beat(Group *group, const Batch *b, int64_t number); /* it is on its way to the destination */
void group_clear(Group *group);                                     /* empty again */
void group_free(Group *group);

#endif
