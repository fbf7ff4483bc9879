#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/screen.h"
#include "cli/view.h"
#include "core/clock.h"
#include "job/control.h"
#include "job/status.h"

enum { WATCH_MS = 1000, TEXT_COLUMNS = 120, TEXT_BYTES_MAX = 64 * 1024 };

/* From the running process, or, when none answers, from what is stored: a process that is being killed at this moment
 * still listens, but says nothing any more. */
static json_t *status_ask(const Config *cfg, Error *e) {
    json_t *request = json_pack("{s:s}", "command", "status");
    json_t *status = control_ask(cfg, request, e);
    json_decref(request);
    if (status != NULL)
        return status;
    error_clear(e);
    return status_stored(cfg, e);
}

static int64_t number_get(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static void text_get(const json_t *object, const char *key, char *out, size_t size) {
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static int64_t behind_get(const json_t *status, Lsn here) {
    const char *text = json_string_value(json_object_get(json_object_get(status, "source"), "lsn"));
    Lsn source;
    return text != NULL && lsn_parse(text, &source) && !lsn_is_none(here)
               ? (int64_t)lsn_distance_bytes(here, source)
               : -1;
}

static void table_fill(Progress *p, const json_t *table) {
    const char *state = json_string_value(json_object_get(table, "state"));
    p->tables++;
    if (state == NULL || strcmp(state, table_stage_name(TABLE_PENDING)) == 0)
        return;
    if (strcmp(state, table_stage_name(TABLE_COPYING)) != 0) {
        p->loaded++;
        return;
    }
    p->copying++;
    if (p->shown == PROGRESS_TABLES_MAX)
        return;
    ProgressTable *shown = &p->table[p->shown++];
    *shown = (ProgressTable){.rows = number_get(table, "rows"),
                             .rows_estimated = number_get(table, "rows_estimated"),
                             .bytes = number_get(table, "bytes"),
                             .share = -1,
                             .bytes_per_s = (double)number_get(table, "bytes_per_s"),
                             .left_ms = number_get(table, "left_ms")};
    text_get(table, "name", shown->name, sizeof shown->name);
    if (shown->rows_estimated > 0)
        shown->share =
            shown->rows < shown->rows_estimated ? (double)shown->rows / (double)shown->rows_estimated : 0.99;
}

static void limits_fill(int64_t limit[THROTTLE_KINDS], const json_t *object) {
    static const char *const keys[THROTTLE_KINDS] = {[THROTTLE_QUERIES] = "queries_per_s",
                                                     [THROTTLE_ROWS] = "rows_per_s",
                                                     [THROTTLE_BYTES] = "bytes_per_s"};
    for (int kind = 0; kind < THROTTLE_KINDS; kind++) {
        int64_t per_s = number_get(object, keys[kind]);
        limit[kind] = per_s > 0 ? per_s : 0;
    }
}

static void builds_fill(Progress *p, const json_t *builds) {
    const json_t *build;
    size_t at;
    json_array_foreach(builds, at, build) {
        if (p->builds == BUILDS_SHOWN_MAX)
            return;
        BuildMetrics *shown = &p->build[p->builds++];
        text_get(build, "name", shown->name, sizeof shown->name);
        text_get(build, "step", shown->step, sizeof shown->step);
        shown->done = number_get(build, "done");
        shown->total = number_get(build, "total");
    }
}

static void progress_fill(Progress *p, const json_t *status) {
    const json_t *lag = json_object_get(status, "lag"), *stages = json_object_get(lag, "stages");
    const json_t *totals = json_object_get(status, "totals"), *slot = json_object_get(status, "slot");
    const json_t *table;
    size_t at;
    Lsn confirmed = LSN_NONE;
    const char *confirmed_text = json_string_value(json_object_get(slot, "confirmed_lsn"));
    if (confirmed_text != NULL)
        lsn_parse(confirmed_text, &confirmed);
    *p = progress_unknown();
    text_get(status, "job", p->job, sizeof p->job);
    text_get(status, "phase", p->phase, sizeof p->phase);
    text_get(status, "state", p->state, sizeof p->state);
    text_get(status, "reason", p->reason, sizeof p->reason);
    if (p->reason[0] == '\0')
        text_get(status, "error", p->reason, sizeof p->reason);
    text_get(slot, "wal_status", p->wal_status, sizeof p->wal_status);
    p->retained_bytes = number_get(slot, "retained_bytes");
    p->rss_bytes = number_get(status, "rss_bytes");
    const char *gear = json_string_value(json_object_get(status, "gear"));
    p->in_sets = gear != NULL && strcmp(gear, gear_name(GEAR_CATCH_UP)) == 0;
    p->workers = (int)number_get(status, "workers");
    const json_t *throttle = json_object_get(status, "throttle");
    limits_fill(p->limit, json_object_get(throttle, "load"));
    limits_fill(p->apply_limit, json_object_get(throttle, "apply"));
    p->lag_ms = number_get(lag, "ms");
    p->received_ms = number_get(stages, "received_ms");
    p->decoded_ms = number_get(stages, "decoded_ms");
    p->queued_ms = number_get(stages, "queued_ms");
    p->applied_ms = number_get(stages, "applied_ms");
    p->applied_behind_bytes = number_get(lag, "bytes");
    p->confirmed_behind_bytes = behind_get(status, confirmed);
    p->changes = number_get(totals, "changes");
    p->transactions = number_get(totals, "transactions");
    p->conflicts = number_get(totals, "conflicts");
    p->dead_letters = number_get(totals, "dead_letters");
    p->left_out = number_get(totals, "left_out");
    p->retries = number_get(totals, "retries");
    builds_fill(p, json_object_get(status, "builds"));
    json_array_foreach(json_object_get(status, "tables"), at, table) table_fill(p, table);
}

static void status_draw(const json_t *status, bool over_the_last) {
    static const ViewLines none = {.count = 0};
    Progress p;
    Writer text = writer_new(TEXT_BYTES_MAX);
    progress_fill(&p, status);
    view_draw(&text, &p, &none, TEXT_COLUMNS, VIEW_HEIGHT_ANY, screen_colour(STDOUT_FILENO));
    if (over_the_last)
        fputs("\033[H\033[2J", stdout);
    fputs(writer_string(&text), stdout);
    writer_free(&text);
}

static void status_print(const Arguments *arguments, const json_t *status) {
    if (arguments->json) {
        char *text = json_dumps(status, arguments->watch ? JSON_COMPACT : JSON_INDENT(2));
        puts(text);
        free(text);
    } else {
        status_draw(status, arguments->watch && screen_possible());
    }
    fflush(stdout);
}

int cmd_status(const Arguments *arguments) {
    Error e = {0};
    Config *cfg = arguments_config(arguments, 0, false, &e);
    json_t *status = cfg != NULL ? status_ask(cfg, &e) : NULL;
    int code = EXIT_DONE;
    while (status != NULL) {
        status_print(arguments, status);
        json_decref(status);
        status = NULL;
        if (!arguments->watch || ferror(stdout))
            break;
        clock_sleep_ms(WATCH_MS);
        error_clear(&e);
        status = status_ask(cfg, &e);
    }
    if (e.kind != ERR_NONE)
        code = cli_failed(&e);
    config_free(cfg);
    return code;
}
