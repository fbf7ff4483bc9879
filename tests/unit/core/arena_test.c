#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "testing.h"

enum { RUNS = 2000 };

static void memory_is_aligned_zeroed_and_apart(void **unused) {
    (void)unused;
    Arena *a = arena_new();
    char *runs[RUNS];
    size_t sizes[RUNS], total = 0;
    for (size_t run = 0; run < RUNS; run++) {
        sizes[run] = run % 97 == 0 ? 1 + run * 40 : run % 50; /* some above a chunk, some empty */
        runs[run] = arena_alloc(a, sizes[run]);
        assert_int_equal((uintptr_t)runs[run] % alignof(max_align_t), 0);
        for (size_t at = 0; at < sizes[run]; at++)
            assert_int_equal(runs[run][at], 0);
        memset(runs[run], (int)(run % 251) + 1, sizes[run]);
        total += sizes[run];
    }
    for (size_t run = 0; run < RUNS; run++)
        for (size_t at = 0; at < sizes[run]; at++)
            assert_int_equal((unsigned char)runs[run][at], run % 251 + 1);
    assert_true(arena_bytes(a) >= total);
    arena_free(a);
}

static void arenas_are_told_apart_by_their_numbers(void **unused) {
    (void)unused;
    Arena *a = arena_new();
    uint64_t number = arena_number(a);
    arena_free(a);
    a = arena_new(); /* mostly at the same address */
    assert_int_not_equal(arena_number(a), number);
    arena_free(a);
}

static void raw_memory_and_zeroed_memory_share_chunks(void **unused) {
    (void)unused;
    Arena *a = arena_new();
    for (int run = 0; run < RUNS; run++) {
        char *raw = arena_raw(a, 40), *zeroed = arena_alloc(a, 24);
        memset(raw, 'x', 40);
        for (int at = 0; at < 24; at++)
            assert_int_equal(zeroed[at], 0);
        assert_int_equal((uintptr_t)raw % alignof(max_align_t), 0);
    }
    assert_true(arena_bytes(a) >= RUNS * 64);
    arena_free(a);
}

static void a_text_is_a_terminated_copy(void **unused) {
    (void)unused;
    Arena *a = arena_new();
    char source[] = "shop.orders";
    char *copy = arena_text(a, (Slice){source, 4});
    source[0] = 'X';
    assert_string_equal(copy, "shop");
    assert_string_equal(arena_text(a, (Slice){NULL, 0}), "");
    arena_free(a);
}

static int released;

static void count_release(void *memory) {
    released++;
    free(memory);
}

static void adopted_memory_is_released_once_and_counted(void **unused) {
    (void)unused;
    Arena *a = arena_new();
    size_t before = arena_bytes(a);
    released = 0;
    for (int piece = 0; piece < 1000; piece++)
        arena_adopt(a, malloc(100), 100, count_release);
    assert_true(arena_bytes(a) - before >= 100 * 1000);
    assert_int_equal(released, 0);
    arena_free(a);
    assert_int_equal(released, 1000);
}

static void bytes_grow_with_what_is_held(void **unused) {
    (void)unused;
    Arena *a = arena_new();
    size_t empty = arena_bytes(a);
    arena_alloc(a, 1);
    size_t one = arena_bytes(a);
    assert_true(one > empty);
    arena_alloc(a, 1 << 20);
    assert_true(arena_bytes(a) >= one + (1 << 20));
    size_t large = arena_bytes(a);
    for (int piece = 0; piece < 8; piece++)
        arena_alloc(a, 16); /* a large piece does not close the chunk that is being filled */
    assert_int_equal(arena_bytes(a), large);
    arena_free(a);
}

static void freeing_nothing_is_fine(void **unused) {
    (void)unused;
    arena_free(NULL);
    arena_free(arena_new());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_apart),
        cmocka_unit_test(arenas_are_told_apart_by_their_numbers),
        cmocka_unit_test(raw_memory_and_zeroed_memory_share_chunks),
        cmocka_unit_test(a_text_is_a_terminated_copy),
        cmocka_unit_test(adopted_memory_is_released_once_and_counted),
        cmocka_unit_test(bytes_grow_with_what_is_held),
        cmocka_unit_test(freeing_nothing_is_fine),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
