#include <string.h>

#include "core/clock.h"
#include "snapshot/pool.h"
#include "testing.h"

typedef struct Shared {
    atomic_int runs[100], opened, closed, fail_at, fail_open, halted;
    bool wait; /* a piece lasts until the pool ends */
} Shared;

static void *session_open(void *context, Error *e) {
    Shared *shared = context;
    if (atomic_fetch_add(&shared->opened, 1) + 1 != atomic_load(&shared->fail_open))
        return shared;
    fail(e, ERR_RETRY, "no session");
    return NULL;
}

static void session_close(void *session) {
    atomic_fetch_add(&((Shared *)session)->closed, 1);
}

static bool piece_run(void *context, void *session, int piece, const atomic_bool *halt, Error *e) {
    Shared *shared = context;
    assert_ptr_equal(shared, session);
    atomic_fetch_add(&shared->runs[piece], 1);
    if (piece + 1 == atomic_load(&shared->fail_at))
        return fail(e, ERR_DATA, "piece %d", piece);
    while (shared->wait && !atomic_load(halt))
        clock_sleep_ms(1);
    if (shared->wait) {
        atomic_fetch_add(&shared->halted, 1);
        return fail(e, ERR_STOPPED, "stopped");
    }
    return true;
}

static bool run(Shared *shared, int pieces, int workers, const atomic_bool *stop, Error *e) {
    PoolWork work = {.pieces = pieces,
                     .workers = workers,
                     .stop = stop,
                     .shared = shared,
                     .open = session_open,
                     .run = piece_run,
                     .close = session_close};
    return pool_run(&work, e);
}

static void every_piece_is_run_once(void **unused) {
    (void)unused;
    Shared shared = {0};
    atomic_bool stop = false;
    Error e;
    assert_true(run(&shared, 100, 4, &stop, &e));
    for (int piece = 0; piece < 100; piece++)
        assert_int_equal(atomic_load(&shared.runs[piece]), 1);
    assert_int_equal(atomic_load(&shared.opened), 4);
    assert_int_equal(atomic_load(&shared.closed), 4);
}

typedef struct Chain {
    atomic_int ended;
    int began[20];
} Chain;

static void *chain_open(void *context, Error *e) {
    (void)e;
    return context;
}

static void chain_close(void *session) {
    (void)session;
}

/* A piece waits for the end of the one before it, but for the last, which waits for nobody. */
static bool chain_take(void *context, int piece) {
    Chain *chain = context;
    return piece == 19 || atomic_load(&chain->ended) >= piece;
}

static bool chain_run(void *context, void *session, int piece, const atomic_bool *halt, Error *e) {
    Chain *chain = context;
    (void)session, (void)halt, (void)e;
    chain->began[piece] = atomic_load(&chain->ended);
    clock_sleep_ms(2);
    atomic_fetch_add(&chain->ended, piece == 19 ? 0 : 1);
    return true;
}

static void a_piece_waits_until_it_may_begin_and_others_go_before(void **unused) {
    (void)unused;
    Chain chain = {0};
    atomic_bool stop = false;
    Error e;
    PoolWork work = {.pieces = 20,
                     .workers = 3,
                     .stop = &stop,
                     .shared = &chain,
                     .open = chain_open,
                     .run = chain_run,
                     .take = chain_take,
                     .close = chain_close};
    assert_true(pool_run(&work, &e));
    for (int piece = 0; piece < 19; piece++)
        assert_int_equal(chain.began[piece], piece);
    assert_in_range(chain.began[19], 0, 2);
    assert_int_equal(atomic_load(&chain.ended), 19);
}

static void no_more_sessions_than_pieces_are_opened(void **unused) {
    (void)unused;
    Shared shared = {0};
    atomic_bool stop = false;
    Error e;
    assert_true(run(&shared, 2, 8, &stop, &e));
    assert_int_equal(atomic_load(&shared.opened), 2);
    assert_true(run(&shared, 0, 8, &stop, &e));
    assert_int_equal(atomic_load(&shared.opened), 2);
}

static void the_first_failure_is_told_and_the_others_end(void **unused) {
    (void)unused;
    Shared shared = {.wait = true};
    atomic_bool stop = false;
    Error e;
    atomic_store(&shared.fail_at, 4);
    assert_false(run(&shared, 100, 4, &stop, &e));
    assert_int_equal(e.kind, ERR_DATA);
    assert_string_equal(e.text, "piece 3");
    assert_int_equal(atomic_load(&shared.halted), 3);
    assert_int_equal(atomic_load(&shared.closed), 4);
    assert_int_equal(atomic_load(&shared.runs[4]), 0);
}

static void a_session_that_cannot_be_opened_ends_the_pool(void **unused) {
    (void)unused;
    Shared shared = {.wait = true};
    atomic_bool stop = false;
    Error e;
    atomic_store(&shared.fail_open, 2);
    assert_false(run(&shared, 100, 2, &stop, &e));
    assert_string_equal(e.text, "no session");
    assert_int_equal(atomic_load(&shared.closed), 1);
}

static void stop_is_passed_on(void **unused) {
    (void)unused;
    Shared shared = {.wait = true};
    atomic_bool stop = true;
    Error e;
    assert_false(run(&shared, 100, 3, &stop, &e));
    assert_int_equal(e.kind, ERR_STOPPED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_is_run_once),
        cmocka_unit_test(a_piece_waits_until_it_may_begin_and_others_go_before),
        cmocka_unit_test(no_more_sessions_than_pieces_are_opened),
        cmocka_unit_test(the_first_failure_is_told_and_the_others_end),
        cmocka_unit_test(a_session_that_cannot_be_opened_ends_the_pool),
        cmocka_unit_test(stop_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
