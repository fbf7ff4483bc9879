#include "core/lsn.h"
#include "testing.h"

static void text_is_as_postgresql_prints_it(void **unused) {
    (void)unused;
    char text[LSN_TEXT_SIZE];
    assert_string_equal(lsn_text((Lsn){0x16B374D848}, text), "16/B374D848");
    assert_string_equal(lsn_text(LSN_NONE, text), "0/0");
    assert_string_equal(lsn_text((Lsn){UINT64_MAX}, text), "FFFFFFFF/FFFFFFFF");
    assert_string_equal(lsn_text((Lsn){UINT64_C(1) << 32 | 0xA}, text), "1/A");
}

static void parse_reads_what_text_wrote(void **unused) {
    (void)unused;
    static const uint64_t PLACES[] = {0, 1, 0xFFFFFFFF, UINT64_C(1) << 32, 0x16B374D848, UINT64_MAX};
    for (size_t place = 0; place < sizeof PLACES / sizeof *PLACES; place++) {
        char text[LSN_TEXT_SIZE];
        Lsn back = {42};
        assert_true(lsn_parse(lsn_text((Lsn){PLACES[place]}, text), &back));
        assert_true(back.at == PLACES[place]);
    }
    Lsn lower = LSN_NONE;
    assert_true(lsn_parse("16/b374d848", &lower));
    assert_true(lower.at == 0x16B374D848);
}

static void parse_refuses_everything_else_and_leaves_out_alone(void **unused) {
    (void)unused;
    static const char *const WRONG[] = {
        "",     "/",    "1",    "1/",          "/1",          "1/G",   "G/1",   " 1/1", "1/1 ",
        "1/ 1", "-1/1", "1//1", "1/123456789", "123456789/1", "0x1/1", "1/1/1", "1\n/1"};
    for (size_t text = 0; text < sizeof WRONG / sizeof *WRONG; text++) {
        Lsn out = {42};
        assert_false(lsn_parse(WRONG[text], &out));
        assert_true(out.at == 42);
    }
}

static void order_and_distance(void **unused) {
    (void)unused;
    Lsn low = {0xFFFFFFFF}, high = {0x100000001};
    assert_true(lsn_before(low, high));
    assert_false(lsn_before(high, low));
    assert_false(lsn_before(low, low));
    assert_true(lsn_equal(lsn_max(low, high), high));
    assert_true(lsn_equal(lsn_min(high, low), low));
    assert_true(lsn_distance_bytes(low, high) == 2);
    assert_true(lsn_distance_bytes(high, low) == 0);
    assert_true(lsn_is_none(LSN_NONE));
    assert_false(lsn_is_none(low));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_as_postgresql_prints_it),
        cmocka_unit_test(parse_reads_what_text_wrote),
        cmocka_unit_test(parse_refuses_everything_else_and_leaves_out_alone),
        cmocka_unit_test(order_and_distance),
    };
    return cmocka_run_group_tests_name("lsn", tests, NULL, NULL);
}
