#include "core/memory.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static void (*refused_tell)(size_t size);

void memory_when_refused(void (*tell)(size_t size)) {
    refused_tell = tell;
}

static void *checked(void *memory, size_t size) {
    if (memory != NULL || size == 0)
        return memory;
    if (refused_tell != NULL)
        refused_tell(size);
    abort();
}

void *memory_new(size_t size) {
    return checked(calloc(1, size), size);
}

void *memory_raw(size_t size) {
    return checked(malloc(size), size);
}

void *memory_grow(void *old, size_t size) {
    return checked(realloc(old, size), size);
}

void memory_give_back(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
