#include <stdio.h>

#include "cli/cli.h"
#include "core/clock.h"
#include "job/control.h"

enum { STOP_WAIT_MS = 30000, LOOK_MS = 100 };

static json_t *ask(const Config *cfg, const char *command, Error *e) {
    json_t *request = json_pack("{s:s}", "command", command);
    json_t *answer = control_ask(cfg, request, e);
    json_decref(request);
    return answer;
}

/* A socket on which nobody listens any more: the process has ended, or is about to return from main. */
static bool wait_until_gone(const Config *cfg, Error *e) {
    int64_t deadline_ms = clock_ms() + STOP_WAIT_MS;
    while (clock_ms() < deadline_ms) {
        json_t *answer = ask(cfg, "who", e);
        if (answer == NULL && e->kind == ERR_NONE)
            return true;
        json_decref(answer);
        clock_sleep_ms(LOOK_MS);
    }
    return fail(e, ERR_RETRY, "job \"%s\" was asked to stop but has not ended within %d s", cfg->name,
                STOP_WAIT_MS / 1000);
}

static bool stop(const Config *cfg, Error *e) {
    json_t *answer = ask(cfg, "stop", e);
    if (answer == NULL && e->kind != ERR_NONE)
        return false;
    if (answer == NULL) {
        printf("job \"%s\" is not running here\n", cfg->name);
        return true;
    }
    json_decref(answer);
    if (!wait_until_gone(cfg, e))
        return false;
    printf("job \"%s\" has stopped\n", cfg->name);
    return true;
}

int cmd_stop(const Arguments *arguments) {
    Error e = {0};
    Config *cfg = arguments_config(arguments, 0, false, &e);
    bool ok = cfg != NULL && stop(cfg, &e);
    config_free(cfg);
    return ok ? EXIT_DONE : cli_failed(&e);
}
