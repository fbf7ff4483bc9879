#include "core/config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_complaint.h"
#include "core/config_expand.h"
#include "core/config_resolve.h"
#include "core/config_value.h"
#include "core/config_yaml.h"
#include "core/memory.h"
#include "core/options.h"
#include "core/pg.h"

/* value_store() writes fields by their place; these are the shapes that it relies on. */
_Static_assert(sizeof(IdentityPolicy) == sizeof(int) && sizeof(LogLevel) == sizeof(int) &&
                   sizeof(LogFormat) == sizeof(int) && sizeof(LetterCase) == sizeof(int) &&
                   sizeof(ConflictPolicy) == sizeof(int) && sizeof(KafkaFormat) == sizeof(int),
               "a choice is stored as an int");
_Static_assert(offsetof(Config, source.heartbeat_table) ==
                   offsetof(Config, source.heartbeat_schema) + sizeof(char *),
               "a table is stored as schema and name");
_Static_assert(offsetof(Config, phases.full) == offsetof(Config, phases.schema) + sizeof(bool) &&
                   offsetof(Config, phases.incremental) == offsetof(Config, phases.full) + sizeof(bool),
               "a list of choices is stored as one bool each");

typedef struct Loader {
    Config *cfg;
    const char *path; /* NULL: flags alone */
    Arena *arena;
    ConfigEntries entries;                /* of the file, then of the flags */
    const ConfigEntry *from[OPTIONS_MAX]; /* what set each option */
    const ConfigEntry *list;              /* the list item read last */
    uint64_t list_seen;                   /* choices of that list so far */
    int64_t list_last;
    Error *e;
} Loader;

/* What stands where a value should be: nothing, {} or []. */
static bool shape_check(Loader *l, const ConfigEntry *entry) {
    const Option *option = option_find(entry->key);
    if (*entry->key == '\0')
        return true; /* the whole file is {} */
    if (option == NULL) {
        bool section = option_section(entry->key) || option_section_free(entry->key);
        return section || complaint_key(l->path, entry, l->e);
    }
    switch (entry->shape) {
    case SHAPE_NOTHING: return complaint_about(l->path, entry, "has no value", l->e);
    case SHAPE_EMPTY_LIST: return complaint_about(l->path, entry, "is an empty list", l->e);
    default: return complaint_about(l->path, entry, "takes a value, not keys below it", l->e);
    }
}

/* A later flag says something else for the same key. */
static bool entry_overridden(const Loader *l, const ConfigEntry *entry) {
    for (size_t item = l->entries.count; item > 0; item--) {
        const ConfigEntry *other = &l->entries.items[item - 1];
        if (other->setting <= entry->setting)
            return false;
        if (strcmp(other->key, entry->key) == 0)
            return true;
    }
    return false;
}

static bool list_check(Loader *l, const ConfigEntry *entry, const Option *option, int64_t choice) {
    bool same =
        l->list != NULL && l->list->setting == entry->setting && strcmp(l->list->key, entry->key) == 0;
    uint64_t seen = same ? l->list_seen : 0;
    int64_t last = same ? l->list_last : -1;
    l->list = entry;
    l->list_seen = seen | UINT64_C(1) << choice;
    l->list_last = choice;
    if (seen & UINT64_C(1) << choice)
        return complaint_about(l->path, entry, "names the same thing twice", l->e);
    if (!option->ordered || choice > last)
        return true;
    Writer sentence = writer_new(500);
    Slice word;
    writer_text(&sentence, "must keep the order ");
    for (int index = 0; option_choice(option->choices, index, &word); index++)
        writer_format(&sentence, "%s%.*s", index > 0 ? ", " : "", (int)word.len, word.at);
    complaint_about(l->path, entry, writer_string(&sentence), l->e);
    writer_free(&sentence);
    return false;
}

static void *list_grow(void *items, int count, size_t size) {
    return memory_grow(items, ((size_t)count + 1) * size);
}

static void text_add(ConfigTexts *texts, const char *text) {
    texts->items = list_grow(texts->items, texts->count, sizeof *texts->items);
    texts->items[texts->count++] = memory_text(text);
}

static void pair_add(ConfigPairs *pairs, Slice key, const char *value) {
    pairs->items = list_grow(pairs->items, pairs->count, sizeof *pairs->items);
    pairs->items[pairs->count++] = (ConfigPair){memory_text_part(key.at, key.len), memory_text(value)};
}

static void table_store(char **schema_and_name, const char *text) {
    ConfigName name;
    bool read = config_table_read(text, &name, NULL);
    assert(read);
    (void)read;
    schema_and_name[0] = memory_text_part(name.schema, NAME_BYTES_MAX);
    schema_and_name[1] = memory_text_part(name.table, NAME_BYTES_MAX);
}

/* `key` is the entry's: what its free part is. */
static void value_store(Config *cfg, const Option *option, const char *key, const OptionValue *value) {
    void *field = (char *)cfg + option->field;
    int number = (int)value->number;
    Slice free_part;
    if (option_free_part(option, key, &free_part)) {
        pair_add(field, free_part, value->text);
        return;
    }
    switch (option->type) {
    case OPTION_DURATION:
    case OPTION_SIZE: memcpy(field, &value->number, sizeof value->number); return;
    case OPTION_NUMBER: memcpy(field, &number, sizeof number); return;
    case OPTION_BOOL: *(bool *)field = value->number != 0; return;
    case OPTION_CHOICE:
        if (option_is_list(option))
            ((bool *)field)[value->number] = true;
        else
            memcpy(field, &number, sizeof number);
        return;
    case OPTION_TABLE: table_store(field, value->text); return;
    case OPTION_PATTERN:
    case OPTION_INCLUSION: text_add(field, value->text); return;
    default: ((char **)field)[0] = memory_text(value->text);
    }
}

static bool route_store(Loader *l, const ConfigEntry *entry, const Option *option, const char *text) {
    Routes *routes = (void *)((char *)l->cfg + option->field);
    routes_put(routes, entry->item, entry->line, option->part, text);
    return option->part != offsetof(Route, match) || route_match_valid(text, l->e) ||
           complaint_context(l->path, entry, l->e);
}

/* Whether the value, already expanded, is one that the option and this version take; stores it. */
static bool value_take(Loader *l, const ConfigEntry *entry, const Option *option, const char *text) {
    OptionValue value;
    if (!option_parse(option, text, &value))
        return complaint_value(l->path, entry, option, l->e);
    if (option->type == OPTION_DSN && !pg_dsn_valid(text, l->e))
        return complaint_context(l->path, entry, l->e);
    if (option_is_list(option) && option->type == OPTION_CHOICE &&
        !list_check(l, entry, option, value.number))
        return false;
    if (!option_available(option, &value))
        return complaint_version(l->path, entry, option, l->e);
    if (option_is_of_list(option))
        return route_store(l, entry, option, text);
    if (option->stored)
        value_store(l->cfg, option, entry->key, &value);
    return true;
}

static bool free_part_check(Loader *l, const ConfigEntry *entry, const Option *option) {
    Slice part;
    if (!option_free_part(option, entry->key, &part) || option_free_valid(option, arena_text(l->arena, part)))
        return true;
    complaint_about(l->path, entry, "does not name what it is for", l->e);
    if (option->free == FREE_SCHEMA)
        return fail_hint(l->e, "a name has 1 to %d bytes", NAME_BYTES_MAX);
    return fail_hint(l->e, "names are written schema.table; one that holds a dot stands in double quotes: "
                           "'\"a.b\".c'");
}

static bool type_takes_files(const Option *option) {
    return option->type < OPTION_BOOL || option->type > OPTION_SIZE;
}

static bool entry_apply(Loader *l, const ConfigEntry *entry) {
    if (entry->shape != SHAPE_VALUE)
        return shape_check(l, entry);
    const Option *option = option_find(entry->key);
    if (option == NULL)
        return complaint_key(l->path, entry, l->e);
    if (entry_overridden(l, entry))
        return true;

    size_t count;
    const ConfigEntry **from = &l->from[option - options_table(&count)];
    bool one_value = option->stored && !option_is_list(option) && !option_is_of_list(option) &&
                     strchr(option->key, '*') == NULL;
    if (*from != NULL && one_value) {
        char sentence[80];
        snprintf(sentence, sizeof sentence, "stands here a second time, first in line %d", (*from)->line);
        return complaint_about(l->path, entry, sentence, l->e);
    }
    *from = entry;
    if (!free_part_check(l, entry, option))
        return false;

    Writer text = writer_new(CONFIG_VALUE_BYTES_MAX);
    bool good = config_expand(entry->value, type_takes_files(option), &text, l->e);
    if (good)
        good = value_take(l, entry, option, writer_string(&text));
    else
        complaint_context(l->path, entry, l->e);
    if (text.at != NULL)
        explicit_bzero(text.at, text.capacity);
    writer_free(&text);
    return good;
}

/* Calls take for each part of "a, b". */
static void parts_visit(const char *text, void (*take)(Loader *l, const ConfigEntry *part), Loader *l,
                        ConfigEntry part) {
    const char *at = text;
    for (bool more = true; more;) {
        size_t length = strcspn(at, ",");
        more = at[length] == ',';
        const char *begin = at + strspn(at, " "), *end = at + length;
        while (end > begin && end[-1] == ' ')
            end--;
        part.value = arena_text(l->arena, (Slice){begin, begin < end ? (size_t)(end - begin) : 0});
        take(l, &part);
        at += length + 1;
    }
}

static void part_add(Loader *l, const ConfigEntry *part) {
    config_entries_add(&l->entries, *part);
}

static void setting_add(Loader *l, const ConfigSetting *setting, int number) {
    ConfigEntry entry = {
        .key = setting->key, .value = setting->value, .setting = number, .shape = SHAPE_VALUE};
    Writer list_key = writer_new(CONFIG_VALUE_BYTES_MAX);
    writer_format(&list_key, "%s[]", setting->key);
    const Option *option = option_find(setting->key) == NULL ? option_find(writer_string(&list_key)) : NULL;
    if (option != NULL) {
        entry.key = arena_text(l->arena, writer_slice(&list_key));
        if (*setting->value == '\0')
            entry.shape = SHAPE_EMPTY_LIST;
    }
    writer_free(&list_key);
    if (option != NULL && entry.shape == SHAPE_VALUE)
        parts_visit(setting->value, part_add, l, entry);
    else
        config_entries_add(&l->entries, entry);
}

static bool entries_gather(Loader *l, const ConfigSetting *settings, size_t count) {
    if (l->path != NULL) {
        Writer text = writer_new(CONFIG_FILE_BYTES_MAX);
        bool good = config_file_read(l->path, CONFIG_FILE_BYTES_MAX, &text, l->e);
        if (!good)
            fail_context(l->e, "the job file");
        good = good && config_yaml_parse(l->arena, l->path, writer_slice(&text), &l->entries, l->e);
        writer_free(&text);
        if (!good)
            return false;
    }
    for (size_t setting = 0; setting < count; setting++)
        setting_add(l, &settings[setting], (int)setting + 1);
    return true;
}

static void default_take(Loader *l, const ConfigEntry *part) {
    const Option *option = option_find(part->key);
    OptionValue value;
    bool parsed = option_parse(option, part->value, &value);
    assert(parsed);
    (void)parsed;
    value_store(l->cfg, option, part->key, &value);
}

static void defaults_store(Loader *l) {
    size_t count;
    const Option *table = options_table(&count);
    for (size_t option = 0; option < count; option++) {
        const Option *row = &table[option];
        bool wanted = row->stored && row->default_text != NULL && !row->computed;
        if (wanted && l->from[option] == NULL)
            parts_visit(row->default_text, default_take, l, (ConfigEntry){.key = row->key});
    }
}

static bool given(const Loader *l, const char *key) {
    size_t count;
    const Option *table = options_table(&count);
    return l->from[option_find(key) - table] != NULL;
}

static bool loader_run(Loader *l, const ConfigSetting *settings, size_t count, bool whole) {
    if (!entries_gather(l, settings, count))
        return false;
    for (size_t entry = 0; entry < l->entries.count; entry++) {
        if (!entry_apply(l, &l->entries.items[entry]))
            return false;
    }
    defaults_store(l);
    ConfigGiven known = {
        .whole = whole, .phases = given(l, "phases[]"), .retry_other = given(l, "retry.other")};
    if (config_resolve(l->cfg, &known, l->e))
        return true;
    return l->path == NULL ? false : fail_context(l->e, "%.200s", l->path);
}

static Config *load(const char *path, const ConfigSetting *settings, size_t count, bool whole, Error *e) {
    Config *cfg = memory_new(sizeof *cfg);
    Loader l = {.cfg = cfg, .path = path, .arena = arena_new(), .e = e};
    error_clear(e);
    bool good = loader_run(&l, settings, count, whole);
    config_entries_free(&l.entries);
    arena_free(l.arena);
    if (good)
        return cfg;
    config_free(cfg);
    return NULL;
}

Config *config_load(const char *path, const ConfigSetting *settings, size_t count, Error *e) {
    return load(path, settings, count, true, e);
}

Config *config_load_part(const char *path, const ConfigSetting *settings, size_t count, Error *e) {
    return load(path, settings, count, false, e);
}

static void secret_free(char *secret) {
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void texts_free(ConfigTexts *texts) {
    for (int at = 0; at < texts->count; at++)
        free(texts->items[at]);
    free(texts->items);
}

static void pairs_free(ConfigPairs *pairs) {
    for (int at = 0; at < pairs->count; at++) {
        free(pairs->items[at].key);
        free(pairs->items[at].value);
    }
    free(pairs->items);
}

static void kafka_free(Config *cfg) {
    for (int pair = 0; pair < cfg->kafka.config.count; pair++)
        explicit_bzero(cfg->kafka.config.items[pair].value, strlen(cfg->kafka.config.items[pair].value));
    pairs_free(&cfg->kafka.config);
    pairs_free(&cfg->kafka.topic_config);
    routes_free(&cfg->kafka.routes);
    free(cfg->kafka.brokers);
    free(cfg->kafka.prefix);
    free(cfg->kafka.control);
    secret_free(cfg->kafka.registry.url);
    secret_free(cfg->kafka.registry.user);
    secret_free(cfg->kafka.registry.password);
    free(cfg->kafka.registry.ca);
}

static void objects_free(Config *cfg) {
    texts_free(&cfg->objects.include);
    texts_free(&cfg->objects.exclude);
    pairs_free(&cfg->objects.rename.schemas);
    pairs_free(&cfg->objects.rename.tables);
    pairs_free(&cfg->objects.rename.columns);
    pairs_free(&cfg->objects.where);
    pairs_free(&cfg->objects.columns);
    pairs_free(&cfg->objects.table_dml);
    pairs_free(&cfg->objects.table_conflicts);
}

void config_free(Config *cfg) {
    if (cfg == NULL)
        return;
    objects_free(cfg);
    kafka_free(cfg);
    secret_free(cfg->source.dsn);
    secret_free(cfg->target.dsn);
    char *const texts[] = {cfg->name,
                           cfg->source.heartbeat_schema,
                           cfg->source.heartbeat_table,
                           cfg->source.publication,
                           cfg->target.state_schema,
                           cfg->schema.pg_dump,
                           cfg->spill.dir,
                           cfg->file.path,
                           cfg->slot,
                           cfg->load_slot,
                           cfg->insert_publication,
                           cfg->control_socket};
    for (size_t text = 0; text < sizeof texts / sizeof *texts; text++)
        free(texts[text]);
    free(cfg);
}

void config_visit(void (*visit)(void *context, const char *key, const char *type, const char *default_text,
                                const char *help, bool available),
                  void *context) {
    Writer type = writer_new(4096);
    size_t count;
    const Option *table = options_table(&count);
    for (const Option *option = table; option < table + count; option++) {
        writer_reset(&type);
        option_describe(option, &type);
        if (option->reach == OPTION_ONLY) {
            writer_text(&type, " (in this version: ");
            option_describe_available(option, &type);
            writer_text(&type, ")");
        }
        visit(context, option->key, writer_string(&type), option->default_text, option->help,
              option->reach != OPTION_LATER);
    }
    writer_free(&type);
}
