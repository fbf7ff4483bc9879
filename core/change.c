#include "core/change.h"

#include <assert.h>

Batch *batch_new(Arena *arena) {
    Batch *b = arena_alloc(arena, sizeof *b);
    b->arena = arena;
    atomic_init(&b->users, 1);
    return b;
}

void batch_use(Batch *b) {
    unsigned before = atomic_fetch_add(&b->users, 1);
    assert(before > 0);
}

void batch_drop(Batch *b) {
    unsigned before = atomic_fetch_sub(&b->users, 1);
    assert(before > 0);
    if (before > 1)
        return;
    if (b->ticket != NULL)
        ticket_drop(b->ticket);
    arena_free(b->arena);
}
