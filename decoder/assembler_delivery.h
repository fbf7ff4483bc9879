/* assembler_delivery: a transaction whose end was read, on its way out: frames to changes, changes to pieces, pieces to
 * batches. Small transactions share a batch; a large one comes in pieces, and nothing else begins before its last one is
 * taken. Part of the assembler, apart for its size. */
#ifndef WALFERRY_DECODER_ASSEMBLER_DELIVERY_H
#define WALFERRY_DECODER_ASSEMBLER_DELIVERY_H

#include "decoder/assembler.h"

typedef struct Delivery Delivery;

/* Both are the caller's, and stay. */
Delivery *delivery_new(const AssemblerOptions *options, RelationCache *relations);
void delivery_free(Delivery *d);

/* Takes over the frames; not while it is full. `head`: the transaction without its changes. */
void delivery_begin(Delivery *d, Held *held, bool streamed, const Transaction *head);
/* As assembler_take and assembler_full. */
bool delivery_take(Delivery *d, bool flush, Batch **out, Error *e);
bool delivery_full(const Delivery *d);

#endif
