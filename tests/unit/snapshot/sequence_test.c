#include "snapshot/sequence.h"
#include "testing.h"

static SequenceAt called(int64_t value) {
    return (SequenceAt){.value = value, .called = true};
}
static SequenceAt uncalled(int64_t value) {
    return (SequenceAt){.value = value};
}

static void rising_ones_only_rise(void **unused) {
    (void)unused;
    assert_true(sequence_moves(1, 1, called(8), called(7)));
    assert_false(sequence_moves(1, 1, called(7), called(8)));
    assert_false(sequence_moves(1, 1, called(7), called(7)));
}

static void falling_ones_only_fall(void **unused) {
    (void)unused;
    assert_true(sequence_moves(-2, -1, called(-9), called(-7)));
    assert_false(sequence_moves(-2, -1, called(-7), called(-9)));
}

static void the_first_call_is_a_move(void **unused) {
    (void)unused;
    assert_true(sequence_moves(1, 1, called(1), uncalled(1)));
    assert_false(sequence_moves(1, 1, uncalled(1), called(1)));
    assert_false(sequence_moves(1, 1, uncalled(1), uncalled(1)));
}

static void one_that_stands_at_its_start_may_go_anywhere(void **unused) {
    (void)unused;
    assert_true(sequence_moves(1, 10, called(3), uncalled(10)));
    assert_true(sequence_moves(-1, -10, uncalled(-3), uncalled(-10)));
    assert_false(sequence_moves(1, 10, called(3), uncalled(11)));
    assert_false(sequence_moves(1, 10, called(3), called(10)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rising_ones_only_rise),
        cmocka_unit_test(falling_ones_only_fall),
        cmocka_unit_test(the_first_call_is_a_move),
        cmocka_unit_test(one_that_stands_at_its_start_may_go_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
