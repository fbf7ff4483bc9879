#include "sink/postgres/refusal.h"

#include <string.h>

#include "testing.h"

static bool judged(ErrorKind kind, const char *sqlstate) {
    Error e = {.kind = kind};
    strcpy(e.sqlstate, sqlstate);
    return refusal_is_conflict(&e);
}

static void only_what_the_row_is_to_blame_for_is_a_conflict(void **state) {
    static const char *const conflicts[] = {"23505", "23503", "23514", "23502", "23P01", "22001",
                                            "22P02", "22021", "44000", "54000", "P0001"};
    static const char *const others[] = {"",      "08006", "53100", "25006", "55P03", "57014", "40P01",
                                         "42501", "42P01", "42703", "0A000", "26000", "54001", "3F000"};
    (void)state;
    for (size_t n = 0; n < sizeof conflicts / sizeof *conflicts; n++)
        assert_true(judged(ERR_DATA, conflicts[n]));
    for (size_t n = 0; n < sizeof others / sizeof *others; n++)
        assert_false(judged(ERR_DATA, others[n]));
    assert_false(judged(ERR_RETRY, "23505")); /* of the progress: somebody else's */
    assert_false(judged(ERR_CONFIG, "22023"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_the_row_is_to_blame_for_is_a_conflict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
