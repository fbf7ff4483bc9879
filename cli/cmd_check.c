#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/screen.h"
#include "job/check.h"

enum { STATE_COLUMNS = 8 };

static const char *state_colour(CheckState state) {
    switch (state) {
    case CHECK_PASSED: return "\033[32m";
    case CHECK_ALERT: return "\033[33m";
    case CHECK_FAILED: return "\033[31m";
    case CHECK_IGNORED: return "\033[2m";
    }
    return "";
}

/* Its further lines begin below the first. */
static void text_print(const char *text, int indent) {
    for (const char *end; (end = strchr(text, '\n')) != NULL && end[1] != '\0'; text = end + 1)
        printf("%.*s\n%*s", (int)(end - text), text, indent, "");
    printf("%.*s\n", (int)strcspn(text, "\n"), text);
}

static void item_print(const CheckItem *item, int name_columns, bool colour) {
    int indent = STATE_COLUMNS + name_columns + 2;
    printf("%s%-*s%s%-*s  ", colour ? state_colour(item->state) : "", STATE_COLUMNS,
           check_state_name(item->state), colour ? "\033[0m" : "", name_columns, item->name);
    text_print(item->seen, indent);
    if (item->fix == NULL || item->fix[0] == '\0')
        return;
    printf("%*s-> ", indent, "");
    text_print(item->fix, indent + 3);
}

static void report_print(const CheckReport *report) {
    bool colour = screen_colour(STDOUT_FILENO);
    int name_columns = 0;
    for (int at = 0; at < report->count; at++) {
        int columns = (int)strlen(report->items[at].name);
        name_columns = columns > name_columns ? columns : name_columns;
    }
    for (int at = 0; at < report->count; at++)
        item_print(&report->items[at], name_columns, colour);
    printf("\n%d passed, %d alerts, %d failed, %d ignored\n", report->passed, report->alerts, report->failed,
           report->ignored);
}

static void report_json(const CheckReport *report) {
    json_t *object = check_json(report);
    char *text = json_dumps(object, JSON_INDENT(2));
    puts(text);
    free(text);
    json_decref(object);
}

int cmd_check(const Arguments *arguments) {
    Error e = {0};
    CheckReport report;
    CheckOptions options = {
        .ignore = arguments->ignore, .ignore_count = arguments->ignore_count, .wait_ms = arguments->wait_ms};
    Config *cfg = arguments_config(arguments, 0, true, &e);
    if (cfg == NULL || !check_run(cfg, &options, &report, &e)) {
        config_free(cfg);
        return cli_failed(&e);
    }
    if (arguments->json)
        report_json(&report);
    else
        report_print(&report);
    int code = report.failed > 0 ? EXIT_FOUND : EXIT_DONE;
    check_free(&report);
    config_free(cfg);
    return code;
}
