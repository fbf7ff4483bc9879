#include "snapshot/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/limit.h"

enum { LOOK_EVERY_MS = 10 };

typedef struct Pool {
    const PoolWork *work;
    atomic_int next, running;
    atomic_bool halt;
    pthread_mutex_t lock; /* guards what follows */
    bool failed;
    Error error; /* the first failure */
} Pool;

/* What fails only because the pool is ending is no failure of its own. */
static void pool_fail(Pool *pool, const Error *e) {
    pthread_mutex_lock(&pool->lock);
    if (!pool->failed && e->kind != ERR_STOPPED) {
        pool->failed = true;
        pool->error = *e;
    }
    pthread_mutex_unlock(&pool->lock);
    atomic_store(&pool->halt, true);
}

static bool pieces_run(Pool *pool, void *session, Error *e) {
    const PoolWork *work = pool->work;
    while (!atomic_load(&pool->halt)) {
        int piece = atomic_fetch_add(&pool->next, 1);
        if (piece >= work->pieces)
            return true;
        if (!work->run(work->shared, session, piece, &pool->halt, e))
            return false;
    }
    return true;
}

static void *worker(void *context) {
    Pool *pool = context;
    Error e;
    void *session = pool->work->open(pool->work->shared, &e);
    if (session == NULL || !pieces_run(pool, session, &e))
        pool_fail(pool, &e);
    if (session != NULL)
        pool->work->close(session);
    atomic_fetch_sub(&pool->running, 1);
    return NULL;
}

static int workers_start(Pool *pool, pthread_t *threads, int wanted) {
    for (int started = 0; started < wanted; started++) {
        atomic_fetch_add(&pool->running, 1);
        int error = pthread_create(&threads[started], NULL, worker, pool);
        if (error == 0)
            continue;
        Error e;
        atomic_fetch_sub(&pool->running, 1);
        limit_failed(&e, "make a thread", error);
        pool_fail(pool, &e);
        return started;
    }
    return wanted;
}

bool pool_run(const PoolWork *work, Error *e) {
    if (work->pieces == 0)
        return true;
    int wanted = work->workers < work->pieces ? work->workers : work->pieces;
    assert(wanted > 0);
    Pool pool = {.work = work};
    pthread_mutex_init(&pool.lock, NULL);
    pthread_t *threads = calloc((size_t)wanted, sizeof *threads);
    assert(threads != NULL);
    int started = workers_start(&pool, threads, wanted);
    while (atomic_load(&pool.running) > 0) {
        if (atomic_load(work->stop))
            atomic_store(&pool.halt, true);
        clock_sleep_ms(LOOK_EVERY_MS);
    }
    for (int thread = 0; thread < started; thread++)
        pthread_join(threads[thread], NULL);
    free(threads);
    pthread_mutex_destroy(&pool.lock);
    if (pool.failed)
        *e = pool.error;
    else if (atomic_load(&pool.halt))
        fail(e, ERR_STOPPED, "stopped");
    return !pool.failed && !atomic_load(&pool.halt);
}
