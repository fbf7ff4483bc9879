#include "snapshot/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/limit.h"
#include "core/memory.h"

enum { LOOK_EVERY_MS = 10 };

typedef struct Pool {
    const PoolWork *work;
    atomic_int running; /* threads */
    atomic_bool halt;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended; /* a piece has */
    bool *begun;
    int first;  /* all before it are begun */
    int active; /* pieces that run */
    bool failed;
    Error error; /* the first failure */
} Pool;

static void pool_halt(Pool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->halt, true);
    pthread_cond_broadcast(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
}

/* What fails only because the pool is ending is no failure of its own. */
static void pool_fail(Pool *pool, const Error *e) {
    pthread_mutex_lock(&pool->lock);
    if (!pool->failed && e->kind != ERR_STOPPED) {
        pool->failed = true;
        pool->error = *e;
    }
    pthread_mutex_unlock(&pool->lock);
    pool_halt(pool);
}

static bool piece_may_begin(const Pool *pool, int piece) {
    const PoolWork *work = pool->work;
    return !pool->begun[piece] && (work->take == NULL || work->take(work->shared, piece));
}

/* The first piece that may begin; -1: none is left, or the pool ends. Waits while others may make one ready. */
static int piece_take(Pool *pool) {
    int taken = -1;
    pthread_mutex_lock(&pool->lock);
    while (taken < 0 && !atomic_load(&pool->halt)) {
        while (pool->first < pool->work->pieces && pool->begun[pool->first])
            pool->first++;
        for (int piece = pool->first; taken < 0 && piece < pool->work->pieces; piece++)
            taken = piece_may_begin(pool, piece) ? piece : -1;
        if (taken < 0 && pool->first == pool->work->pieces)
            break;
        assert(taken >= 0 || pool->active > 0);
        if (taken < 0)
            pthread_cond_wait(&pool->ended, &pool->lock);
    }
    if (taken >= 0) {
        pool->begun[taken] = true;
        pool->active++;
    }
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

static void piece_end(Pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->active--;
    pthread_cond_broadcast(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
}

static bool pieces_run(Pool *pool, void *session, Error *e) {
    const PoolWork *work = pool->work;
    int piece;
    while ((piece = piece_take(pool)) >= 0) {
        bool ok = work->run(work->shared, session, piece, &pool->halt, e);
        piece_end(pool);
        if (!ok)
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
    Pool pool = {.work = work, .begun = memory_array((size_t)work->pieces, sizeof *pool.begun)};
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.ended, NULL);
    pthread_t *threads = memory_array((size_t)wanted, sizeof *threads);
    int started = workers_start(&pool, threads, wanted);
    while (atomic_load(&pool.running) > 0) {
        if (atomic_load(work->stop))
            pool_halt(&pool);
        if (work->tick != NULL)
            work->tick(work->shared);
        clock_sleep_ms(LOOK_EVERY_MS);
    }
    for (int thread = 0; thread < started; thread++)
        pthread_join(threads[thread], NULL);
    free(threads);
    free(pool.begun);
    pthread_cond_destroy(&pool.ended);
    pthread_mutex_destroy(&pool.lock);
    if (pool.failed)
        *e = pool.error;
    else if (atomic_load(&pool.halt))
        fail(e, ERR_STOPPED, "stopped");
    return !pool.failed && !atomic_load(&pool.halt);
}
