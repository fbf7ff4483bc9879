#include "core/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* Chunks begin small, because there may be tens of thousands of arenas, and double. */
enum { CHUNK_BYTES_LEAST = 256, CHUNK_BYTES = 16 * 1024, ADOPTED_PER_NODE = 62 };

typedef struct Chunk {
    struct Chunk *next;
    size_t used, size;
    alignas(max_align_t) char data[];
} Chunk;

typedef struct Adopted {
    struct Adopted *next;
    size_t count;
    struct {
        void *memory;
        void (*release)(void *);
    } items[ADOPTED_PER_NODE];
} Adopted;

struct Arena {
    Chunk *chunks;
    Adopted *adopted;
    size_t bytes, chunk_bytes; /* of the next chunk */
    uint64_t number;
};

static _Atomic uint64_t arenas_made;

Arena *arena_new(void) {
    Arena *a = memory_new(sizeof *a);
    a->bytes = sizeof *a;
    a->number = ++arenas_made;
    a->chunk_bytes = CHUNK_BYTES_LEAST;
    return a;
}

void arena_free(Arena *a) {
    if (a == NULL)
        return;
    while (a->adopted != NULL) {
        Adopted *node = a->adopted;
        a->adopted = node->next;
        for (size_t item = 0; item < node->count; item++)
            node->items[item].release(node->items[item].memory);
        free(node);
    }
    while (a->chunks != NULL) {
        Chunk *chunk = a->chunks;
        a->chunks = chunk->next;
        free(chunk);
    }
    free(a);
}

static Chunk *chunk_new(Arena *a, size_t size) {
    Chunk *chunk = memory_raw(sizeof *chunk + size);
    *chunk = (Chunk){.size = size};
    a->bytes += sizeof *chunk + size;
    return chunk;
}

void *arena_raw(Arena *a, size_t size) {
    assert(size <= SIZE_MAX / 2);
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    Chunk *chunk = a->chunks;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        bool large = size > CHUNK_BYTES / 4;
        while (!large && a->chunk_bytes < size)
            a->chunk_bytes *= 2;
        chunk = chunk_new(a, large ? size : a->chunk_bytes);
        if (!large && a->chunk_bytes < CHUNK_BYTES)
            a->chunk_bytes *= 2;
        if (large && a->chunks != NULL) { /* keep filling the chunk in front */
            chunk->next = a->chunks->next;
            a->chunks->next = chunk;
        } else {
            chunk->next = a->chunks;
            a->chunks = chunk;
        }
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += size;
    return memory;
}

void *arena_alloc(Arena *a, size_t size) {
    return memset(arena_raw(a, size), 0, size);
}

char *arena_text(Arena *a, Slice text) {
    char *copy = arena_raw(a, text.len + 1);
    if (text.len > 0)
        memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return copy;
}

void arena_adopt(Arena *a, void *memory, size_t size, void (*release)(void *memory)) {
    if (a->adopted == NULL || a->adopted->count == ADOPTED_PER_NODE) {
        Adopted *node = memory_new(sizeof *node);
        node->next = a->adopted;
        a->adopted = node;
        a->bytes += sizeof *node;
    }
    Adopted *node = a->adopted;
    node->items[node->count].memory = memory;
    node->items[node->count].release = release;
    node->count++;
    a->bytes += size;
}

size_t arena_bytes(const Arena *a) {
    return a->bytes;
}

uint64_t arena_number(const Arena *a) {
    return a->number;
}
