#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "testing.h"

/* stderr is a pipe from capture_begin to capture_end; nothing is asserted between. */
static int kept_stderr, reading_end;
static char captured[256 * 1024];

static void capture_begin(void) {
    int ends[2];
    kept_stderr = dup(STDERR_FILENO);
    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        abort();
    close(ends[1]);
    reading_end = ends[0];
}

/* What is in the pipe now goes to the end of `captured`. */
static void capture_drain(void) {
    size_t length = strlen(captured);
    struct pollfd look = {.fd = reading_end, .events = POLLIN};
    while (poll(&look, 1, 0) > 0 && (look.revents & POLLIN) && length < sizeof captured - 1) {
        ssize_t got = read(reading_end, captured + length, sizeof captured - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    captured[length] = '\0';
}

static void capture_end(void) {
    capture_drain();
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    close(reading_end);
}

static int set_up(void **unused) {
    (void)unused;
    captured[0] = '\0';
    log_divert(NULL);
    log_start(LOG_INFO, LOG_TEXT);
    return 0;
}

/* The text form: does `text` look like "2026-11-21 09:00:00.123 " and is it now, in UTC? */
static void assert_stamp(const char *text, char between) {
    static const char FORM[] = "dddd-dd-dd?dd:dd:dd.ddd";
    for (size_t at = 0; at < sizeof FORM - 1; at++) {
        char expected = FORM[at] == '?' ? between : FORM[at];
        if (expected == 'd')
            assert_in_range(text[at], '0', '9');
        else
            assert_int_equal(text[at], expected);
    }
    struct tm utc = {0};
    char copy[20];
    memcpy(copy, text, 19);
    copy[19] = '\0';
    copy[10] = ' ';
    assert_non_null(strptime(copy, "%Y-%m-%d %H:%M:%S", &utc));
    int64_t distance_s = clock_wall_us() / 1000000 - timegm(&utc);
    assert_in_range(distance_s, 0, 60);
}

static void a_text_line_has_time_level_and_message(void **unused) {
    (void)unused;
    setenv("TZ", "America/New_York", 1);
    tzset();
    capture_begin();
    log_info("copied %d rows", 7);
    log_error("gone");
    capture_end();
    unsetenv("TZ");
    tzset();
    assert_stamp(captured, ' ');
    assert_memory_equal(captured + 23, " info  copied 7 rows\n", 21);
    assert_string_equal(captured + 23 + 21 + 23, " error gone\n");
}

static void a_json_line_is_one_object(void **unused) {
    (void)unused;
    static const char MESSAGE[] = "table \"a\\b\"\n\ttab \x01 \xC3\xA4 \xF0\x9F\x98\x80 end";
    log_start(LOG_INFO, LOG_JSON);
    capture_begin();
    log_warn("%s", MESSAGE);
    capture_end();
    assert_non_null(strchr(captured, '\n'));
    assert_int_equal(*(strchr(captured, '\n') + 1), '\0');
    json_t *line = json_loads(captured, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(json_object_size(line), 3);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "message")), MESSAGE);
    const char *time = json_string_value(json_object_get(line, "time"));
    assert_stamp(time, 'T');
    assert_string_equal(time + 23, "Z");
    json_decref(line);
}

static void bytes_that_are_no_utf8_still_make_valid_json(void **unused) {
    (void)unused;
    static const char *const WRONG[] = {"\x80",
                                        "\xC0\x80",
                                        "\xC3",
                                        "\xE2\x82",
                                        "\xED\xA0\x80",
                                        "\xE0\x80\x80",
                                        "\xF0\x80\x80\x80",
                                        "\xF4\x90\x80\x80",
                                        "\xFF",
                                        "\xF8\x88\x80\x80\x80"};
    log_start(LOG_INFO, LOG_JSON);
    for (size_t wrong = 0; wrong < sizeof WRONG / sizeof *WRONG; wrong++) {
        captured[0] = '\0';
        capture_begin();
        log_info("<%s>", WRONG[wrong]);
        capture_end();
        json_t *line = json_loads(captured, 0, NULL);
        assert_non_null(line);
        const char *message = json_string_value(json_object_get(line, "message"));
        assert_int_equal(message[0], '<');
        assert_memory_equal(message + 1, "\xEF\xBF\xBD", 3);
        assert_int_equal(message[strlen(message) - 1], '>');
        json_decref(line);
    }
}

static void a_text_message_stays_in_its_line(void **unused) {
    (void)unused;
    capture_begin();
    log_info("first\nsecond\ttab");
    capture_end();
    assert_string_equal(captured + 23, " info  first second tab\n");
}

static void lines_below_the_level_are_left_out(void **unused) {
    (void)unused;
    capture_begin();
    log_debug("no");
    log_level_set(LOG_WARN);
    log_info("no");
    log_warn("yes");
    log_level_set(LOG_DEBUG);
    log_debug("too");
    capture_end();
    assert_null(strstr(captured, "no\n"));
    assert_non_null(strstr(captured, " warn  yes\n"));
    assert_non_null(strstr(captured, " debug too\n"));
}

static void level_names_are_parsed(void **unused) {
    (void)unused;
    static const char *const NAMES[] = {"debug", "info", "warn", "error"};
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
        LogLevel out = LOG_DEBUG;
        assert_true(log_level_parse(NAMES[level], &out));
        assert_int_equal(out, level);
    }
    LogLevel out = LOG_WARN;
    assert_false(log_level_parse("INFO", &out));
    assert_false(log_level_parse("", &out));
    assert_int_equal(out, LOG_WARN);
}

static void a_failure_is_one_line_with_its_hint(void **unused) {
    (void)unused;
    Error e;
    fail(&e, ERR_CONFIG, "no right on \"t\"");
    capture_begin();
    log_failure(LOG_ERROR, &e);
    fail_hint(&e, "grant it");
    log_failure(LOG_WARN, &e);
    capture_end();
    assert_non_null(strstr(captured, " error no right on \"t\"\n"));
    assert_non_null(strstr(captured, " warn  no right on \"t\"; hint: grant it\n"));
}

static void a_line_too_long_for_a_pipe_is_cut(void **unused) {
    (void)unused;
    char *message = malloc(100000);
    for (int form = LOG_TEXT; form <= LOG_JSON; form++) {
        for (int quoted = 0; quoted < 2; quoted++) { /* a quote takes two bytes in JSON */
            memset(message, quoted ? '"' : 'm', 99999);
            message[99999] = '\0';
            captured[0] = '\0';
            log_start(LOG_INFO, (LogFormat)form);
            capture_begin();
            log_info("%s", message);
            log_info("next");
            capture_end();
            size_t length = (size_t)(strchr(captured, '\n') - captured) + 1;
            assert_in_range(length, PIPE_BUF - 16, PIPE_BUF);
            const char *end = form == LOG_JSON ? "...\"}\n" : "...\n";
            assert_memory_equal(captured + length - strlen(end), end, strlen(end));
            assert_non_null(strstr(captured + length, "next"));
            json_t *line = json_loads(captured, JSON_DISABLE_EOF_CHECK, NULL);
            assert_int_equal(line != NULL, form == LOG_JSON);
            json_decref(line);
        }
    }
    free(message);
}

/* F09: nobody reads the log. */
static void a_full_pipe_drops_lines_counts_them_and_never_waits(void **unused) {
    (void)unused;
    enum { LINES = 2000 };
    uint64_t before = log_dropped();
    capture_begin();
    int64_t began_ms = clock_ms();
    for (int number = 0; number < LINES; number++)
        log_info("line %d %0100d", number, 0);
    int64_t took_ms = clock_ms() - began_ms;
    uint64_t dropped = log_dropped() - before;
    capture_drain();
    log_info("afterwards");
    log_info("and on");
    capture_end();
    assert_true(took_ms < 10000);
    assert_in_range(dropped, 1, LINES - 1);
    uint64_t lines = 0;
    for (const char *at = captured; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, LINES - dropped + 3); /* and the notice */
    char notice[100];
    snprintf(notice, sizeof notice, " warn  %llu log lines were dropped", (unsigned long long)dropped);
    const char *at = strstr(captured, notice);
    assert_non_null(at);
    assert_null(strstr(strchr(at, '\n'), "dropped"));
    assert_non_null(strstr(at, "afterwards"));
    assert_int_equal(log_dropped() - before, dropped);
}

static void a_reader_that_went_away_is_no_signal(void **unused) {
    (void)unused;
    uint64_t before = log_dropped();
    capture_begin();
    close(reading_end);
    log_info("nobody hears this"); /* SIGPIPE would end the test */
    reading_end = open("/dev/null", O_RDONLY);
    capture_end();
    assert_int_equal(log_dropped() - before, 1);
}

static void a_full_disk_drops_lines(void **unused) {
    (void)unused;
    uint64_t before = log_dropped();
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    int kept = dup(STDERR_FILENO);
    dup2(full, STDERR_FILENO);
    errno = EAGAIN;
    log_info("no room");
    int after = errno;
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(full);
    assert_int_equal(log_dropped() - before, 1);
    assert_int_equal(after, EAGAIN); /* a caller may log before it looks */
}

static char taken[3][200];
static LogLevel taken_levels[3];
static int taken_count;

static void take(LogLevel level, const char *line) {
    snprintf(taken[taken_count], sizeof taken[0], "%s", line);
    taken_levels[taken_count++] = level;
}

static void diverted_lines_do_not_reach_stderr(void **unused) {
    (void)unused;
    taken_count = 0;
    capture_begin();
    log_divert(take);
    log_warn("for the view");
    log_debug("below the level");
    log_divert(NULL);
    log_info("for stderr");
    capture_end();
    assert_int_equal(taken_count, 1);
    assert_int_equal(taken_levels[0], LOG_WARN);
    assert_string_equal(taken[0] + 23, " warn  for the view");
    assert_null(strstr(captured, "view"));
    assert_non_null(strstr(captured, "for stderr\n"));
}

enum { WRITERS = 4, LINES_EACH = 200 };

static void *write_lines(void *number) {
    for (int line = 0; line < LINES_EACH; line++)
        log_info("writer %d line %d %050d", *(int *)number, line, 0);
    return NULL;
}

static void lines_of_threads_do_not_mix(void **unused) {
    (void)unused;
    pthread_t writers[WRITERS];
    int numbers[WRITERS];
    uint64_t before = log_dropped();
    capture_begin();
    fcntl(STDERR_FILENO, F_SETPIPE_SZ, 1 << 20);
    for (int writer = 0; writer < WRITERS; writer++) {
        numbers[writer] = writer;
        pthread_create(&writers[writer], NULL, write_lines, &numbers[writer]);
    }
    for (int writer = 0; writer < WRITERS; writer++)
        pthread_join(writers[writer], NULL);
    capture_end();
    assert_int_equal(log_dropped(), before);
    int lines = 0, next[WRITERS] = {0};
    for (char *at = captured; *at != '\0'; at = strchr(at, '\n') + 1, lines++) {
        int writer = -1, line = -1, end = 0;
        assert_int_equal(sscanf(at + 23, " info  writer %d line %d %*50[0]%n", &writer, &line, &end), 2);
        assert_int_equal(at[23 + end], '\n');
        assert_in_range(writer, 0, WRITERS - 1);
        assert_int_equal(line, next[writer]++);
    }
    assert_int_equal(lines, WRITERS * LINES_EACH);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_text_line_has_time_level_and_message, set_up),
        cmocka_unit_test_setup(a_json_line_is_one_object, set_up),
        cmocka_unit_test_setup(bytes_that_are_no_utf8_still_make_valid_json, set_up),
        cmocka_unit_test_setup(a_text_message_stays_in_its_line, set_up),
        cmocka_unit_test_setup(lines_below_the_level_are_left_out, set_up),
        cmocka_unit_test_setup(level_names_are_parsed, set_up),
        cmocka_unit_test_setup(a_failure_is_one_line_with_its_hint, set_up),
        cmocka_unit_test_setup(a_line_too_long_for_a_pipe_is_cut, set_up),
        cmocka_unit_test_setup(a_full_pipe_drops_lines_counts_them_and_never_waits, set_up),
        cmocka_unit_test_setup(diverted_lines_do_not_reach_stderr, set_up),
        cmocka_unit_test_setup(lines_of_threads_do_not_mix, set_up),
        cmocka_unit_test_setup(a_reader_that_went_away_is_no_signal, set_up),
        cmocka_unit_test_setup(a_full_disk_drops_lines, set_up),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
