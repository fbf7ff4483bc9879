#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/queue.h"
#include "testing.h"

static Batch *batch_of(size_t bytes, uint32_t number) {
    Batch *b = batch_new(arena_new());
    b->bytes = bytes;
    b->count = number; /* the queue does not look at it */
    return b;
}

static Batch *popped(Queue *q) {
    Batch *b = NULL;
    assert_int_equal(queue_pop(q, &b, 0), QUEUE_OK);
    return b;
}

static void batches_come_out_in_order(void **unused) {
    (void)unused;
    Queue *q = queue_new(1000);
    for (uint32_t number = 0; number < 5; number++)
        assert_int_equal(queue_push(q, batch_of(10, number), 0), QUEUE_OK);
    assert_int_equal(queue_bytes(q), 50);
    for (uint32_t number = 0; number < 5; number++) {
        Batch *b = popped(q);
        assert_int_equal(b->count, number);
        batch_drop(b);
    }
    assert_int_equal(queue_bytes(q), 0);
    queue_free(q);
}

static void a_full_queue_times_out_and_leaves_the_batch_to_the_caller(void **unused) {
    (void)unused;
    Queue *q = queue_new(100);
    assert_int_equal(queue_push(q, batch_of(60, 0), 0), QUEUE_OK);
    Batch *second = batch_of(41, 1);
    int64_t began_ms = clock_ms();
    assert_int_equal(queue_push(q, second, 30), QUEUE_TIMEOUT);
    assert_true(clock_ms() - began_ms >= 29);
    assert_int_equal(queue_bytes(q), 60);
    batch_drop(popped(q));
    assert_int_equal(queue_push(q, second, 0), QUEUE_OK);
    batch_drop(popped(q));
    queue_free(q);
}

static void the_bound_itself_still_fits(void **unused) {
    (void)unused;
    Queue *q = queue_new(100);
    assert_int_equal(queue_push(q, batch_of(60, 0), 0), QUEUE_OK);
    assert_int_equal(queue_push(q, batch_of(40, 1), 0), QUEUE_OK);
    queue_free(q);
}

static void a_batch_above_the_bound_is_let_into_an_empty_queue_only(void **unused) {
    (void)unused;
    Queue *q = queue_new(100);
    Batch *huge = batch_of(SIZE_MAX / 2, 0), *next = batch_of(1, 1);
    assert_int_equal(queue_push(q, huge, 0), QUEUE_OK);
    assert_int_equal(queue_push(q, next, 0), QUEUE_TIMEOUT);
    batch_drop(popped(q));
    assert_int_equal(queue_push(q, next, 0), QUEUE_OK);
    Batch *late = batch_of(101, 2);
    assert_int_equal(queue_push(q, late, 0), QUEUE_TIMEOUT);
    batch_drop(late);
    queue_free(q);
}

static void an_empty_queue_times_out(void **unused) {
    (void)unused;
    Queue *q = queue_new(100);
    Batch *b = NULL;
    int64_t began_ms = clock_ms();
    assert_int_equal(queue_pop(q, &b, 30), QUEUE_TIMEOUT);
    assert_true(clock_ms() - began_ms >= 29);
    assert_null(b);
    queue_free(q);
}

static void a_closed_queue_takes_nothing_but_gives_what_it_has(void **unused) {
    (void)unused;
    Queue *q = queue_new(100);
    assert_int_equal(queue_push(q, batch_of(1, 0), 0), QUEUE_OK);
    queue_close(q);
    Batch *late = batch_of(1, 1), *b = NULL;
    assert_int_equal(queue_push(q, late, 1000), QUEUE_CLOSED);
    batch_drop(late);
    batch_drop(popped(q));
    assert_int_equal(queue_pop(q, &b, 1000), QUEUE_CLOSED);
    queue_free(q);
    queue_free(NULL);
}

static void freeing_drops_what_is_left(void **unused) {
    (void)unused;
    Queue *q = queue_new(100);
    Batch *b = batch_of(1, 0);
    batch_use(b);
    assert_int_equal(queue_push(q, b, 0), QUEUE_OK);
    queue_free(q);
    assert_int_equal(atomic_load(&b->users), 1);
    batch_drop(b);
}

enum { BATCHES = 20000, BOUND = 50 };

static void *produce(void *queue) {
    for (uint32_t number = 0; number < BATCHES; number++) {
        Batch *b = batch_of(1 + number % 30, number);
        QueueResult result;
        while ((result = queue_push(queue, b, 1)) == QUEUE_TIMEOUT)
            continue;
        if (result == QUEUE_CLOSED) {
            batch_drop(b);
            return NULL;
        }
    }
    queue_close(queue);
    return NULL;
}

static void nothing_is_lost_or_reordered_between_two_threads(void **unused) {
    (void)unused;
    Queue *q = queue_new(BOUND);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, q), 0);
    uint32_t expected = 0;
    bool in_order = true, bounded = true;
    for (;;) {
        Batch *b = NULL;
        QueueResult result = queue_pop(q, &b, 5);
        if (result == QUEUE_CLOSED)
            break;
        if (result == QUEUE_TIMEOUT)
            continue;
        in_order = in_order && b->count == expected++;
        bounded = bounded && queue_bytes(q) <= BOUND;
        batch_drop(b);
    }
    pthread_join(producer, NULL);
    assert_true(in_order);
    assert_true(bounded);
    assert_int_equal(expected, BATCHES);
    queue_free(q);
}

static void *close_soon(void *queue) {
    clock_sleep_ms(20);
    queue_close(queue);
    return NULL;
}

static void closing_wakes_whoever_waits(void **unused) {
    (void)unused;
    for (int full = 0; full < 2; full++) {
        Queue *q = queue_new(10);
        Batch *waiting = batch_of(10, 1), *b = NULL;
        pthread_t closer;
        if (full)
            assert_int_equal(queue_push(q, batch_of(10, 0), 0), QUEUE_OK);
        int64_t began_ms = clock_ms();
        assert_int_equal(pthread_create(&closer, NULL, close_soon, q), 0);
        assert_int_equal(full ? queue_push(q, waiting, 60000) : queue_pop(q, &b, 60000), QUEUE_CLOSED);
        assert_true(clock_ms() - began_ms < 30000);
        pthread_join(closer, NULL);
        batch_drop(waiting);
        queue_free(q);
    }
}

static void *pop_soon(void *queue) {
    clock_sleep_ms(20);
    Batch *b = NULL;
    if (queue_pop(queue, &b, 0) == QUEUE_OK)
        batch_drop(b);
    return NULL;
}

static void room_wakes_a_waiting_push(void **unused) {
    (void)unused;
    Queue *q = queue_new(10);
    pthread_t popper;
    assert_int_equal(queue_push(q, batch_of(10, 0), 0), QUEUE_OK);
    int64_t began_ms = clock_ms();
    assert_int_equal(pthread_create(&popper, NULL, pop_soon, q), 0);
    assert_int_equal(queue_push(q, batch_of(10, 1), 60000), QUEUE_OK);
    assert_true(clock_ms() - began_ms < 30000);
    pthread_join(popper, NULL);
    queue_free(q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_out_in_order),
        cmocka_unit_test(a_full_queue_times_out_and_leaves_the_batch_to_the_caller),
        cmocka_unit_test(the_bound_itself_still_fits),
        cmocka_unit_test(a_batch_above_the_bound_is_let_into_an_empty_queue_only),
        cmocka_unit_test(an_empty_queue_times_out),
        cmocka_unit_test(a_closed_queue_takes_nothing_but_gives_what_it_has),
        cmocka_unit_test(freeing_drops_what_is_left),
        cmocka_unit_test(nothing_is_lost_or_reordered_between_two_threads),
        cmocka_unit_test(closing_wakes_whoever_waits),
        cmocka_unit_test(room_wakes_a_waiting_push),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
