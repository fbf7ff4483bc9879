#include <stdio.h>

#include "cli/cli.h"
#include "core/clock.h"
#include "job/control.h"

enum { NOTE_WAIT_MS = 60000, NOTE_LOOK_MS = 100 };

/* NULL and e: nobody answers, or the answer is no. Takes over `request`. */
static json_t *ask(const Config *cfg, json_t *request, Error *e) {
    json_t *answer = control_ask(cfg, request, e);
    json_decref(request);
    if (answer == NULL || json_is_true(json_object_get(answer, "ok")))
        return answer;
    const char *why = json_string_value(json_object_get(answer, "error"));
    const char *hint = json_string_value(json_object_get(answer, "hint"));
    fail(e, ERR_CONFIG, "%s", why != NULL ? why : "the running job refused");
    if (hint != NULL)
        fail_hint(e, "%s", hint);
    json_decref(answer);
    return NULL;
}

/* Until a killed job would go on with it. */
static bool noted(const Config *cfg, Error *e) {
    for (int64_t until_ms = clock_ms() + NOTE_WAIT_MS; clock_ms() < until_ms; clock_sleep_ms(NOTE_LOOK_MS)) {
        json_t *answer = ask(cfg, json_pack("{s:s}", "command", "snapshot"), e);
        bool done = json_is_true(json_object_get(answer, "noted"));
        if (answer == NULL && e->kind == ERR_NONE) {
            fail(e, ERR_RETRY, "the job ended before it had noted in Kafka what is to be loaded again");
            return fail_hint(e, "start it, and ask once more");
        }
        if (answer == NULL)
            return false;
        json_decref(answer);
        if (done)
            return true;
    }
    fail(e, ERR_RETRY,
         "the job has not noted in Kafka yet what is to be loaded again: until then a kill loses it");
    return fail_hint(e, "it goes on trying: \"walferry status\" shows what it waits for");
}

static bool snapshot(const Config *cfg, const Arguments *arguments, Error *e) {
    json_t *tables = json_array();
    for (int table = 0; table < arguments->table_count; table++)
        json_array_append_new(tables, json_string(arguments->tables[table]));
    json_t *request = json_pack("{s:s, s:o}", "command", "snapshot", "tables", tables);
    if (request == NULL)
        return fail(e, ERR_CONFIG, "the tables' names must be UTF-8");
    json_t *answer = ask(cfg, request, e);
    if (answer == NULL && e->kind != ERR_NONE)
        return false;
    if (answer == NULL) {
        fail(e, ERR_CONFIG, "job \"%s\" is not running here", cfg->name);
        return fail_hint(e, "start it: walferry run");
    }
    json_decref(answer);
    if (!noted(cfg, e))
        return false;
    printf("%d table%s will be loaded again, also when the job is killed meanwhile; \"walferry status\" "
           "shows how far it is\n",
           arguments->table_count, arguments->table_count == 1 ? "" : "s");
    return true;
}

int cmd_snapshot(const Arguments *arguments) {
    Error e = {0};
    if (arguments->table_count == 0) {
        fail(&e, ERR_CONFIG, "\"snapshot\" needs --tables");
        fail_hint(&e, "for example: walferry snapshot shop.yaml --tables public.orders,public.items");
        return cli_failed(&e);
    }
    Config *cfg = arguments_config(arguments, 0, false, &e);
    bool ok = cfg != NULL && snapshot(cfg, arguments, &e);
    config_free(cfg);
    return ok ? EXIT_DONE : cli_failed(&e);
}
