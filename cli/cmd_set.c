#include <stdio.h>

#include "cli/cli.h"
#include "job/control.h"

static bool set(const Config *cfg, const char *key, const char *value, Error *e) {
    json_t *request = json_pack("{s:s, s:s, s:s}", "command", "set", "key", key, "value", value);
    if (request == NULL)
        return fail(e, ERR_CONFIG, "key and value must be UTF-8");
    json_t *answer = control_ask(cfg, request, e);
    json_decref(request);
    if (answer == NULL && e->kind != ERR_NONE)
        return false;
    if (answer == NULL) {
        fail(e, ERR_CONFIG, "job \"%s\" is not running here", cfg->name);
        return fail_hint(e, "for the next run, change the job file or use --set %s=%s", key, value);
    }
    bool ok = json_is_true(json_object_get(answer, "ok"));
    const char *why = json_string_value(json_object_get(answer, "error"));
    if (ok)
        printf("%s is now %s\n", key, value);
    else
        fail(e, ERR_CONFIG, "%s", why != NULL ? why : "the running job refused");
    json_decref(answer);
    return ok;
}

int cmd_set(const Arguments *arguments) {
    Error e = {0};
    if (arguments->word_count < 2) {
        fail(&e, ERR_CONFIG, "\"set\" needs a key and a value");
        fail_hint(&e, "for example: walferry set shop.yaml log.level debug");
        return cli_failed(&e);
    }
    const char *const *words = arguments->words + arguments->word_count - 2;
    Config *cfg = arguments_config(arguments, 2, false, &e);
    bool ok = cfg != NULL && set(cfg, words[0], words[1], &e);
    config_free(cfg);
    return ok ? EXIT_DONE : cli_failed(&e);
}
