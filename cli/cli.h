/* cli: the command line: the table of commands and flags, and what every command shares. A command parses and
 * prints; what it does is in job/. Only this folder may end the process. */
#ifndef WALFERRY_CLI_CLI_H
#define WALFERRY_CLI_CLI_H

#include "core/arena.h"
#include "core/config.h"
#include "job/job.h"

enum { WORDS_MAX = 8, SETTINGS_MAX = 256, IGNORES_MAX = 64, TABLES_MAX = 256, FIRST_WAIT_MS = 10000 };

/* Exit codes that are not the reaction to an Error (core/error has those). */
enum { EXIT_DONE = 0, EXIT_FOUND = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

typedef struct Arguments {
    const char *words[WORDS_MAX]; /* what stands beside the flags, the command excluded */
    int word_count;
    ConfigSetting settings[SETTINGS_MAX];
    size_t setting_count;
    const char *ignore[IGNORES_MAX];
    int ignore_count;
    const char *tables[TABLES_MAX]; /* or topics */
    int table_count;
    const char *output; /* NULL: not given */
    Until until;
    const char *from_debezium, *debezium_slot, *debezium_connector, *with, *with_control;
    int64_t all; /* how many of each are shown */
    int64_t wait_ms;
    bool json, dry_run, watch, clear, help;
} Arguments;

/* Which flags a command takes. */
enum {
    FLAG_HELP = 1,
    FLAG_JOB = 2, /* whatever describes the job */
    FLAG_WAIT = 4,
    FLAG_JSON = 8,
    FLAG_UNTIL = 16,
    FLAG_IGNORE = 32,
    FLAG_DRY_RUN = 64,
    FLAG_WATCH = 128,
    FLAG_OUTPUT = 256,
    FLAG_CLEAR = 512,
    FLAG_TABLES = 1024,
    FLAG_DEBEZIUM = 2048,
    FLAG_COMPAT = 4096
};

typedef struct Flag {
    unsigned group;
    const char *name;  /* with its dashes */
    const char *value; /* what it takes, for help; NULL: nothing */
    const char *help;
    bool (*take)(Arguments *arguments, char *value, Error *e);
} Flag;

typedef struct Command {
    const char *name, *words, *help; /* words: what may stand beside the flags, for help */
    int words_max;
    unsigned flags;
    int (*run)(const Arguments *arguments); /* NULL: not available yet */
    bool hidden;
} Command;

/* commands.c */
extern const Command commands[];
extern const size_t command_count;
const Command *command_find(const char *name); /* NULL: there is none */

/* flags.c */
extern const Flag flags[];
extern const size_t flag_count;
/* A copy of argv that may be written; in argv itself whatever may carry a password becomes x's, because every
 * user of the machine can read a process's arguments. */
char **arguments_take(Arena *arena, int argc, char **argv);
bool arguments_parse(const Command *command, int count, char **words, Arguments *out, Error *e);
/* The job file, or NULL for a job that is described by flags alone; `behind` words belong to the command
 * itself. */
const char *arguments_job(const Arguments *arguments, int behind);
/* Loads the job and starts the log as it says. `whole`: a job that could be run; else a name is enough. */
Config *arguments_config(const Arguments *arguments, int behind, bool whole, Error *e);
/* The reason and the hint on stderr; returns the exit code. */
int cli_failed(const Error *e);

/* help.c */
void help_start(void);                     /* `walferry` alone */
void help_commands(void);                  /* `walferry help` */
void help_command(const Command *command); /* `walferry COMMAND --help` */
void help_keys(void);                      /* the option table as text */
int cmd_help(const Arguments *arguments);
int cmd_docs(const Arguments *arguments);       /* docs/reference.md */
int cmd_completion(const Arguments *arguments); /* completion.c */

/* cmd_NAME.c */
int cmd_init(const Arguments *arguments);
int cmd_check(const Arguments *arguments);
int cmd_run(const Arguments *arguments);
int cmd_status(const Arguments *arguments);
int cmd_stop(const Arguments *arguments);
int cmd_set(const Arguments *arguments);
int cmd_snapshot(const Arguments *arguments);
int cmd_dead_letters(const Arguments *arguments);
int cmd_cleanup(const Arguments *arguments);
int cmd_compat(const Arguments *arguments);

#endif
