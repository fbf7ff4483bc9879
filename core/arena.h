/* arena: memory with one lifetime. Everything allocated from it or adopted by it goes when it goes; nothing in it
 * is freed alone. `bytes` counts what it holds, so that queues and budgets can be bounded by it.
 * One thread at a time; freed by whoever gives up the last use of the batch that owns it. Never returns NULL. */
#ifndef WALFERRY_CORE_ARENA_H
#define WALFERRY_CORE_ARENA_H

#include "core/bytes.h"

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *a); /* NULL is fine */
/* `size` bytes, aligned for any object, zeroed. */
void *arena_alloc(Arena *a, size_t size);
void *arena_raw(Arena *a, size_t size); /* the same, not zeroed */
char *arena_text(Arena *a, Slice text); /* a NUL-terminated copy */
/* Takes over memory that somebody else allocated (libpq's frames); release(memory) is called by arena_free. */
void arena_adopt(Arena *a, void *memory, size_t size, void (*release)(void *memory));
size_t arena_bytes(const Arena *a);
uint64_t arena_number(const Arena *a); /* no other one of the process has it, or had it */

#endif
