#include "core/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static void (*refused_tell)(size_t size);

void memory_when_refused(void (*tell)(size_t size)) {
    refused_tell = tell;
}

void memory_refused(size_t size) {
    if (refused_tell != NULL)
        refused_tell(size);
    abort();
}

static void *checked(void *memory, size_t size) {
    if (memory == NULL && size != 0)
        memory_refused(size);
    return memory;
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

void *memory_array(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        memory_refused(SIZE_MAX);
    return checked(calloc(count, size), bytes);
}

char *memory_text(const char *text) {
    return memory_text_part(text, strlen(text));
}

char *memory_text_part(const char *text, size_t length) {
    return checked(strndup(text, length), length + 1);
}

void memory_give_back(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void memory_tune(void) {
#ifdef __GLIBC__
    mallopt(M_MXFAST, 0);
#endif
}
