#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/log.h"

static bool setting_add(Arguments *arguments, const char *key, const char *value, Error *e) {
    if (arguments->setting_count == SETTINGS_MAX)
        return fail(e, ERR_CONFIG, "more than %d settings on the command line", SETTINGS_MAX);
    arguments->settings[arguments->setting_count++] = (ConfigSetting){key, value};
    return true;
}

static bool take_source(Arguments *arguments, char *value, Error *e) {
    return setting_add(arguments, "source.dsn", value, e);
}

static bool take_target(Arguments *arguments, char *value, Error *e) {
    return setting_add(arguments, "target.dsn", value, e);
}

static bool take_name(Arguments *arguments, char *value, Error *e) {
    return setting_add(arguments, "name", value, e);
}

static bool take_log_level(Arguments *arguments, char *value, Error *e) {
    return setting_add(arguments, "log.level", value, e);
}

static bool take_log_format(Arguments *arguments, char *value, Error *e) {
    return setting_add(arguments, "log.format", value, e);
}

static bool take_set(Arguments *arguments, char *value, Error *e) {
    char *equals = strchr(value, '=');
    if (equals == NULL || equals == value) {
        fail(e, ERR_CONFIG, "\"--set\" needs KEY=VALUE");
        return fail_hint(e, "for example --set load.workers=4; \"walferry help keys\" lists the keys");
    }
    *equals = '\0';
    return setting_add(arguments, value, equals + 1, e);
}

static bool take_wait(Arguments *arguments, char *value, Error *e) {
    if (config_duration_ms(value, &arguments->wait_ms))
        return true;
    fail(e, ERR_CONFIG, "\"--wait %s\" is not a duration", value);
    return fail_hint(e, "a number with a unit: 30s, 10min, 1h");
}

static bool take_json(Arguments *arguments, char *value, Error *e) {
    (void)value;
    (void)e;
    arguments->json = true;
    return true;
}

static bool take_until(Arguments *arguments, char *value, Error *e) {
    if (strcmp(value, "now") == 0) {
        arguments->until.kind = UNTIL_NOW;
        return true;
    }
    arguments->until.kind = UNTIL_LSN;
    if (lsn_parse(value, &arguments->until.lsn) && !lsn_is_none(arguments->until.lsn))
        return true;
    fail(e, ERR_CONFIG, "\"--until %s\" is neither \"now\" nor a position", value);
    return fail_hint(e, "a position is written as the server prints it: 16/B374D848");
}

static bool take_ignore(Arguments *arguments, char *value, Error *e) {
    if (arguments->ignore_count == IGNORES_MAX)
        return fail(e, ERR_CONFIG, "more than %d times \"--ignore\"", IGNORES_MAX);
    arguments->ignore[arguments->ignore_count++] = value;
    return true;
}

static bool take_from_debezium(Arguments *arguments, char *value, Error *e) {
    (void)e;
    arguments->from_debezium = value;
    return true;
}

static bool take_debezium_slot(Arguments *arguments, char *value, Error *e) {
    (void)e;
    arguments->debezium_slot = value;
    return true;
}

static bool take_debezium_connector(Arguments *arguments, char *value, Error *e) {
    (void)e;
    arguments->debezium_connector = value;
    return true;
}

static bool take_tables(Arguments *arguments, char *value, Error *e) {
    char *rest = NULL;
    for (char *name = strtok_r(value, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        if (arguments->table_count == TABLES_MAX)
            return fail(e, ERR_CONFIG, "a list of more than %d names", TABLES_MAX);
        arguments->tables[arguments->table_count++] = name;
    }
    return true;
}

static bool take_with(Arguments *arguments, char *value, Error *e) {
    (void)e;
    arguments->with = value;
    return true;
}

static bool take_with_control(Arguments *arguments, char *value, Error *e) {
    (void)e;
    arguments->with_control = value;
    return true;
}

static bool take_all(Arguments *arguments, char *value, Error *e) {
    char *end = NULL;
    arguments->all = strtoll(value, &end, 10);
    if (*value != '\0' && *end == '\0' && arguments->all > 0)
        return true;
    fail(e, ERR_CONFIG, "\"--all %s\" is not a number", value);
    return fail_hint(e, "how many differences of each topic are shown: --all 100");
}

static bool take_dry_run(Arguments *arguments, char *value, Error *e) {
    (void)value;
    (void)e;
    arguments->dry_run = true;
    return true;
}

static bool take_watch(Arguments *arguments, char *value, Error *e) {
    (void)value;
    (void)e;
    arguments->watch = true;
    return true;
}

static bool take_clear(Arguments *arguments, char *value, Error *e) {
    (void)value;
    (void)e;
    arguments->clear = true;
    return true;
}

static bool take_output(Arguments *arguments, char *value, Error *e) {
    (void)e;
    arguments->output = value;
    return true;
}

static bool take_help(Arguments *arguments, char *value, Error *e) {
    (void)value;
    (void)e;
    arguments->help = true;
    return true;
}

const Flag flags[] = {
    {FLAG_JOB, "--source", "URI", "the database to copy from; short for --set source.dsn=URI", take_source},
    {FLAG_JOB, "--target", "URI", "the database to copy to; short for --set target.dsn=URI", take_target},
    {FLAG_JOB, "--name", "NAME", "the job's name; made up from the database names when absent", take_name},
    {FLAG_JOB, "--set", "KEY=VALUE", "any key of the job file; wins over the file; repeatable", take_set},
    {FLAG_OUTPUT, "-o", "FILE", "where to write; - is stdout; default: NAME.yaml", take_output},
    {FLAG_UNTIL, "--until", "now|LSN", "end once everything up to now, or to this position, is applied",
     take_until},
    {FLAG_IGNORE, "--ignore", "ITEM", "count an Alert of this item as Ignored; repeatable", take_ignore},
    {FLAG_DEBEZIUM, "--from-debezium", "FILE|topic:NAME",
     "a new job goes on where a Debezium connector has ended, by the offsets file of its Connect worker, or "
     "by the "
     "topic that the workers keep the offsets in",
     take_from_debezium},
    {FLAG_DEBEZIUM, "--debezium-slot", "NAME", "that connector's slot, which is copied; default: debezium",
     take_debezium_slot},
    {FLAG_DEBEZIUM, "--debezium-connector", "NAME",
     "that connector's name, where several have had its topic.prefix", take_debezium_connector},
    {FLAG_TABLES, "--tables", "TABLES", "which, as schema.table, with commas between; repeatable",
     take_tables},
    {FLAG_COMPAT, "--with", "PREFIX", "the prefix of the topics to compare with, at the same brokers",
     take_with},
    {FLAG_COMPAT, "--with-control", "TOPIC",
     "the control topic of the walferry that wrote under that prefix, in Avro without a registry; default: "
     "PREFIX.walferry",
     take_with_control},
    {FLAG_COMPAT, "--topics", "TOPICS", "only these, without their prefix, with commas between; repeatable",
     take_tables},
    {FLAG_COMPAT, "--all", "N", "show up to so many differences of each topic, not only the first", take_all},
    {FLAG_DRY_RUN, "--dry-run", NULL, "only list what would be removed", take_dry_run},
    {FLAG_CLEAR, "--clear", NULL, "remove those that were shown", take_clear},
    {FLAG_WATCH, "--watch", NULL, "show it again every second", take_watch},
    {FLAG_WAIT, "--wait", "DURATION", "try the first connection to each server for so long; default: 10s",
     take_wait},
    {FLAG_JSON, "--json", NULL, "print one JSON document on stdout, everything else on stderr", take_json},
    {FLAG_JOB, "--log-level", "LEVEL", "debug, info, warn or error", take_log_level},
    {FLAG_JOB, "--log-format", "FORMAT", "text or json", take_log_format},
    {FLAG_HELP, "--help", NULL, "this help", take_help},
};
const size_t flag_count = sizeof flags / sizeof *flags;

/* By what it says or by the flag before it. */
static bool word_is_secret(const char *word, const char *before) {
    if (strstr(word, "://") != NULL || strstr(word, "password") != NULL)
        return true;
    if (strstr(word, "dsn=") != NULL || strncmp(word, "--source=", 9) == 0 ||
        strncmp(word, "--target=", 9) == 0)
        return true;
    return strcmp(before, "--source") == 0 || strcmp(before, "--target") == 0;
}

char **arguments_take(Arena *arena, int argc, char **argv) {
    char **words = arena_alloc(arena, ((size_t)argc + 1) * sizeof *words);
    for (int at = 0; at < argc; at++)
        words[at] = arena_text(arena, slice_text(argv[at]));
    for (int at = 1; at < argc; at++)
        if (word_is_secret(words[at], words[at - 1]))
            memset(argv[at], 'x', strlen(argv[at]));
    return words;
}

static bool flag_unknown(const Command *command, const char *word, Error *e) {
    const char *names[sizeof flags / sizeof *flags];
    size_t count = 0;
    for (size_t at = 0; at < flag_count; at++)
        if (flags[at].group & command->flags)
            names[count++] = flags[at].name;
    const char *near = config_nearest(word, names, count);
    fail(e, ERR_CONFIG, "unknown flag \"%s\" of \"%s\"", word, command->name);
    if (near != NULL)
        return fail_hint(e, "did you mean \"%s\"?", near);
    return fail_hint(e, "\"walferry %s --help\" lists its flags", command->name);
}

static const Flag *flag_find(const Command *command, const char *name) {
    if (strcmp(name, "-h") == 0)
        name = "--help";
    for (size_t at = 0; at < flag_count; at++)
        if ((flags[at].group & command->flags) && strcmp(flags[at].name, name) == 0)
            return &flags[at];
    return NULL;
}

/* One flag and its value, which may be the next word; *used says how many words it took. */
static bool flag_take(const Command *command, char **words, int count, int *used, Arguments *out, Error *e) {
    char *value = strncmp(words[0], "--", 2) == 0 ? strchr(words[0], '=') : NULL;
    if (value != NULL)
        *value++ = '\0';
    const Flag *flag = flag_find(command, words[0]);
    *used = 1;
    if (flag == NULL)
        return flag_unknown(command, words[0], e);
    if (flag->value == NULL && value != NULL)
        return fail(e, ERR_CONFIG, "flag \"%s\" takes no value", flag->name);
    if (flag->value != NULL && value == NULL) {
        if (count < 2 || strncmp(words[1], "--", 2) == 0)
            return fail(e, ERR_CONFIG, "flag \"%s\" needs a value: %s", flag->name, flag->value);
        value = words[1];
        *used = 2;
    }
    return flag->take(out, value, e);
}

bool arguments_parse(const Command *command, int count, char **words, Arguments *out, Error *e) {
    *out = (Arguments){.wait_ms = FIRST_WAIT_MS, .all = 1};
    assert(command->words_max <= WORDS_MAX);
    bool only_words = false;
    for (int at = 0, used; at < count; at += used) {
        char *word = words[at];
        used = 1;
        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
        } else if (!only_words && word[0] == '-' && word[1] != '\0') {
            if (!flag_take(command, words + at, count - at, &used, out, e))
                return false;
        } else if (out->word_count < command->words_max) {
            out->words[out->word_count++] = word;
        } else {
            fail(e, ERR_CONFIG, "\"%s\" takes no further argument \"%s\"", command->name,
                 word_is_secret(word, "") ? "…" : word);
            return fail_hint(e, "\"walferry %s --help\" shows how it is used", command->name);
        }
    }
    return true;
}

const char *arguments_job(const Arguments *arguments, int behind) {
    return arguments->word_count > behind ? arguments->words[0] : NULL;
}

Config *arguments_config(const Arguments *arguments, int behind, bool whole, Error *e) {
    const char *path = arguments_job(arguments, behind);
    Config *cfg = whole ? config_load(path, arguments->settings, arguments->setting_count, e)
                        : config_load_part(path, arguments->settings, arguments->setting_count, e);
    if (cfg != NULL)
        log_start(cfg->log.level, cfg->log.format);
    return cfg;
}

int cli_failed(const Error *e) {
    fprintf(stderr, "walferry: %s\n", e->text);
    if (e->hint[0] != '\0')
        fprintf(stderr, "hint: %s\n", e->hint);
    return error_exit_code(e->kind);
}
