#include <string.h>

#include "cli/cli.h"
#include "testing.h"

enum { WORDS = 12 };

typedef struct Line {
    Arena *arena;
    Arguments arguments;
    Error e;
} Line;

static int line_make(void **state) {
    static Line line;
    memset(&line, 0, sizeof line);
    line.arena = arena_new();
    *state = &line;
    return 0;
}

static int line_free(void **state) {
    Line *line = *state;
    arena_free(line->arena);
    return 0;
}

/* Takes the words up to NULL as they stand behind the command. */
static bool parse(Line *line, const char *command, const char *const *words) {
    char *copies[WORDS];
    int count = 0;
    for (; words[count] != NULL; count++)
        copies[count] = arena_text(line->arena, slice_text(words[count]));
    error_clear(&line->e);
    return arguments_parse(command_find(command), count, copies, &line->arguments, &line->e);
}

#define PARSE(line, command, ...) parse(line, command, (const char *const[]){__VA_ARGS__, NULL})

static void flags_may_stand_before_and_behind_the_job_file(void **state) {
    Line *line = *state;
    assert_true(PARSE(line, "run", "--json", "shop.yaml", "--until", "now"));
    assert_string_equal(arguments_job(&line->arguments, 0), "shop.yaml");
    assert_true(line->arguments.json);
    assert_int_equal(line->arguments.until.kind, UNTIL_NOW);
    assert_int_equal(line->arguments.wait_ms, FIRST_WAIT_MS);
}

static void short_flags_become_settings_in_their_order(void **state) {
    static const char *const KEYS[] = {"source.dsn", "target.dsn", "name", "load.workers", "log.level"};
    static const char *const VALUES[] = {"a", "b=c", "shop", "4", "debug"};
    Line *line = *state;
    assert_true(PARSE(line, "run", "--source", "a", "--target=b=c", "--name", "shop", "--set",
                      "load.workers=4", "--log-level=debug"));
    assert_int_equal(line->arguments.setting_count, 5);
    for (size_t at = 0; at < 5; at++) {
        assert_string_equal(line->arguments.settings[at].key, KEYS[at]);
        assert_string_equal(line->arguments.settings[at].value, VALUES[at]);
    }
    assert_null(arguments_job(&line->arguments, 0));
}

static void a_position_can_be_the_end(void **state) {
    Line *line = *state;
    assert_true(PARSE(line, "run", "--until=16/B374D848"));
    assert_int_equal(line->arguments.until.kind, UNTIL_LSN);
    assert_true(line->arguments.until.lsn.at == UINT64_C(0x16B374D848));
    assert_false(PARSE(line, "run", "--until", "tomorrow"));
    assert_non_null(strstr(line->e.text, "tomorrow"));
    assert_false(PARSE(line, "run", "--until", "0/0"));
}

static void mistakes_are_usage_errors(void **state) {
    static const char *const MISTAKES[][3] = {
        {"--tagret", "x"},
        {"--source"},
        {"--source", "--json"},
        {"--json=yes"},
        {"--set", "workers"},
        {"--set", "=4"},
        {"--wait", "10"},
        {"--wait", "soon"},
        {"a.yaml", "b.yaml"},
        {"--dry-run"},
        {"-x"},
    };
    Line *line = *state;
    for (size_t at = 0; at < sizeof MISTAKES / sizeof *MISTAKES; at++) {
        if (parse(line, "run", MISTAKES[at]))
            fail_test("\"%s\" was accepted", MISTAKES[at][0]);
        assert_int_equal(error_exit_code(line->e.kind), EXIT_USAGE);
    }
}

static void a_mistyped_flag_is_answered_with_the_nearest(void **state) {
    Line *line = *state;
    assert_false(PARSE(line, "run", "--tagret", "x"));
    assert_string_equal(line->e.text, "unknown flag \"--tagret\" of \"run\"");
    assert_string_equal(line->e.hint, "did you mean \"--target\"?");
}

static void two_dashes_end_the_flags(void **state) {
    Line *line = *state;
    assert_true(PARSE(line, "run", "--", "--json"));
    assert_string_equal(arguments_job(&line->arguments, 0), "--json");
    assert_false(line->arguments.json);
}

static void one_dash_is_a_value(void **state) {
    Line *line = *state;
    assert_true(PARSE(line, "init", "-o", "-"));
    assert_string_equal(line->arguments.output, "-");
}

static void set_may_leave_the_job_file_out(void **state) {
    Line *line = *state;
    assert_true(PARSE(line, "set", "log.level", "debug"));
    assert_null(arguments_job(&line->arguments, 2));
    assert_true(PARSE(line, "set", "shop.yaml", "log.level", "debug"));
    assert_string_equal(arguments_job(&line->arguments, 2), "shop.yaml");
}

static void ignored_items_are_collected(void **state) {
    Line *line = *state;
    assert_true(PARSE(line, "check", "--ignore", "a", "--ignore=b"));
    assert_int_equal(line->arguments.ignore_count, 2);
    assert_string_equal(line->arguments.ignore[1], "b");
}

static void help_is_a_flag_of_every_command_that_runs(void **state) {
    Line *line = *state;
    for (size_t at = 0; at < command_count; at++)
        if (commands[at].run != NULL) {
            assert_true(PARSE(line, commands[at].name, "--help"));
            assert_true(line->arguments.help);
        }
}

static void the_process_list_shows_no_secret(void **state) {
    static char program[] = "walferry", run[] = "run", source[] = "--source", dsn[] = "user=u password=p";
    static char target[] = "--target=postgresql://u:p@h/d", set[] = "--set", key[] = "source.dsn=host=h";
    static char file[] = "shop.yaml", positional[] = "postgres://u:p@h";
    char *argv[] = {program, run, source, dsn, target, set, key, file, positional, NULL};
    Line *line = *state;
    char **words = arguments_take(line->arena, 9, argv);
    assert_string_equal(words[3], "user=u password=p");
    assert_string_equal(words[4], "--target=postgresql://u:p@h/d");
    assert_string_equal(words[6], "source.dsn=host=h");
    assert_string_equal(run, "run");
    assert_string_equal(source, "--source");
    assert_string_equal(file, "shop.yaml");
    assert_string_equal(dsn, "xxxxxxxxxxxxxxxxx");
    assert_int_equal(strspn(target, "x"), sizeof target - 1);
    assert_int_equal(strspn(key, "x"), sizeof key - 1);
    assert_int_equal(strspn(positional, "x"), sizeof positional - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, line_make, line_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(flags_may_stand_before_and_behind_the_job_file),
        TEST(short_flags_become_settings_in_their_order),
        TEST(a_position_can_be_the_end),
        TEST(mistakes_are_usage_errors),
        TEST(a_mistyped_flag_is_answered_with_the_nearest),
        TEST(two_dashes_end_the_flags),
        TEST(one_dash_is_a_value),
        TEST(set_may_leave_the_job_file_out),
        TEST(ignored_items_are_collected),
        TEST(help_is_a_flag_of_every_command_that_runs),
        TEST(the_process_list_shows_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
