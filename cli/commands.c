#include <string.h>

#include "cli/cli.h"

#define JOB_FLAGS (FLAG_HELP | FLAG_JOB)

const Command commands[] = {
    {.name = "init",
     .help = "writes a commented job file for two databases, with what it found",
     .flags = JOB_FLAGS | FLAG_WAIT | FLAG_OUTPUT,
     .run = cmd_init},
    {.name = "check",
     .words = "[JOB.yaml]",
     .help = "looks whether the job can work: Passed, Alert, Failed, and what mends it",
     .words_max = 1,
     .flags = JOB_FLAGS | FLAG_WAIT | FLAG_JSON | FLAG_IGNORE,
     .run = cmd_check},
    {.name = "run",
     .words = "[JOB.yaml]",
     .help = "copies schema and data, then follows every change; started again it goes on where it was",
     .words_max = 1,
     .flags = JOB_FLAGS | FLAG_WAIT | FLAG_JSON | FLAG_UNTIL,
     .run = cmd_run},
    {.name = "status",
     .words = "[JOB.yaml]",
     .help = "shows where a job stands, running or not; never writes",
     .words_max = 1,
     .flags = JOB_FLAGS | FLAG_JSON | FLAG_WATCH,
     .run = cmd_status},
    {.name = "stop",
     .words = "[JOB.yaml]",
     .help = "asks a running job to settle and end, and waits until it has",
     .words_max = 1,
     .flags = JOB_FLAGS,
     .run = cmd_stop},
    {.name = "set",
     .words = "[JOB.yaml] KEY VALUE",
     .help = "changes a running job: log.level and the throttles",
     .words_max = 3,
     .flags = JOB_FLAGS,
     .run = cmd_set},
    {.name = "dead-letters",
     .words = "[JOB.yaml]",
     .help = "shows the changes that \"conflicts: skip\" left out, with why",
     .words_max = 1,
     .flags = JOB_FLAGS | FLAG_JSON | FLAG_CLEAR,
     .run = cmd_dead_letters},
    {.name = "cleanup",
     .words = "[JOB.yaml]",
     .help = "removes what the job made on both sides beside the data: slot, publication, progress",
     .words_max = 1,
     .flags = JOB_FLAGS | FLAG_WAIT | FLAG_DRY_RUN,
     .run = cmd_cleanup},
    {.name = "pause", .help = "holds a running job without ending it"},
    {.name = "resume", .help = "lets a paused job go on"},
    {.name = "verify", .help = "compares both sides"},
    {.name = "cutover", .help = "moves the users over"},
    {.name = "snapshot", .help = "loads chosen tables again into a running job"},
    {.name = "compat", .help = "compares two topic prefixes"},
    {.name = "replay", .help = "Kafka to further targets"},
    {.name = "slots", .help = "lists the slots that walferry made on a server"},
    {.name = "help",
     .words = "[COMMAND | keys]",
     .help = "this list, the help of one command, or every key of a job file",
     .words_max = 1,
     .flags = FLAG_HELP,
     .run = cmd_help},
    {.name = "completion",
     .words = "bash",
     .help = "prints the shell's completion: source <(walferry completion bash)",
     .words_max = 1,
     .flags = FLAG_HELP,
     .run = cmd_completion},
    {.name = "docs", .help = "prints docs/reference.md", .flags = FLAG_HELP, .run = cmd_docs, .hidden = true},
};
const size_t command_count = sizeof commands / sizeof *commands;

const Command *command_find(const char *name) {
    for (size_t at = 0; at < command_count; at++)
        if (strcmp(commands[at].name, name) == 0)
            return &commands[at];
    return NULL;
}
