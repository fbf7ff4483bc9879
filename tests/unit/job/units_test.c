#include "job/units.h"
#include "testing.h"

static void sizes_have_one_decimal_only_below_ten(void **unused) {
    (void)unused;
    assert_string_equal(UNIT_BYTES(0), "0 B");
    assert_string_equal(UNIT_BYTES(1023), "1023 B");
    assert_string_equal(UNIT_BYTES(1024), "1.0 KiB");
    assert_string_equal(UNIT_BYTES(INT64_C(85) << 20), "85 MiB");
    assert_string_equal(UNIT_BYTES(INT64_C(1288490189)), "1.2 GiB");
    assert_string_equal(UNIT_BYTES(INT64_MAX), "8.0 EiB");
}

static void a_size_just_below_a_unit_is_that_unit(void **unused) {
    (void)unused;
    assert_string_equal(UNIT_BYTES((INT64_C(1) << 20) - 1), "1.0 MiB");
    assert_string_equal(UNIT_BYTES(10234), "10 KiB"); /* 9.99 */
}

static void counts_have_commas(void **unused) {
    (void)unused;
    assert_string_equal(UNIT_COUNT(0), "0");
    assert_string_equal(UNIT_COUNT(999), "999");
    assert_string_equal(UNIT_COUNT(1000), "1,000");
    assert_string_equal(UNIT_COUNT(1234567), "1,234,567");
    assert_string_equal(UNIT_COUNT(-123456), "-123,456");
    assert_string_equal(UNIT_COUNT(INT64_MIN), "-9,223,372,036,854,775,808");
}

static void clocks_grow_with_what_they_show(void **unused) {
    (void)unused;
    assert_string_equal(UNIT_CLOCK(26000), "0:26");
    assert_string_equal(UNIT_CLOCK(999), "0:00");
    assert_string_equal(UNIT_CLOCK(-5), "0:00");
    assert_string_equal(UNIT_CLOCK(3753000), "1:02:33");
    assert_string_equal(UNIT_CLOCK(INT64_C(183845000)), "2 d 3:04:05");
}

static void lags_name_their_unit(void **unused) {
    (void)unused;
    assert_string_equal(UNIT_LAG(-1), "unknown");
    assert_string_equal(UNIT_LAG(0), "0 ms");
    assert_string_equal(UNIT_LAG(999), "999 ms");
    assert_string_equal(UNIT_LAG(1234), "1.2 s");
    assert_string_equal(UNIT_LAG(120000), "2 min");
    assert_string_equal(UNIT_LAG(7200000), "2.0 h");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_one_decimal_only_below_ten),
        cmocka_unit_test(a_size_just_below_a_unit_is_that_unit),
        cmocka_unit_test(counts_have_commas),
        cmocka_unit_test(clocks_grow_with_what_they_show),
        cmocka_unit_test(lags_name_their_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
