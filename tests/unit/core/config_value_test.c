#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/config.h"
#include "core/config_value.h"

#include <cmocka.h> /* last: its fail() would break the prototype of ours */

static void a_duration_has_a_unit_or_is_0(void **state) {
    static const struct {
        const char *text;
        int64_t ms;
    } RIGHT[] = {{"0", 0},          {"500ms", 500},  {"1s", 1000},
                 {"10min", 600000}, {"2h", 7200000}, {"1d", 86400000},
                 {"0s", 0},         {"007s", 7000},  {"9223372036854775807ms", INT64_MAX}};
    static const char *const WRONG[] = {"",
                                        "5",
                                        "s",
                                        "1.5s",
                                        "-1s",
                                        "1 s",
                                        " 1s",
                                        "10m",
                                        "1S",
                                        "1s ",
                                        "1us",
                                        "1sec",
                                        "+1s",
                                        "0x1s",
                                        "1mins",
                                        "1ms1s",
                                        "9223372036854775808ms",
                                        "9223372036854775807s"};
    int64_t ms;
    (void)state;
    for (size_t n = 0; n < sizeof RIGHT / sizeof *RIGHT; n++) {
        assert_true(config_duration_ms(RIGHT[n].text, &ms));
        assert_true(ms == RIGHT[n].ms);
    }
    for (size_t n = 0; n < sizeof WRONG / sizeof *WRONG; n++)
        if (config_duration_ms(WRONG[n], &ms))
            fail_msg("\"%s\" is taken", WRONG[n]);
}

static void a_size_has_a_binary_unit_or_is_0(void **state) {
    static const struct {
        const char *text;
        int64_t bytes;
    } RIGHT[] = {{"0", 0},
                 {"7B", 7},
                 {"1KiB", 1024},
                 {"64MiB", 67108864},
                 {"3GiB", INT64_C(3221225472)},
                 {"1TiB", INT64_C(1099511627776)}};
    static const char *const WRONG[] = {"",       "64",     "64MB", "64mib",     "64M",
                                        "64 MiB", "1.5GiB", "-1B",  "8388608TiB"};
    int64_t bytes;
    (void)state;
    for (size_t n = 0; n < sizeof RIGHT / sizeof *RIGHT; n++) {
        assert_true(config_size_bytes(RIGHT[n].text, &bytes));
        assert_true(bytes == RIGHT[n].bytes);
    }
    for (size_t n = 0; n < sizeof WRONG / sizeof *WRONG; n++)
        if (config_size_bytes(WRONG[n], &bytes))
            fail_msg("\"%s\" is taken", WRONG[n]);
}

static void a_quantity_is_written_in_its_largest_unit(void **state) {
    static const int64_t MS[] = {0, 1, 999, 1500, 60000, 5400000, 7200000, 86400000};
    Writer w = writer_new(200);
    (void)state;
    for (size_t n = 0; n < sizeof MS / sizeof *MS; n++) {
        config_duration_write(&w, MS[n]);
        writer_text(&w, " ");
    }
    config_size_write(&w, 64 << 20);
    writer_text(&w, " ");
    config_size_write(&w, 1025);
    assert_string_equal(writer_string(&w), "0 1ms 999ms 1500ms 1min 90min 2h 1d 64MiB 1025B");
    writer_free(&w);
}

static void numbers_and_yes_and_no_are_read_whole(void **state) {
    int64_t number;
    bool flag;
    (void)state;
    assert_true(config_number("-12", &number) && number == -12);
    assert_false(config_number("", &number));
    assert_false(config_number("-", &number));
    assert_false(config_number("1e3", &number));
    assert_false(config_number("99999999999999999999", &number));
    assert_true(config_bool("yes", &flag) && flag);
    assert_true(config_bool("On", &flag) && flag);
    assert_true(config_bool("FALSE", &flag) && !flag);
    assert_true(config_bool("off", &flag) && !flag);
    assert_false(config_bool("1", &flag));
    assert_false(config_bool("", &flag));
}

static void utf8_is_judged_by_rfc_3629(void **state) {
    static const char *const RIGHT[] = {
        "", "abc", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"};
    static const char *const WRONG[] = {
        "\x80", "\xC0\x80", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF0\x80\x80\x80",
        "\xFF", "a\xE2\x82"};
    (void)state;
    for (size_t n = 0; n < sizeof RIGHT / sizeof *RIGHT; n++)
        assert_true(config_utf8_valid(slice_text(RIGHT[n])));
    for (size_t n = 0; n < sizeof WRONG / sizeof *WRONG; n++)
        assert_false(config_utf8_valid(slice_text(WRONG[n])));
}

static void a_shown_value_is_one_short_line_of_utf8(void **state) {
    char out[10];
    (void)state;
    assert_string_equal(config_shown(out, sizeof out, "a\nb\x7F"), "a?b?");
    assert_string_equal(config_shown(out, sizeof out, "123456789"), "123456789");
    assert_string_equal(config_shown(out, sizeof out, "1234567890"), "123456...");
    assert_string_equal(config_shown(out, sizeof out,
                                     "12345\xE2\x82\xAC"
                                     "678"),
                        "12345...");
    assert_string_equal(config_shown(out, sizeof out, "\xFFx"), "?x");
}

static void the_nearest_word_is_found_only_when_it_is_near(void **state) {
    static const char *const WORDS[] = {"insert", "update", "delete", "truncate"};
    char long_word[300];
    (void)state;
    assert_string_equal(config_nearest("insret", WORDS, 4), "insert");
    assert_string_equal(config_nearest("Update", WORDS, 4), "update");
    assert_string_equal(config_nearest("trunkate", WORDS, 4), "truncate");
    assert_string_equal(config_nearest("delete", WORDS, 4), "delete");
    assert_null(config_nearest("merge", WORDS, 4));
    assert_null(config_nearest("", WORDS, 4));
    assert_null(config_nearest("x", WORDS, 4));
    assert_null(config_nearest("insert", WORDS, 0));
    memset(long_word, 'x', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    assert_null(config_nearest(long_word, WORDS, 4));
    const char *const long_words[] = {long_word};
    assert_null(config_nearest("xxxx", long_words, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_duration_has_a_unit_or_is_0),
        cmocka_unit_test(a_size_has_a_binary_unit_or_is_0),
        cmocka_unit_test(a_quantity_is_written_in_its_largest_unit),
        cmocka_unit_test(numbers_and_yes_and_no_are_read_whole),
        cmocka_unit_test(utf8_is_judged_by_rfc_3629),
        cmocka_unit_test(a_shown_value_is_one_short_line_of_utf8),
        cmocka_unit_test(the_nearest_word_is_found_only_when_it_is_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
