#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/no_memory.h"
#include "core/memory.h"

enum { NAMES_MAX = 64 };

/* A core file would hold rows and passwords. */
static void core_files_off(void) {
    const char *wanted = getenv("WALFERRY_CORE");
    struct rlimit none = {0, 0};
    if (wanted == NULL || strcmp(wanted, "1") != 0)
        setrlimit(RLIMIT_CORE, &none);
}

static int command_unknown(const char *name) {
    const char *names[NAMES_MAX];
    size_t count = 0;
    Error e;
    for (size_t at = 0; at < command_count && count < NAMES_MAX; at++)
        if (!commands[at].hidden)
            names[count++] = commands[at].name;
    const char *near = config_nearest(name, names, count);
    fail(&e, ERR_CONFIG, "unknown command \"%s\"", name);
    if (near != NULL)
        fail_hint(&e, "did you mean \"walferry %s\"?", near);
    else
        fail_hint(&e, "\"walferry help\" lists the commands");
    return cli_failed(&e);
}

/* Flags that stand without a command; -1: it is none of them. */
static int flag_alone(const char *word) {
    if (strcmp(word, "--version") == 0)
        puts("walferry " WALFERRY_VERSION);
    else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        help_commands();
    else if (strcmp(word, "--keys") == 0)
        help_keys();
    else
        return -1;
    return EXIT_DONE;
}

static int command_run(const Command *command, int count, char **words) {
    Arguments arguments;
    Error e;
    if (command->run == NULL) {
        fail(&e, ERR_CONFIG, "\"%s\" is not available yet in this version", command->name);
        return cli_failed(&e);
    }
    if (!arguments_parse(command, count, words, &arguments, &e))
        return cli_failed(&e);
    if (!arguments.help)
        return command->run(&arguments);
    help_command(command);
    return EXIT_DONE;
}

int main(int argc, char **argv) {
    core_files_off();
    memory_tune();
    no_memory_prepare();
    Arena *arena = arena_new();
    char **words = arguments_take(arena, argc, argv);
    const char *name = argc > 1 ? words[1] : NULL;
    int code = name == NULL ? -1 : flag_alone(name);
    if (name == NULL) {
        help_start();
        code = EXIT_DONE;
    } else if (code < 0) {
        const Command *command = command_find(name);
        code = command == NULL ? command_unknown(name) : command_run(command, argc - 2, words + 2);
    }
    arena_free(arena);
    return code;
}
