/* bench: an assembler's bench (data/assembling.h) of malloc, and the relation that most of its tests have. */
#ifndef WALFERRY_TESTS_DECODER_BENCH_H
#define WALFERRY_TESTS_DECODER_BENCH_H

#include "data/assembling.h"

#define RELATION "R 1 t id* note"

/* Its options may be changed until bench_begin. */
static inline Bench *bench_new(void) {
    Bench *b = malloc(sizeof *b);
    assert_non_null(b);
    bench_init(b);
    return b;
}

/* With the options as they are. */
static inline Bench *bench_ready(void) {
    Bench *b = bench_new();
    bench_begin(b, NULL);
    return b;
}

static inline void bench_free(Bench *b) {
    bench_end(b);
    free(b);
}

#endif
