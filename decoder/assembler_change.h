/* assembler_change: one Message of a transaction to one Change: relation versions looked up, tuples checked against
 * them, our own heartbeat and messages recognised. Part of the assembler, apart for its size. */
#ifndef WALFERRY_DECODER_ASSEMBLER_CHANGE_H
#define WALFERRY_DECODER_ASSEMBLER_CHANGE_H

#include "decoder/assembler.h"

typedef struct AssemblerView {
    RelationCache *relations;
    RelationScope *scope; /* NULL outside of streamed transactions */
    Arena *arena;
    const AssemblerOptions *options;
} AssemblerView;

/* *made false: the message is no change for the sinks (a Relation, somebody else's beat). *seq counts every change of
 * the transaction, also those that are not for the sinks (trap C2). */
bool assembler_change(const AssemblerView *view, const Message *m, Arrival arrival, uint32_t *seq,
                      Change *out, bool *made, Error *e);

#endif
