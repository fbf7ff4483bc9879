#include <stdbool.h>
#include <stdlib.h>

#include "core/throttle.h"
#include "testing.h"

#define SECOND INT64_C(1000000)

static void without_a_limit_nobody_waits(void **unused) {
    (void)unused;
    Throttle *t = throttle_new();
    for (int kind = 0; kind < THROTTLE_KINDS; kind++)
        throttle_take(t, (ThrottleKind)kind, INT64_MAX / 2, 0);
    assert_int_equal(throttle_wait_us(t, 0), 0);
    throttle_free(t);
    throttle_free(NULL);
}

/* Takers that wait as they are told: over any time they get what the limit allows and the credit, no more, and not
 * less than one amount under it. Every rate, amount and lateness of waking; also with several takers in turn. */
static void what_is_taken_is_the_limit(int64_t per_s, int64_t amount, int64_t late_us, ThrottleKind kind) {
    Throttle *t = throttle_new();
    int64_t now_us = 17 * SECOND, begun_us = now_us, taken = 0;
    throttle_set(t, kind, per_s, now_us);
    for (int turn = 0; turn < 500; turn++) {
        throttle_take(t, kind, amount, now_us);
        taken += amount;
        int64_t wait_us = throttle_wait_us(t, now_us);
        assert_true(wait_us >= 0);
        if (wait_us > 0)
            now_us += wait_us + late_us;
        assert_true(throttle_wait_us(t, now_us) <= 0);
        double allowed = (double)(now_us - begun_us + THROTTLE_CREDIT_US) * (double)per_s / 1e6;
        if ((double)taken > allowed + (double)amount + 1)
            fail_test("%lld taken, %f allowed", (long long)taken, allowed);
        double least = (double)(now_us - begun_us) * (double)per_s / 1e6 - (double)amount;
        bool keeps_up = late_us < THROTTLE_CREDIT_US && now_us > begun_us;
        if (keeps_up && (double)taken + (double)(late_us + 2) * (double)per_s / 1e6 + 1 < least)
            fail_test("%lld taken, %f could have been", (long long)taken, least);
    }
    throttle_free(t);
}

static void every_rate_and_amount_is_kept_to(void **unused) {
    (void)unused;
    static const int64_t rates[] = {1, 2, 7, 100, 5000, 1000000, INT64_C(1) << 40};
    static const int64_t amounts[] = {1, 3, 64, 1000, 1 << 20, INT64_C(1) << 30};
    static const int64_t lates_us[] = {0, 1, 49999, THROTTLE_CREDIT_US, 3 * SECOND};
    for (size_t rate = 0; rate < sizeof rates / sizeof *rates; rate++)
        for (size_t amount = 0; amount < sizeof amounts / sizeof *amounts; amount++)
            for (size_t late = 0; late < sizeof lates_us / sizeof *lates_us; late++)
                for (int kind = 0; kind < THROTTLE_KINDS; kind++)
                    what_is_taken_is_the_limit(rates[rate], amounts[amount], lates_us[late],
                                               (ThrottleKind)kind);
}

static void the_slowest_limit_decides(void **unused) {
    (void)unused;
    Throttle *t = throttle_new();
    throttle_set(t, THROTTLE_ROWS, 1000, 0);
    throttle_set(t, THROTTLE_BYTES, 1000, 0);
    throttle_take(t, THROTTLE_ROWS, 1000, 0);
    throttle_take(t, THROTTLE_BYTES, 5000, 0);
    assert_in_range(throttle_wait_us(t, 0), 5000000, 5000001);
    throttle_take(t, THROTTLE_ROWS, 9000, 0);
    assert_in_range(throttle_wait_us(t, 0), 10000000, 10000001);
    throttle_free(t);
}

static void a_debt_is_paid_at_the_new_speed(void **unused) {
    (void)unused;
    Throttle *t = throttle_new();
    throttle_set(t, THROTTLE_ROWS, 10, 0);
    throttle_take(t, THROTTLE_ROWS, 1000, 0);
    assert_in_range(throttle_wait_us(t, 0), 100 * SECOND, 100 * SECOND + 1);
    throttle_set(t, THROTTLE_ROWS, 1000, 50 * SECOND);
    assert_in_range(throttle_wait_us(t, 50 * SECOND), SECOND / 2, SECOND / 2 + 1);
    throttle_set(t, THROTTLE_ROWS, 0, 50 * SECOND);
    assert_int_equal(throttle_wait_us(t, 50 * SECOND), 0);
    throttle_set(t, THROTTLE_ROWS, 10, 50 * SECOND); /* what was owed is forgotten with the limit */
    assert_int_equal(throttle_wait_us(t, 50 * SECOND), 0);
    throttle_free(t);
}

static void rest_is_not_saved_up(void **unused) {
    (void)unused;
    Throttle *t = throttle_new();
    throttle_set(t, THROTTLE_ROWS, 100, 0);
    throttle_take(t, THROTTLE_ROWS, 100, 3600 * SECOND);
    assert_in_range(throttle_wait_us(t, 3600 * SECOND), 900000, 900001);
    throttle_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_limit_nobody_waits), cmocka_unit_test(every_rate_and_amount_is_kept_to),
        cmocka_unit_test(the_slowest_limit_decides),    cmocka_unit_test(a_debt_is_paid_at_the_new_speed),
        cmocka_unit_test(rest_is_not_saved_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
