#include <stdio.h>
#include <string.h>

#include "cli/view.h"
#include "testing.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

static const ViewLines no_lines = {.count = 0};

static Progress loading(void) {
    Progress p = progress_unknown();
    snprintf(p.job, sizeof p.job, "shop");
    snprintf(p.phase, sizeof p.phase, "full");
    snprintf(p.state, sizeof p.state, "running");
    p.elapsed_ms = 40000;
    p.rss_bytes = 41 * MIB;
    p.tables = 12;
    p.loaded = 3;
    p.copying = p.shown = 2;
    p.table[0] = (ProgressTable){
        .name = "sales.orders", .rows = 12345678, .share = 0.56, .bytes_per_s = 45.0 * MIB, .left_ms = 12000};
    p.table[1] = (ProgressTable){.name = "a.b", .rows = 0, .share = -1, .bytes_per_s = -1, .left_ms = -1};
    p.load_bytes = 12 * GIB / 10;
    p.load_bytes_total = 34 * GIB / 10;
    p.bytes_per_s = 85.0 * MIB;
    p.load_left_ms = 26000;
    return p;
}

static Progress streaming(void) {
    Progress p = progress_unknown();
    snprintf(p.job, sizeof p.job, "shop");
    snprintf(p.phase, sizeof p.phase, "running");
    snprintf(p.state, sizeof p.state, "retrying");
    snprintf(p.reason, sizeof p.reason, "source: connection refused");
    snprintf(p.wal_status, sizeof p.wal_status, "extended");
    p.tables = p.loaded = 12;
    p.changes = 5678901;
    p.in_sets = true;
    p.workers = 3;
    p.transactions = 234567;
    p.retries = 2;
    p.changes_per_s = 1233.7;
    p.lag_ms = 240;
    p.received_ms = 3;
    p.decoded_ms = 4;
    p.queued_ms = 10;
    p.applied_ms = 240;
    p.received_behind_bytes = 0;
    p.applied_behind_bytes = 1258291;
    p.confirmed_behind_bytes = 3 * MIB;
    p.retained_bytes = 34 * MIB;
    return p;
}

static const char *draw(Writer *out, const Progress *p, const ViewLines *lines, int width, int height) {
    *out = writer_new(100000);
    view_draw(out, p, lines, width, height, false);
    return writer_string(out);
}

static void a_load_shows_a_bar_for_each_table_in_work(void **unused) {
    (void)unused;
    Progress p = loading();
    Writer out;
    assert_string_equal(
        draw(&out, &p, &no_lines, 120, 40),
        "shop  running  0:40  memory 41 MiB\n"
        "checking > schema > [full] > catching-up > running > completed\n"
        "tables  3 of 12 loaded, 2 in work, 7 waiting; 1.2 GiB of 3.4 GiB, 85 MiB/s, 0:26 left\n"
        "  sales.orders [###########---------]  56%  12,345,678 rows, 45 MiB/s, 0:12 left\n"
        "  a.b          [--------------------]    ?  0 rows\n");
    writer_free(&out);
}

static void a_stream_shows_its_lag_by_stage(void **unused) {
    (void)unused;
    Progress p = streaming();
    Writer out;
    assert_string_equal(
        draw(&out, &p, &no_lines, 120, 40),
        "shop  retrying\n"
        "checking > schema > full > catching-up > [running] > completed\n"
        "source: connection refused\n"
        "tables  12 of 12 loaded, 0 in work, 0 waiting\n"
        "lag     240 ms; behind the source: received 0 B, applied 1.2 MiB, confirmed 3.0 MiB\n"
        "        received 3 ms, decoded 4 ms, queued 10 ms, applied 240 ms\n"
        "changes 1,234/s; 5,678,901 in 234,567 transactions, in sets on 3 connections, 2 retries\n"
        "slot    keeps 34 MiB of WAL on the source, extended\n");
    writer_free(&out);
}

static void what_is_built_and_waited_for_is_named(void **unused) {
    (void)unused;
    Progress p = loading();
    Writer out;
    p.post_data_done = 4;
    p.post_data_total = 17;
    snprintf(p.activity, sizeof p.activity, "index orders_pkey");
    const char *text = draw(&out, &p, &no_lines, 120, 40);
    assert_non_null(strstr(text, "\nindexes 4 of 17 indexes, constraints and triggers made\n"));
    assert_non_null(strstr(text, "\nnow     index orders_pkey\n"));
    writer_free(&out);
}

/* Columns of the widest line; *lines counts them. */
static int widest(const char *text, int *lines) {
    int columns = 0, most = 0;
    *lines = 0;
    for (; *text != '\0'; text++) {
        columns = *text == '\n' ? 0 : columns + (((unsigned char)*text & 0xC0) != 0x80);
        most = columns > most ? columns : most;
        *lines += *text == '\n' ? 1 : 0;
    }
    return most;
}

static void nothing_is_wider_or_higher_than_the_terminal(void **unused) {
    (void)unused;
    ViewLines lines = {.count = 2, .text = {"one", "two"}};
    Progress kinds[] = {loading(), streaming()};
    for (int width = 1; width < 130; width += 7)
        for (int height = 0; height < 30; height++)
            for (int kind = 0; kind < 2; kind++) {
                int count;
                Writer out;
                const char *text = draw(&out, &kinds[kind], &lines, width, height);
                assert_true(widest(text, &count) <= width);
                assert_true(count <= height);
                writer_free(&out);
            }
}

static void a_character_is_not_cut_in_two(void **unused) {
    (void)unused;
    Progress p = loading();
    Writer out;
    snprintf(p.reason, sizeof p.reason, "aäöü€");
    const char *text = draw(&out, &p, &no_lines, 4, 40);
    assert_non_null(strstr(text, "\naäöü\n"));
    writer_free(&out);
}

static void colours_change_nothing_but_colours(void **unused) {
    (void)unused;
    Progress p = streaming();
    Writer plain, colourful = writer_new(100000), stripped = writer_new(100000);
    const char *expected = draw(&plain, &p, &no_lines, 60, 40);
    view_draw(&colourful, &p, &no_lines, 60, 40, true);
    bool inside = false;
    int escapes = 0;
    for (const char *at = writer_string(&colourful); *at != '\0'; at++) {
        escapes += *at == '\033' ? 1 : 0;
        inside = inside || *at == '\033';
        if (!inside)
            writer_u8(&stripped, (uint8_t)*at);
        inside = inside && *at != 'm';
    }
    assert_true(escapes > 10);
    assert_string_equal(writer_string(&stripped), expected);
    writer_free(&plain);
    writer_free(&colourful);
    writer_free(&stripped);
}

static void the_newest_log_lines_fill_what_is_left(void **unused) {
    (void)unused;
    ViewLines lines = {.count = 3, .text = {"oldest", "older", "newest"}};
    Progress p = streaming();
    Writer out;
    const char *text = draw(&out, &p, &lines, 80, 10);
    assert_null(strstr(text, "oldest"));
    assert_non_null(strstr(text, "\nolder\nnewest\n"));
    writer_free(&out);
}

static void tables_leave_room_for_the_rest(void **unused) {
    (void)unused;
    Progress p = loading();
    ViewLines lines = {.count = 1, .text = {"a log line"}};
    Writer out;
    p.copying = p.shown = PROGRESS_TABLES_MAX;
    for (int at = 0; at < p.shown; at++)
        p.table[at] = p.table[at % 2];
    const char *text = draw(&out, &p, &lines, 100, 23);
    assert_non_null(strstr(text, "a log line"));
    writer_free(&out);
}

static const char *line(Writer *out, const Progress *p) {
    *out = writer_new(1000);
    view_line(out, p);
    return writer_string(out);
}

static void the_line_of_a_load_says_how_far_it_is(void **unused) {
    (void)unused;
    Progress p = loading();
    Writer out;
    assert_string_equal(line(&out, &p), "load: 3 of 12 tables, 1.2 GiB of 3.4 GiB, 85 MiB/s, 0:26 left");
    writer_free(&out);
    p.bytes_per_s = -1;
    p.load_left_ms = -1;
    assert_string_equal(line(&out, &p), "load: 3 of 12 tables, 1.2 GiB of 3.4 GiB");
    writer_free(&out);
}

static void the_line_of_a_stream_says_how_far_behind_it_is(void **unused) {
    (void)unused;
    Progress p = streaming();
    Writer out;
    assert_string_equal(line(&out, &p),
                        "running: lag 240 ms, 1.2 MiB behind, 1,234 changes/s in sets on 3 connections");
    writer_free(&out);
    p = loading();
    p.loaded = p.tables;
    p.post_data_done = 1;
    p.post_data_total = 3;
    assert_string_equal(line(&out, &p), "full: 1 of 3 indexes, constraints and triggers made, lag unknown");
    writer_free(&out);
}

static void limits_and_builds_are_shown_when_there_are_some(void **unused) {
    (void)unused;
    Progress p = loading();
    Writer out;
    p.copying = p.shown = 0;
    p.limit[THROTTLE_ROWS] = 5000;
    p.limit[THROTTLE_BYTES] = 10 * MIB;
    p.post_data_total = 9;
    p.post_data_done = 4;
    p.builds = 6;
    for (int at = 0; at < p.builds; at++)
        p.build[at] =
            (BuildMetrics){.name = "INDEX a.b", .step = "scanning", .done = 3, .total = at == 0 ? 6 : 0};
    const char *text = draw(&out, &p, &no_lines, 120, 40);
    assert_non_null(strstr(text, "limits  5,000 rows/s, 10 MiB/s\n"));
    assert_non_null(strstr(text, "[##########----------]  50%  scanning\n"));
    assert_non_null(strstr(text, "  and 2 more\n"));
    writer_free(&out);
}

static void a_load_s_line_tells_what_waits(void **unused) {
    (void)unused;
    Progress p = loading();
    Writer out = writer_new(10000);
    p.retained_bytes = 34 * MIB;
    view_line(&out, &p);
    assert_non_null(strstr(writer_string(&out), "0:26 left; the slot keeps 34 MiB of WAL"));
    writer_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_shows_a_bar_for_each_table_in_work),
        cmocka_unit_test(a_stream_shows_its_lag_by_stage),
        cmocka_unit_test(what_is_built_and_waited_for_is_named),
        cmocka_unit_test(nothing_is_wider_or_higher_than_the_terminal),
        cmocka_unit_test(a_character_is_not_cut_in_two),
        cmocka_unit_test(colours_change_nothing_but_colours),
        cmocka_unit_test(the_newest_log_lines_fill_what_is_left),
        cmocka_unit_test(tables_leave_room_for_the_rest),
        cmocka_unit_test(the_line_of_a_load_says_how_far_it_is),
        cmocka_unit_test(limits_and_builds_are_shown_when_there_are_some),
        cmocka_unit_test(a_load_s_line_tells_what_waits),
        cmocka_unit_test(the_line_of_a_stream_says_how_far_behind_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
