#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/check_item.h"
#include "job/check_text.h"
#include "testing.h"

/* ---- lists of names ---- */

static Names names_of(int count) {
    Names names = names_new();
    for (int n = 1; n <= count; n++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", n);
        names_add(&names, name);
    }
    return names;
}

static void few_names_are_all_told(void **unused) {
    (void)unused;
    Names names = names_of(3);
    assert_string_equal(names_text(&names), "t1, t2, t3");
    assert_int_equal(names.count, 3);
    names_free(&names);
    names = names_of(0);
    assert_string_equal(names_text(&names), "");
    names_free(&names);
}

static void twenty_names_are_told_and_the_rest_is_counted(void **unused) {
    (void)unused;
    Names names = names_of(19);
    assert_false(names_full(&names));
    names_add(&names, "t20");
    assert_true(names_full(&names));
    assert_null(strstr(names_text(&names), "more"));
    names_free(&names);
    names = names_of(27);
    const char *text = names_text(&names);
    assert_non_null(strstr(text, "t19, t20, … and 7 more"));
    assert_null(strstr(text, "t21"));
    assert_int_equal(names.count, 27);
    names_free(&names);
}

/* ---- settings that are lists ---- */

static void elements_check(const char *setting, const char *expected) {
    char element[64];
    Writer all = writer_new(1024);
    while (setting_next(&setting, element, sizeof element))
        writer_format(&all, "[%s]", element);
    assert_string_equal(writer_string(&all), expected);
    writer_free(&all);
}

static void lists_are_taken_apart_as_the_server_does(void **unused) {
    (void)unused;
    elements_check("", "");
    elements_check(" , ", "");
    elements_check("pgoutput, test_decoding", "[pgoutput][test_decoding]");
    elements_check("a,b", "[a][b]");
    elements_check("FIRST 2 (a, \"b c\")", "[FIRST][2][a][b c]");
    elements_check("\"say \"\"hi\"\"\",x", "[say \"hi\"][x]");
    elements_check("\"never ends", "[never ends]");
    elements_check("*", "[*]");
}

static void long_elements_are_cut_and_do_not_overflow(void **unused) {
    (void)unused;
    char element[4];
    const char *setting = "abcdefgh, ij";
    assert_true(setting_next(&setting, element, sizeof element));
    assert_string_equal(element, "abc");
    assert_true(setting_next(&setting, element, sizeof element));
    assert_string_equal(element, "ij");
    assert_false(setting_next(&setting, element, sizeof element));
}

static void trap_C10_pgoutput_is_looked_for_as_a_whole_word(void **unused) {
    (void)unused;
    assert_true(setting_has("pgoutput, test_decoding", "pgoutput"));
    assert_true(setting_has("wal2json,\"pgoutput\"", "pgoutput"));
    assert_false(setting_has("my_pgoutput, pgoutput2", "pgoutput"));
    assert_false(setting_has("", "pgoutput"));
}

static void trap_A14_star_and_our_name_take_us_for_a_standby(void **unused) {
    (void)unused;
    assert_true(standbys_match("*", "walferry_shop"));
    assert_true(standbys_match("ANY 1 (*)", "walferry_shop"));
    assert_true(standbys_match("FIRST 1 (a, WALFERRY_shop)", "walferry_shop"));
    assert_true(standbys_match("\"walferry_shop\"", "walferry_shop"));
    assert_false(standbys_match("", "walferry_shop"));
    assert_false(standbys_match("a, b", "walferry_shop"));
    assert_false(standbys_match("walferry_shop2", "walferry_shop"));
}

static void standbys_check(const char *names, int count, const char *expected) {
    static const char *const there[] = {"s1", "odd\"name"};
    Writer out = writer_new(1024);
    standbys_write(&out, names, "walferry_shop", there, count);
    assert_string_equal(writer_string(&out), expected);
    writer_free(&out);
}

static void trap_A14_the_statement_lists_the_real_standbys(void **unused) {
    (void)unused;
    standbys_check("*", 2, "\"s1\", \"odd\"\"name\"");
    standbys_check("*", 0, "");
    standbys_check("ANY 1 (*)", 1, "ANY 1 (\"s1\")");
    standbys_check("ANY 1 (*)", 0, "");
    standbys_check("FIRST 1 (a, walferry_shop, \"b c\")", 2, "FIRST 1 (\"a\", \"b c\")");
    standbys_check("walferry_shop, a", 2, "\"a\"");
    standbys_check("\"a (b)\", walferry_shop", 0, "\"a (b)\"");
}

/* ---- hosts and versions ---- */

static void only_this_machine_is_local(void **unused) {
    (void)unused;
    static const char *const local[] = {"",          "/var/run/postgresql", "@abstract",
                                        "localhost", "127.0.0.1",           "::1"};
    static const char *const remote[] = {"db1", "10.0.0.1", "localhost.example.org", "1127.0.0.1", "fe80::1"};
    for (size_t n = 0; n < sizeof local / sizeof *local; n++)
        if (!host_is_local(local[n]))
            fail_test("\"%s\" is local", local[n]);
    for (size_t n = 0; n < sizeof remote / sizeof *remote; n++)
        if (host_is_local(remote[n]))
            fail_test("\"%s\" is not local", remote[n]);
}

static void versions_are_written_as_people_know_them(void **unused) {
    (void)unused;
    char text[16];
    assert_string_equal(version_text(150020, text), "15.20");
    assert_string_equal(version_text(180000, text), "18.0");
}

typedef struct Judged {
    int version;
    CheckState state;
    const char *word;
} Judged;

static void lesson_L20_minors_with_decoding_bugs_are_alerts(void **unused) {
    (void)unused;
    static const Judged cases[] = {
        {90624, CHECK_FAILED, "older"},       {110022, CHECK_FAILED, "older"},
        {120021, CHECK_ALERT, "restart_lsn"}, {120022, CHECK_PASSED, ""},
        {130017, CHECK_ALERT, "restart_lsn"}, {130018, CHECK_PASSED, ""},
        {130021, CHECK_ALERT, "memory"},      {130022, CHECK_PASSED, ""},
        {140014, CHECK_ALERT, "restart_lsn"}, {140017, CHECK_PASSED, ""},
        {140018, CHECK_ALERT, "memory"},      {150009, CHECK_ALERT, "restart_lsn"},
        {150010, CHECK_PASSED, ""},           {150013, CHECK_ALERT, "memory"},
        {150020, CHECK_PASSED, ""},           {160005, CHECK_ALERT, "restart_lsn"},
        {160009, CHECK_ALERT, "memory"},      {160010, CHECK_PASSED, ""},
        {170001, CHECK_ALERT, "restart_lsn"}, {170002, CHECK_PASSED, ""},
        {170005, CHECK_ALERT, "memory"},      {170006, CHECK_PASSED, ""},
        {180000, CHECK_PASSED, ""},           {190000, CHECK_ALERT, "newer"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        const char *why;
        CheckState state = source_version_judge(cases[n].version, &why);
        if (state != cases[n].state || strstr(why, cases[n].word) == NULL)
            fail_test("%d is %s: \"%s\"", cases[n].version, check_state_name(state), why);
    }
}

/* ---- findings and the report ---- */

static Finding finding_new(void) {
    return (Finding){.seen = writer_new(1 << 16), .fix = writer_new(1 << 16)};
}

static void finding_free(Finding *f) {
    writer_free(&f->seen);
    writer_free(&f->fix);
}

static void the_worst_state_of_a_finding_stays(void **unused) {
    (void)unused;
    Finding f = finding_new();
    finding_pass(&f, "a %d", 1);
    assert_int_equal(f.state, CHECK_PASSED);
    finding_alert(&f, "b");
    assert_int_equal(f.state, CHECK_ALERT);
    finding_pass(&f, "c");
    assert_int_equal(f.state, CHECK_ALERT);
    finding_fail(&f, "d");
    finding_alert(&f, "e");
    assert_int_equal(f.state, CHECK_FAILED);
    assert_string_equal(writer_string(&f.seen), "a 1; b; c; d; e");
    finding_free(&f);
}

static void each_statement_of_a_fix_has_a_line(void **unused) {
    (void)unused;
    Finding f = finding_new();
    finding_fix(&f, "ALTER TABLE %s;", "a");
    finding_fix(&f, "ALTER TABLE %s;", "b");
    assert_string_equal(writer_string(&f.fix), "ALTER TABLE a;\nALTER TABLE b;");
    finding_free(&f);
}

static void json_has_the_documented_keys(void **unused) {
    (void)unused;
    CheckItem items[] = {{"wal-level", CHECK_FAILED, "wal_level = replica", "ALTER SYSTEM …"},
                         {"encryption", CHECK_IGNORED, "caf\xe9", ""}};
    CheckReport report = {.items = items, .count = 2, .failed = 1, .ignored = 1};
    json_t *object = check_json(&report);
    char *text = json_dumps(object, JSON_COMPACT);
    assert_string_equal(
        text, "{\"items\":[{\"name\":\"wal-level\",\"state\":\"failed\",\"seen\":\"wal_level = "
              "replica\",\"fix\":\"ALTER SYSTEM …\"},{\"name\":\"encryption\",\"state\":\"ignored\","
              "\"seen\":\"caf?\",\"fix\":\"\"}],\"passed\":0,\"alerts\":0,\"failed\":1,\"ignored\":1}");
    free(text);
    json_decref(object);
}

/* ---- the whole, without a server ---- */

static char name[] = "shop", slot[] = "dts_sync_shop", load_slot[] = "dts_sync_shop_load",
            schema[] = "walferry";
static char nowhere[] = "host=/nowhere/h9 dbname=shop user=x", broken[] = "no_such_option=1";

static Config config_make(char *source, char *target) {
    Config cfg = {.name = name, .slot = slot, .load_slot = load_slot};
    cfg.source.dsn = source;
    cfg.source.publication = slot;
    cfg.target.dsn = target;
    cfg.target.state_schema = schema;
    cfg.phases.schema = cfg.phases.full = cfg.phases.incremental = true;
    return cfg;
}

static void items_of_servers_that_do_not_answer_are_left_out(void **unused) {
    (void)unused;
    Config cfg = config_make(nowhere, nowhere);
    CheckOptions options = {.wait_ms = 1};
    CheckReport report;
    Error e = {0};
    assert_true(check_run(&cfg, &options, &report, &e));
    assert_int_equal(report.count, 2);
    assert_string_equal(report.items[0].name, "source-connection");
    assert_string_equal(report.items[1].name, "target-connection");
    assert_int_equal(report.failed, 2);
    assert_non_null(strstr(report.items[0].seen, "/nowhere/h9"));
    assert_true(report.items[0].fix[0] != '\0');
    assert_true(report.unreachable);
    assert_false(report.lost);
    check_free(&report);
}

static void an_unreachable_server_behind_a_wrong_option_is_not_unreachable(void **unused) {
    (void)unused;
    Config cfg = config_make(broken, nowhere);
    CheckOptions options = {.wait_ms = 1};
    CheckReport report;
    Error e = {0};
    assert_true(check_run(&cfg, &options, &report, &e));
    assert_int_equal(report.failed, 2);
    assert_false(report.unreachable);
    check_free(&report);
}

static void a_job_without_target_database_has_no_item_for_it(void **unused) {
    (void)unused;
    Config cfg = config_make(nowhere, NULL);
    CheckOptions options = {.wait_ms = 1};
    CheckReport report;
    Error e = {0};
    assert_true(check_run(&cfg, &options, &report, &e));
    assert_int_equal(report.count, 1);
    check_free(&report);
}

static void an_unknown_item_to_ignore_is_an_error_with_the_nearest_name(void **unused) {
    (void)unused;
    Config cfg = config_make(nowhere, nowhere);
    const char *const ignored[] = {"encryption", "wal-lvel"};
    CheckOptions options = {.ignore = ignored, .ignore_count = 2, .wait_ms = 1};
    CheckReport report;
    Error e = {0};
    assert_false(check_run(&cfg, &options, &report, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "\"wal-lvel\""));
    assert_non_null(strstr(e.hint, "\"wal-level\""));
}

static void a_failed_item_cannot_be_ignored(void **unused) {
    (void)unused;
    Config cfg = config_make(nowhere, nowhere);
    const char *const ignored[] = {"source-connection"};
    CheckOptions options = {.ignore = ignored, .ignore_count = 1, .wait_ms = 1};
    CheckReport report;
    Error e = {0};
    assert_true(check_run(&cfg, &options, &report, &e));
    assert_int_equal(report.items[0].state, CHECK_FAILED);
    assert_int_equal(report.ignored, 0);
    check_free(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_names_are_all_told),
        cmocka_unit_test(twenty_names_are_told_and_the_rest_is_counted),
        cmocka_unit_test(lists_are_taken_apart_as_the_server_does),
        cmocka_unit_test(long_elements_are_cut_and_do_not_overflow),
        cmocka_unit_test(trap_C10_pgoutput_is_looked_for_as_a_whole_word),
        cmocka_unit_test(trap_A14_star_and_our_name_take_us_for_a_standby),
        cmocka_unit_test(trap_A14_the_statement_lists_the_real_standbys),
        cmocka_unit_test(only_this_machine_is_local),
        cmocka_unit_test(versions_are_written_as_people_know_them),
        cmocka_unit_test(lesson_L20_minors_with_decoding_bugs_are_alerts),
        cmocka_unit_test(the_worst_state_of_a_finding_stays),
        cmocka_unit_test(each_statement_of_a_fix_has_a_line),
        cmocka_unit_test(json_has_the_documented_keys),
        cmocka_unit_test(items_of_servers_that_do_not_answer_are_left_out),
        cmocka_unit_test(an_unreachable_server_behind_a_wrong_option_is_not_unreachable),
        cmocka_unit_test(a_job_without_target_database_has_no_item_for_it),
        cmocka_unit_test(an_unknown_item_to_ignore_is_an_error_with_the_nearest_name),
        cmocka_unit_test(a_failed_item_cannot_be_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
