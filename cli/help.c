#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

void help_start(void) {
    puts("walferry keeps a destination in step with a live PostgreSQL database:\n"
         "schema, data from one snapshot, then every change.\n"
         "\n"
         "  walferry run --source postgresql://reader@db1/shop --target postgresql://loader@new/shop\n"
         "\n"
         "or, with a job file:\n"
         "\n"
         "  walferry init --source URI --target URI    # writes shop.yaml\n"
         "  walferry check shop.yaml                   # what stands in the way, and what mends it\n"
         "  walferry run shop.yaml                     # started again it goes on where it was\n"
         "\n"
         "\"walferry help\" lists the commands, \"walferry help keys\" the keys of a job file; README.md "
         "tells the "
         "rest.");
}

void help_commands(void) {
    puts("usage: walferry COMMAND [JOB.yaml] [flags]\n");
    for (size_t at = 0; at < command_count; at++)
        if (!commands[at].hidden)
            printf("  %-11s %s%s\n", commands[at].name, commands[at].help,
                   commands[at].run == NULL ? " (not available yet)" : "");
    puts("\n\"walferry COMMAND --help\" shows a command's flags, \"walferry help keys\" the keys of a job "
         "file.\n"
         "exit codes: 0 done, 1 check failed or data differ, 2 configuration or rights, 3 position lost,\n"
         "4 protocol, 5 data refused, 6 retries used up");
}

/* "--source URI" */
static void flag_usage(const Flag *flag, char *out, size_t size) {
    snprintf(out, size, "%s%s%s", flag->name, flag->value != NULL ? " " : "",
             flag->value != NULL ? flag->value : "");
}

void help_command(const Command *command) {
    printf("usage: walferry %s%s%s [flags]\n\n%s\n\n", command->name, command->words != NULL ? " " : "",
           command->words != NULL ? command->words : "", command->help);
    for (size_t at = 0; at < flag_count; at++) {
        char usage[60];
        flag_usage(&flags[at], usage, sizeof usage);
        if (flags[at].group & command->flags)
            printf("  %-20s %s\n", usage, flags[at].help);
    }
    if (command->flags & FLAG_JOB)
        puts("\nEverything else is a key of the job file or of --set: \"walferry help keys\" lists them.");
}

static void key_print(void *context, const char *key, const char *type, const char *default_text,
                      const char *help, bool available) {
    (void)context;
    printf("%s\n    %s", key, type);
    if (default_text != NULL && *default_text != '\0')
        printf("; default: %s", default_text);
    printf("%s\n    %s\n", available ? "" : "; not available yet", help);
}

void help_keys(void) {
    puts("The keys of a job file; --set KEY=VALUE on the command line wins over the file.\n"
         "Durations (500ms, 10min) and sizes (64MiB) carry units; ${NAME} is a value of the environment.\n");
    config_visit(key_print, NULL);
}

int cmd_help(const Arguments *arguments) {
    if (arguments->word_count == 0) {
        help_commands();
        return EXIT_DONE;
    }
    if (strcmp(arguments->words[0], "keys") == 0) {
        help_keys();
        return EXIT_DONE;
    }
    const Command *command = command_find(arguments->words[0]);
    if (command != NULL) {
        help_command(command);
        return EXIT_DONE;
    }
    Error e;
    fail(&e, ERR_CONFIG, "no help for \"%s\"", arguments->words[0]);
    fail_hint(&e, "\"walferry help\" lists the commands");
    return cli_failed(&e);
}

/* Text in a cell of a Markdown table. */
static void cell_print(const char *text) {
    for (; text != NULL && *text != '\0'; text++) {
        if (*text == '|')
            putchar('\\');
        putchar(*text);
    }
}

static void key_document(void *context, const char *key, const char *type, const char *default_text,
                         const char *help, bool available) {
    (void)context;
    bool has_default = default_text != NULL && *default_text != '\0';
    printf("| `%s` | ", key);
    cell_print(type);
    fputs(has_default ? " | `" : " | ", stdout);
    cell_print(default_text);
    fputs(has_default ? "` | " : " | ", stdout);
    cell_print(help);
    puts(available ? " |" : " *(not available yet)* |");
}

static void command_document(const Command *command) {
    printf("### %s\n\n`walferry %s%s%s [flags]` %s.\n\n", command->name, command->name,
           command->words != NULL ? " " : "", command->words != NULL ? command->words : "", command->help);
    puts("| flag | meaning |\n|---|---|");
    for (size_t at = 0; at < flag_count; at++) {
        char usage[60];
        flag_usage(&flags[at], usage, sizeof usage);
        if (!(flags[at].group & command->flags))
            continue;
        printf("| `");
        cell_print(usage);
        printf("` | ");
        cell_print(flags[at].help);
        puts(" |");
    }
    puts("");
}

int cmd_docs(const Arguments *arguments) {
    (void)arguments;
    puts("# Reference\n\nMade by `walferry docs` from the tables that the program itself reads.\n\n"
         "## Commands\n");
    for (size_t at = 0; at < command_count; at++)
        if (commands[at].run != NULL && !commands[at].hidden)
            command_document(&commands[at]);
    puts("## Keys of a job file\n\n"
         "A flag `--set KEY=VALUE` wins over the file, the file over the default.\n\n"
         "| key | type | default | meaning |\n|---|---|---|---|");
    config_visit(key_document, NULL);
    return EXIT_DONE;
}
