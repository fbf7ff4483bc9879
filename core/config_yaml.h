/* config_yaml: a job file's text as a flat list of (dotted key, value, line), in the file's order. Knows
 * YAML, not the options. A list's items have the key "phases[]"; keys below an item are
 * "kafka.topics.route[].match". Refused: aliases, tags, several documents, a key twice in one mapping, NUL,
 * what is not UTF-8, and what is beyond the limits. */
#ifndef WALFERRY_CORE_CONFIG_YAML_H
#define WALFERRY_CORE_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "core/arena.h"
#include "core/error.h"

enum {
    CONFIG_FILE_BYTES_MAX = 1024 * 1024,
    CONFIG_DEPTH_MAX = 16,
    CONFIG_KEY_BYTES_MAX = 1000,
    CONFIG_ENTRIES_MAX = 100000
};

typedef enum ConfigShape {
    SHAPE_VALUE,
    SHAPE_NOTHING, /* a key with no value, ~ or null */
    SHAPE_EMPTY_LIST,
    SHAPE_EMPTY_MAPPING
} ConfigShape;

typedef struct ConfigEntry {
    const char *key;
    const char *value; /* NUL-terminated; "" for every shape but SHAPE_VALUE */
    int line;          /* from 1 */
    int setting;       /* 0: from the file; n: from the nth flag */
    int item;          /* the innermost item of a list that it is in, counted in the file; 0: none */
    ConfigShape shape;
} ConfigEntry;

typedef struct ConfigEntries {
    ConfigEntry *items;
    size_t count, capacity;
} ConfigEntries;

/* Keys and values live in the arena; the array is freed by config_entries_free, also after a failure.
 * `name` begins the error messages: "job.yaml:7: …". */
bool config_yaml_parse(Arena *arena, const char *name, Slice text, ConfigEntries *out, Error *e);
void config_entries_add(ConfigEntries *entries, ConfigEntry entry);
void config_entries_free(ConfigEntries *entries);

#endif
