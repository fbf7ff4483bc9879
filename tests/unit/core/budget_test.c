#include "core/budget.h"
#include "testing.h"

enum { MIB = 1024 * 1024 };

static void what_is_held_leaves_room_for_what_it_costs(void **unused) {
    (void)unused;
    for (size_t memory = 16 * MIB; memory <= (size_t)1 << 36; memory *= 2)
        for (int sinks = 1; sinks <= 4; sinks++) {
            Budget b = budget_of(memory, sinks);
            size_t held = b.held_bytes + (size_t)sinks * b.queue_bytes + 2 * b.group_bytes;
            assert_in_range(held, memory / 2, memory / 10 * 7 + 10);
            assert_in_range(b.batch_bytes, 512 * 1024, MIB);
            assert_true(b.batch_bytes <= b.held_bytes && b.batch_bytes <= b.queue_bytes);
        }
}

static void no_memory_is_no_bytes(void **unused) {
    (void)unused;
    Budget b = budget_of(0, 1);
    assert_int_equal(b.held_bytes + b.batch_bytes + b.queue_bytes + b.group_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_leaves_room_for_what_it_costs),
        cmocka_unit_test(no_memory_is_no_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
