/* assembler_parts: streamed transactions on their way out while they arrive (trap A7). What is handed out here is a copy:
 * the transaction is held beside it as any other, so that it can be handed out whole when the sink gives it up, and for
 * sinks that take no parts. Part of the assembler, apart for its size. The source's thread only.
 *
 *   Frames become changes in a scope of relations of their own (A7c), changes of one subtransaction in a row become a
 *   run, runs become a part. A part goes out only when it is full: what fits into one is not worth a transaction of its
 *   own at the destination, and goes the way of all others at its commit. A subtransaction's abort is told to the sink
 *   as it comes (BATCH_CUT), behind what was collected, because the sink sets its savepoints by the runs.
 *   Never in parts, from where it shows: a transaction with a TRUNCATE, a logical message (it may tell of schema
 *   changes), or a row larger than a part, which would need that memory twice.
 *   At most `early_most` at a time, and only those that begin behind `early_from` (A7a): every transaction that the
 *   server begins to stream behind a position ends behind it. */
#ifndef WALFERRY_DECODER_ASSEMBLER_PARTS_H
#define WALFERRY_DECODER_ASSEMBLER_PARTS_H

#include "decoder/assembler.h"

typedef struct PartsDesk
    PartsDesk;              /* what the transactions of a session share: the batches that wait to be taken */
typedef struct Parts Parts; /* one transaction */

/* Both are the caller's, and stay; all Parts are ended before it is freed. */
PartsDesk *parts_desk_new(const AssemblerOptions *options, RelationCache *relations);
void parts_desk_free(PartsDesk *d);
void parts_desk_reached(PartsDesk *d, Lsn at); /* the server has come so far */
Batch *parts_desk_take(PartsDesk *d);          /* in the order in which they were made; NULL: none */
bool parts_desk_full(const PartsDesk *d);      /* there are some */

/* A streamed transaction begins; NULL: not in parts. */
Parts *parts_begin(PartsDesk *d, uint32_t xid);
/* For all that follow *p may be NULL, and is from where the transaction goes on without parts. */
bool parts_add(Parts **p, uint32_t subxid, MessageKind kind, Arrival arrival, Slice frame, Error *e);
bool parts_begun(const Parts *p); /* something of it was handed out */
/* The subtransaction whose first frame had the number `arrival` was rolled back. */
void parts_cut(Parts **p, uint32_t subxid, uint64_t arrival);
/* It was rolled back, or nobody wants its parts any more. */
void parts_abort(Parts **p);
/* It committed: `head` is the transaction without its changes. True: the rest and BATCH_COMMIT are on their way, and
 * parts_close follows once the ticket is settled; else it is as after parts_abort. */
bool parts_commit(Parts **p, const Transaction *head);
/* `promote`: it was applied, and nobody reads the whole: its relations are everybody's now. */
void parts_close(Parts **p, bool promote);

#endif
