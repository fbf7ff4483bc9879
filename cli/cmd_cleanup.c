#include <stdio.h>

#include "cli/cli.h"
#include "job/cleanup.h"

typedef struct Said {
    bool dry_run;
    int count;
} Said;

static void say(void *context, const char *what) {
    Said *said = context;
    printf("%s %s\n", said->dry_run ? "would remove" : "removed", what);
    said->count++;
}

int cmd_cleanup(const Arguments *arguments) {
    Error e = {0};
    Said said = {.dry_run = arguments->dry_run};
    Config *cfg = arguments_config(arguments, 0, true, &e);
    bool ok = cfg != NULL && cleanup_run(cfg, arguments->dry_run, arguments->wait_ms, say, &said, &e);
    if (ok && said.count == 0)
        printf("nothing is left of job \"%s\"\n", cfg->name);
    config_free(cfg);
    return ok ? EXIT_DONE : cli_failed(&e);
}
