#include "core/change.h"

#include <assert.h>
#include <stdlib.h>

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

/* Versions are constant to everybody but for these counts. */
static Relation *counts_of(const Relation *rel) {
    return (Relation *)(uintptr_t)rel;
}

void relation_remember(const Relation *rel) {
    if (rel->counted)
        atomic_fetch_add(&counts_of(rel)->rememberers, 1);
}

void relation_forget(const Relation *rel) {
    if (rel->counted && atomic_fetch_sub(&counts_of(rel)->rememberers, 1) == 1)
        free(counts_of(rel));
}

void relation_repeat(const Relation *rel) {
    if (rel->counted)
        atomic_fetch_add(&counts_of(rel)->repeats, 1);
}

unsigned relation_repeats(const Relation *rel) {
    return rel->counted ? atomic_load(&counts_of(rel)->repeats) : 0;
}

void relation_use(const Relation *rel) {
    if (!rel->counted)
        return;
    unsigned before = atomic_fetch_add(&counts_of(rel)->users, 1);
    assert(before > 0);
}

/* All users together are one of those who remember. */
void relation_drop(const Relation *rel) {
    if (rel->counted && atomic_fetch_sub(&counts_of(rel)->users, 1) == 1)
        relation_forget(rel);
}

bool relation_is_over(const Relation *rel) {
    return rel->counted && atomic_load(&counts_of(rel)->users) == 0;
}
