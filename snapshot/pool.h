/* pool: numbered pieces of work on several threads, each with a session of its own. The first failure ends
 * all; the caller's thread only waits, and passes its *stop on. */
#ifndef WALFERRY_SNAPSHOT_POOL_H
#define WALFERRY_SNAPSHOT_POOL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/error.h"

typedef struct PoolWork {
    int pieces;  /* 0 … pieces - 1, begun in this order, but for those that are not ready */
    int workers; /* at most one a piece is used */
    const atomic_bool *stop;
    void *shared;
    /* A worker's session; NULL and e: the pool ends. */
    void *(*open)(void *shared, Error *e);
    /* One piece. *halt becomes true when the whole pool is to end: by *stop, or by another piece's failure.
     */
    bool (*run)(void *shared, void *session, int piece, const atomic_bool *halt, Error *e);
    /* Whether a piece may begin now; then it does, and this is not asked about it again. The end of another piece may
     * change the answer. NULL: all may. Asked by one thread at a time. Some piece must be ready when nothing runs. */
    bool (*take)(void *shared, int piece);
    void (*close)(void *session);
    void (*tick)(void *shared); /* by the caller's thread again and again while it waits; NULL: nothing */
} PoolWork;

/* True: every piece was run. Else the first failure, or ERR_STOPPED. */
bool pool_run(const PoolWork *work, Error *e);

#endif
