#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/screen.h"
#include "core/clock.h"
#include "core/log.h"
#include "job/compat.h"

enum { LIVE_MS = 200, LINE_MS = 10000 };

typedef struct Show {
    const Arguments *arguments;
    const char *prefixes[SIDES];
    bool live;
    int64_t told_ms; /* monotonic; when the progress was */
    int64_t found;   /* of the topic in work */
    Writer text;     /* of these, those that are shown */
    json_t *list;    /* likewise, with --json */
    json_t *topics;  /* with --json */
    int topic_count, differing;
    int64_t records[SIDES];
} Show;

/* ---- findings ---- */

static void place_text(Writer *out, const char *prefix, const CompatPlace *at) {
    writer_format(out, "%s partition %" PRId32 " offset %" PRId64, prefix, at->partition, at->offset);
}

static void finding_text(Show *show, const CompatFinding *finding) {
    const CompatPlace *at = finding->at;
    Writer *out = &show->text;
    int side = at[OURS].offset < 0 ? THEIRS : OURS;
    writer_format(out, "    key %s: ", finding->key == NULL ? "null" : finding->key);
    writer_text(out, finding->path == NULL ? "only in " : "");
    place_text(out, show->prefixes[side], &at[side]);
    writer_text(out, finding->path == NULL ? "" : ", ");
    if (finding->path != NULL) {
        place_text(out, show->prefixes[THEIRS], &at[THEIRS]);
        writer_format(out, "\n      %s\n", finding->path);
        for (side = 0; side < SIDES; side++)
            writer_format(out, "        %s: %s\n", show->prefixes[side], finding->values[side]);
    } else
        writer_text(out, "\n");
}

static json_t *place_json(const CompatPlace *at) {
    return at->offset < 0
               ? json_null()
               : json_pack("{s:i, s:I}", "partition", (int)at->partition, "offset", (json_int_t)at->offset);
}

static json_t *finding_json(const CompatFinding *finding) {
    return json_pack("{s:s?, s:s?, s:{s:s?, s:o}, s:{s:s?, s:o}}", "key", finding->key, "path", finding->path,
                     "ours", "value", finding->values[OURS], "at", place_json(&finding->at[OURS]), "theirs",
                     "value", finding->values[THEIRS], "at", place_json(&finding->at[THEIRS]));
}

static void found(void *context, const CompatFinding *finding) {
    Show *show = context;
    if (show->found++ >= show->arguments->all)
        return;
    if (show->arguments->json)
        json_array_append_new(show->list, finding_json(finding));
    else
        finding_text(show, finding);
}

/* ---- topics ---- */

static void topic_json(Show *show, const CompatTopic *topic) {
    const CompatCounts *counts = &topic->counts;
    static const char *const sides[SIDES] = {"ours", "theirs"};
    json_t *out = json_pack(
        "{s:s, s:b, s:I, s:I, s:s?, s:I}", "topic", topic->name, "equal", !compat_topic_differs(topic),
        "differing", (json_int_t)counts->differing, "fields", (json_int_t)counts->fields, "missing",
        topic->missing < 0 ? NULL : sides[topic->missing], "found", (json_int_t)show->found);
    for (int side = 0; side < SIDES; side++)
        json_object_set_new(out, sides[side],
                            json_pack("{s:I, s:I, s:b}", "records", (json_int_t)counts->records[side],
                                      "alone", (json_int_t)counts->alone[side], "cut", topic->cut[side]));
    json_object_set_new(out, "differences", show->list);
    json_array_append_new(show->topics, out);
    show->list = json_array();
}

static void topic_text(Show *show, const CompatTopic *topic) {
    const CompatCounts *counts = &topic->counts;
    if (topic->missing >= 0) {
        printf("%s: only in %s\n", topic->name, show->prefixes[topic->missing == OURS ? THEIRS : OURS]);
        return;
    }
    printf("%s: %" PRId64 " records of %s, %" PRId64 " of %s: %s", topic->name, counts->records[OURS],
           show->prefixes[OURS], counts->records[THEIRS], show->prefixes[THEIRS],
           compat_topic_differs(topic) ? "" : "equal");
    if (counts->differing > 0)
        printf("%" PRId64 " differ", counts->differing);
    for (int side = 0, behind = counts->differing > 0; side < SIDES; side++)
        if (counts->alone[side] > 0) {
            printf("%s%" PRId64 " only in %s", behind ? ", " : "", counts->alone[side], show->prefixes[side]);
            behind = 1;
        }
    puts("");
    for (int side = 0; side < SIDES; side++)
        if (topic->cut[side])
            printf("    the first records of %s are not there any more\n", show->prefixes[side]);
    fputs(writer_string(&show->text), stdout);
    if (show->found > show->arguments->all)
        printf("    and %" PRId64 " more differences: --all shows them\n",
               show->found - show->arguments->all);
}

static void line_clear(const Show *show) {
    if (show->live)
        fputs("\r\033[K", stderr);
}

static void end(void *context, const CompatTopic *topic) {
    Show *show = context;
    line_clear(show);
    if (show->arguments->json)
        topic_json(show, topic);
    else
        topic_text(show, topic);
    fflush(stdout);
    writer_reset(&show->text);
    show->found = 0;
    show->topic_count++;
    show->differing += compat_topic_differs(topic) ? 1 : 0;
    for (int side = 0; side < SIDES; side++)
        show->records[side] += topic->counts.records[side];
}

static void progress(void *context, const CompatTopic *topic) {
    Show *show = context;
    int64_t now_ms = clock_ms();
    if (now_ms - show->told_ms < (show->live ? LIVE_MS : LINE_MS))
        return;
    show->told_ms = now_ms;
    if (show->live) {
        line_clear(show);
        fprintf(stderr, "topic %d of %d: %s, %.0f %%", topic->number, topic->count, topic->name,
                100 * topic->done);
    } else
        log_info("topic %d of %d: %s, %.0f %%, %" PRId64 " and %" PRId64 " records", topic->number,
                 topic->count, topic->name, 100 * topic->done, topic->counts.records[OURS],
                 topic->counts.records[THEIRS]);
}

/* ---- all ---- */

static void result_json(Show *show) {
    json_t *out = json_pack("{s:s, s:s, s:b, s:i, s:i, s:o}", "prefix", show->prefixes[OURS], "with",
                            show->prefixes[THEIRS], "equal", show->differing == 0, "topics_compared",
                            show->topic_count, "topics_differing", show->differing, "topics", show->topics);
    show->topics = NULL;
    char *text = json_dumps(out, JSON_COMPACT);
    puts(text);
    free(text);
    json_decref(out);
}

static void result_text(const Show *show) {
    printf("%d topics, %" PRId64 " records of %s and %" PRId64 " of %s: ", show->topic_count,
           show->records[OURS], show->prefixes[OURS], show->records[THEIRS], show->prefixes[THEIRS]);
    if (show->differing == 0)
        puts("equal, but for the names and clocks of the connectors");
    else
        printf("%d of the topics differ\n", show->differing);
}

static bool compare(Show *show, const Config *cfg, Error *e) {
    const Arguments *arguments = show->arguments;
    CompatWish wish = {arguments->with, arguments->with_control, arguments->tables, arguments->table_count};
    CompatListener listener = {show, found, progress, end};
    show->prefixes[OURS] = cfg->kafka.prefix;
    show->prefixes[THEIRS] = arguments->with;
    show->live = !arguments->json && screen_possible() && isatty(STDERR_FILENO);
    show->told_ms = show->live ? 0 : clock_ms(); /* a log is for work that takes long */
    bool ok = compat_run(cfg, &wish, &listener, e);
    line_clear(show);
    if (ok && arguments->json)
        result_json(show);
    else if (ok)
        result_text(show);
    return ok && (fflush(stdout) == 0 || fail(e, ERR_CONFIG, "cannot write the result"));
}

int cmd_compat(const Arguments *arguments) {
    Error e = {0};
    if (arguments->with == NULL) {
        fail(&e, ERR_CONFIG, "\"compat\" needs --with");
        fail_hint(&e, "for example: walferry compat shop.yaml --with dbz");
        return cli_failed(&e);
    }
    Show show = {.arguments = arguments, .text = writer_new(SIZE_MAX)};
    show.list = json_array();
    show.topics = json_array();
    Config *cfg = arguments_config(arguments, 0, false, &e);
    bool ok = cfg != NULL && compare(&show, cfg, &e);
    json_decref(show.list);
    json_decref(show.topics);
    writer_free(&show.text);
    config_free(cfg);
    if (!ok)
        return cli_failed(&e);
    return show.differing == 0 ? EXIT_DONE : EXIT_FOUND;
}
