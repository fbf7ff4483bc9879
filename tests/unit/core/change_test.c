#include <pthread.h>
#include <stdlib.h>

#include "core/change.h"
#include "testing.h"

static int released;

static void count_release(void *memory) {
    (void)memory;
    released++;
}

/* A batch whose end shows in `released`. */
static Batch *watched_batch(void) {
    Arena *arena = arena_new();
    static char memory;
    arena_adopt(arena, &memory, 1, count_release);
    released = 0;
    return batch_new(arena);
}

static void a_new_batch_is_empty_and_has_one_use(void **unused) {
    (void)unused;
    Batch *b = watched_batch();
    assert_int_equal(b->count, 0);
    assert_null(b->transactions);
    assert_non_null(b->arena);
    batch_drop(b);
    assert_int_equal(released, 1);
}

static void the_last_drop_frees(void **unused) {
    (void)unused;
    Batch *b = watched_batch();
    batch_use(b);
    batch_use(b);
    batch_drop(b);
    batch_drop(b);
    assert_int_equal(released, 0);
    batch_drop(b);
    assert_int_equal(released, 1);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *use_and_drop(void *batch) {
    for (int round = 0; round < ROUNDS; round++) {
        batch_use(batch);
        batch_drop(batch);
    }
    batch_drop(batch);
    return NULL;
}

static void uses_are_counted_across_threads(void **unused) {
    (void)unused;
    Batch *b = watched_batch();
    pthread_t threads[THREADS];
    for (int thread = 0; thread < THREADS; thread++) {
        batch_use(b);
        assert_int_equal(pthread_create(&threads[thread], NULL, use_and_drop, b), 0);
    }
    for (int thread = 0; thread < THREADS; thread++)
        pthread_join(threads[thread], NULL);
    assert_int_equal(released, 0);
    batch_drop(b);
    assert_int_equal(released, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_batch_is_empty_and_has_one_use),
        cmocka_unit_test(the_last_drop_frees),
        cmocka_unit_test(uses_are_counted_across_threads),
    };
    return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
