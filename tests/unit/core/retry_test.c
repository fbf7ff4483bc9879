#include "core/retry.h"
#include "testing.h"

static void trap_C4_every_code_has_its_reaction(void **unused) {
    (void)unused;
    static const struct {
        const char *code;
        ErrorKind connecting, applying;
    } CODES[] = {
        {"", ERR_RETRY, ERR_RETRY},        {"08000", ERR_RETRY, ERR_RETRY},
        {"08006", ERR_RETRY, ERR_RETRY},   {"57P01", ERR_RETRY, ERR_RETRY},
        {"57P02", ERR_RETRY, ERR_RETRY},   {"57P03", ERR_RETRY, ERR_RETRY},
        {"57P05", ERR_RETRY, ERR_RETRY},   {"57014", ERR_RETRY, ERR_RETRY},
        {"53300", ERR_RETRY, ERR_RETRY},   {"53100", ERR_RETRY, ERR_RETRY},
        {"53400", ERR_CONFIG, ERR_RETRY},  {"25006", ERR_RETRY, ERR_RETRY},
        {"55006", ERR_RETRY, ERR_RETRY},   {"55P03", ERR_RETRY, ERR_RETRY},
        {"55000", ERR_RETRY, ERR_RETRY},   {"40001", ERR_RETRY, ERR_RETRY},
        {"40P01", ERR_RETRY, ERR_RETRY},   {"58030", ERR_RETRY, ERR_RETRY},
        {"XX000", ERR_RETRY, ERR_RETRY},   {"26000", ERR_RETRY, ERR_RETRY},
        {"42P05", ERR_RETRY, ERR_RETRY},   {"28P01", ERR_CONFIG, ERR_CONFIG},
        {"28000", ERR_CONFIG, ERR_CONFIG}, {"3D000", ERR_CONFIG, ERR_CONFIG},
        {"42501", ERR_CONFIG, ERR_CONFIG}, {"3F000", ERR_CONFIG, ERR_DATA},
        {"42P01", ERR_CONFIG, ERR_DATA},   {"42703", ERR_CONFIG, ERR_DATA},
        {"0A000", ERR_CONFIG, ERR_DATA},   {"22P02", ERR_CONFIG, ERR_DATA},
        {"22001", ERR_CONFIG, ERR_DATA},   {"44000", ERR_CONFIG, ERR_DATA},
        {"P0001", ERR_CONFIG, ERR_DATA},   {"54000", ERR_CONFIG, ERR_DATA},
        {"23505", ERR_RETRY, ERR_DATA},    {"23503", ERR_RETRY, ERR_DATA},
        {"ZZ999", ERR_RETRY, ERR_RETRY},
    };
    for (size_t code = 0; code < sizeof CODES / sizeof *CODES; code++) {
        if (retry_kind(CODES[code].code, RETRY_CONNECTING) != CODES[code].connecting)
            fail_test("\"%s\" while connecting", CODES[code].code);
        if (retry_kind(CODES[code].code, RETRY_APPLYING) != CODES[code].applying)
            fail_test("\"%s\" while applying", CODES[code].code);
    }
}

static void only_a_gone_server_is_a_connection_failure(void **unused) {
    (void)unused;
    static const char *const GONE[] = {"", "08000", "08006", "57P01", "57P02", "57P03", "57P05"};
    static const char *const THERE[] = {"57014", "57P04", "57000", "53300",
                                        "40P01", "22P02", "55006", "80000"};
    for (size_t code = 0; code < sizeof GONE / sizeof *GONE; code++)
        assert_true(retry_is_connection(GONE[code]));
    for (size_t code = 0; code < sizeof THERE / sizeof *THERE; code++)
        assert_false(retry_is_connection(THERE[code]));
}

static const Error CONNECTION = {.kind = ERR_RETRY, .connection = true};
static const Error OTHER = {.kind = ERR_RETRY};

static void waits_double_up_to_thirty_seconds_half_of_it_jitter(void **unused) {
    (void)unused;
    static const int64_t LONGEST_MS[] = {100,  200,   400,   800,   1600,  3200,
                                         6400, 12800, 25600, 30000, 30000, 30000};
    Retry least = retry_new(INT64_MAX, INT64_MAX), most = least;
    for (size_t attempt = 0; attempt < sizeof LONGEST_MS / sizeof *LONGEST_MS; attempt++) {
        int64_t wait_ms = 0;
        assert_true(retry_again(&least, &CONNECTION, 0, 0, &wait_ms));
        assert_int_equal(wait_ms, LONGEST_MS[attempt] / 2);
        assert_true(retry_again(&most, &CONNECTION, 0, (uint64_t)LONGEST_MS[attempt] / 2, &wait_ms));
        assert_int_equal(wait_ms, LONGEST_MS[attempt]);
        uint64_t random = UINT64_C(0x9E3779B97F4A7C15) * (attempt + 1);
        Retry copy = least;
        copy.attempts = (int)attempt;
        assert_true(retry_again(&copy, &CONNECTION, 0, random, &wait_ms));
        assert_in_range(wait_ms, LONGEST_MS[attempt] / 2, LONGEST_MS[attempt]);
    }
}

static void a_very_long_outage_keeps_the_longest_wait(void **unused) {
    (void)unused;
    Retry r = retry_new(INT64_MAX, INT64_MAX);
    int64_t wait_ms = 0;
    for (int attempt = 0; attempt < 100000; attempt++)
        assert_true(retry_again(&r, &CONNECTION, attempt, UINT64_MAX, &wait_ms));
    assert_in_range(wait_ms, 15000, 30000);
}

static void each_kind_has_its_own_window(void **unused) {
    (void)unused;
    int64_t wait_ms;
    Retry r = retry_new(1000, 100);
    assert_true(retry_again(&r, &OTHER, 5000, 0, &wait_ms));
    assert_true(retry_again(&r, &OTHER, 5099, 0, &wait_ms));
    assert_false(retry_again(&r, &OTHER, 5100, 0, &wait_ms));
    r = retry_new(1000, 100);
    assert_true(retry_again(&r, &CONNECTION, 0, 0, &wait_ms));
    assert_true(retry_again(&r, &CONNECTION, 999, 0, &wait_ms));
    assert_false(retry_again(&r, &CONNECTION, 1000, 0, &wait_ms));
}

static void progress_opens_the_windows_anew(void **unused) {
    (void)unused;
    int64_t wait_ms;
    Retry r = retry_new(1000, 100);
    assert_true(retry_again(&r, &OTHER, 0, 0, &wait_ms));
    assert_true(retry_again(&r, &OTHER, 90, 0, &wait_ms));
    assert_int_equal(wait_ms, 100);
    retry_progress(&r);
    assert_true(retry_again(&r, &OTHER, 200, 0, &wait_ms));
    assert_int_equal(wait_ms, 50);
    assert_true(retry_again(&r, &OTHER, 299, 0, &wait_ms));
    assert_false(retry_again(&r, &OTHER, 300, 0, &wait_ms));
}

static void an_outage_does_not_use_up_the_shorter_window(void **unused) {
    (void)unused;
    int64_t wait_ms;
    Retry r = retry_new(1000, 100);
    assert_true(retry_again(&r, &OTHER, 0, 0, &wait_ms));
    for (int64_t now_ms = 50; now_ms < 800; now_ms += 50)
        assert_true(retry_again(&r, &CONNECTION, now_ms, 0, &wait_ms));
    assert_true(retry_again(&r, &OTHER, 850, 0, &wait_ms));
    /* Taking turns is bounded by the longer window all the same. */
    assert_true(retry_again(&r, &CONNECTION, 900, 0, &wait_ms));
    assert_true(retry_again(&r, &OTHER, 990, 0, &wait_ms));
    assert_false(retry_again(&r, &CONNECTION, 1001, 0, &wait_ms));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_C4_every_code_has_its_reaction),
        cmocka_unit_test(only_a_gone_server_is_a_connection_failure),
        cmocka_unit_test(waits_double_up_to_thirty_seconds_half_of_it_jitter),
        cmocka_unit_test(a_very_long_outage_keeps_the_longest_wait),
        cmocka_unit_test(each_kind_has_its_own_window),
        cmocka_unit_test(progress_opens_the_windows_anew),
        cmocka_unit_test(an_outage_does_not_use_up_the_shorter_window),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
