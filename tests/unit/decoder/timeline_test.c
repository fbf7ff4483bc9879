#include "decoder/timeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "testing.h"

static bool parsed(const char *text, uint32_t timeline, TimelineHistory *out) {
    Error e = {0};
    bool ok = timeline_parse(slice_text(text), timeline, out, &e);
    assert_true(ok || e.kind == ERR_PROTOCOL);
    return ok;
}

static void assert_fork(const TimelineHistory *history, uint32_t ancestor, uint64_t expected) {
    Lsn fork;
    assert_true(timeline_fork(history, ancestor, &fork));
    assert_true(fork.at == expected);
}

static void a_history_is_read_as_postgresql_writes_it(void **state) {
    (void)state;
    TimelineHistory history;
    Lsn fork;
    assert_true(parsed("1\t0/3000148\tno recovery target specified\n\n"
                       "# by hand\n2\tA/B0\tbefore transaction 5 2026-11-21 09:00:00+00\n"
                       "  4 1A/0\n",
                       7, &history));
    assert_int_equal(history.count, 3);
    assert_fork(&history, 1, 0x3000148);
    assert_fork(&history, 2, 0xA000000B0);
    assert_fork(&history, 4, 0x1A00000000);
    assert_false(timeline_fork(&history, 3, &fork)); /* a promotion beside the way */
    assert_false(timeline_fork(&history, 7, &fork));
    assert_false(timeline_fork(&history, 8, &fork));
}

static void the_last_line_may_lack_its_end(void **state) {
    (void)state;
    TimelineHistory history;
    assert_true(parsed("1\t0/10\tx\r\n2\t0/20", 3, &history));
    assert_fork(&history, 2, 0x20);
    assert_true(parsed("", 2, &history));
    assert_int_equal(history.count, 0);
}

/* recovery_target_timeline = 2 with a target before timeline 2 began. */
static void a_server_set_back_before_an_earlier_switch_counts_from_there(void **state) {
    (void)state;
    TimelineHistory history;
    assert_true(parsed("1\t0/5000\tx\n2\t0/3000\tbefore 2026\n", 3, &history));
    assert_fork(&history, 1, 0x3000);
    assert_fork(&history, 2, 0x3000);
}

static void other_texts_are_refused(void **state) {
    (void)state;
    static const char *const WRONG[] = {
        "1",
        "1\t",
        "1\t0/0\tx",
        "1\tnowhere\tx",
        "one\t0/10\tx",
        "0\t0/10\tx",
        "-1\t0/10\tx",
        "4294967297\t0/10\tx",
        "99999999999999999999\t0/10\tx",
        "2\t0/10\tx\n1\t0/20\tx",
        "2\t0/10\tx\n2\t0/20\tx",
        "7\t0/10\tx",
        "8\t0/10\tx",
        "1\t0/10000000000000000000000000000000\tx",
        "\x01",
    };
    for (size_t n = 0; n < sizeof WRONG / sizeof *WRONG; n++) {
        TimelineHistory history;
        if (parsed(WRONG[n], 7, &history))
            fail_test("\"%s\" was read", WRONG[n]);
    }
}

static void a_nul_byte_and_a_huge_text_are_refused(void **state) {
    (void)state;
    TimelineHistory history;
    Error e;
    assert_false(timeline_parse((Slice){"1\0\t0/10", 7}, 2, &history, &e));
    char *huge = calloc(1, TIMELINE_HISTORY_MAX_BYTES + 1);
    memset(huge, '\n', TIMELINE_HISTORY_MAX_BYTES + 1);
    assert_false(timeline_parse((Slice){huge, TIMELINE_HISTORY_MAX_BYTES + 1}, 2, &history, &e));
    assert_true(timeline_parse((Slice){huge, TIMELINE_HISTORY_MAX_BYTES}, 2, &history, &e));
    free(huge);
}

static void of_very_many_the_newest_are_kept(void **state) {
    (void)state;
    enum { LINES = TIMELINE_SWITCHES_MAX + 10 };
    TimelineHistory history;
    Lsn fork;
    Writer text = writer_new(1 << 20);
    for (int line = 1; line <= LINES; line++)
        writer_format(&text, "%d\t0/%X\tx\n", line, line * 16);
    assert_true(parsed(writer_string(&text), LINES + 1, &history));
    writer_free(&text);
    assert_int_equal(history.count, TIMELINE_SWITCHES_MAX);
    assert_fork(&history, LINES, LINES * 16);
    assert_fork(&history, 11, 11 * 16);
    assert_false(timeline_fork(&history, 10, &fork));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_history_is_read_as_postgresql_writes_it),
        cmocka_unit_test(the_last_line_may_lack_its_end),
        cmocka_unit_test(a_server_set_back_before_an_earlier_switch_counts_from_there),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(a_nul_byte_and_a_huge_text_are_refused),
        cmocka_unit_test(of_very_many_the_newest_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
