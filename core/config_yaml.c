#include "core/config_yaml.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "core/config_value.h"
#include "core/memory.h"

/* A key of one mapping, to find the ones that stand there twice. */
typedef struct SeenKey {
    int mapping; /* mappings are numbered as they begin */
    int line;
    const char *key;
} SeenKey;

typedef struct Yaml {
    yaml_parser_t parser;
    const char *name;
    Slice text;
    Arena *arena;
    ConfigEntries *out;
    Writer path; /* dotted key of the node at hand */
    SeenKey *seen;
    size_t seen_count, seen_capacity;
    int mappings;
    int items, item; /* of lists: how many there were, and the one at hand */
    Error *e;
} Yaml;

static bool node_read(Yaml *y, const yaml_event_t *event, int line, int depth);

static int event_line(const yaml_event_t *event) {
    return (int)event->start_mark.line + 1;
}

void config_entries_add(ConfigEntries *entries, ConfigEntry entry) {
    if (entries->count == entries->capacity) {
        entries->capacity = entries->capacity == 0 ? 64 : entries->capacity * 2;
        entries->items = memory_grow(entries->items, entries->capacity * sizeof *entries->items);
    }
    entries->items[entries->count++] = entry;
}

void config_entries_free(ConfigEntries *entries) {
    free(entries->items);
    *entries = (ConfigEntries){0};
}

static int line_at(Slice text, size_t offset) {
    int line = 1;
    for (size_t byte = 0; byte < offset && byte < text.len; byte++)
        line += text.at[byte] == '\n';
    return line;
}

static bool syntax_failed(Yaml *y) {
    const yaml_parser_t *parser = &y->parser;
    assert(parser->error != YAML_MEMORY_ERROR);
    int line = parser->error == YAML_READER_ERROR ? line_at(y->text, parser->problem_offset)
                                                  : (int)parser->problem_mark.line + 1;
    fail(y->e, ERR_CONFIG, "%s:%d: not valid YAML: %s", y->name, line, parser->problem);
    if (parser->context != NULL)
        fail_hint(y->e, "%s that begins in line %d", parser->context, (int)parser->context_mark.line + 1);
    return false;
}

static bool event_next(Yaml *y, yaml_event_t *event) {
    return yaml_parser_parse(&y->parser, event) == 1 || syntax_failed(y);
}

static bool entry_add(Yaml *y, const char *value, int line, ConfigShape shape) {
    if (y->out->count == CONFIG_ENTRIES_MAX)
        return fail(y->e, ERR_CONFIG, "%s:%d: more than %d values", y->name, line, CONFIG_ENTRIES_MAX);
    config_entries_add(y->out, (ConfigEntry){.key = arena_text(y->arena, writer_slice(&y->path)),
                                             .value = value,
                                             .line = line,
                                             .item = y->item,
                                             .shape = shape});
    return true;
}

static bool tag_allowed(Yaml *y, const yaml_char_t *tag, int line) {
    if (tag == NULL)
        return true;
    fail(y->e, ERR_CONFIG, "%s:%d: a YAML tag is not allowed", y->name, line);
    return fail_hint(y->e, "put a value that begins with \"!\" in quotes");
}

/* Copies a scalar into the arena; NULL and the error when it is none or holds a NUL. */
static const char *scalar_copy(Yaml *y, const yaml_event_t *event, int line) {
    Slice text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    if (!tag_allowed(y, event->data.scalar.tag, line))
        return NULL;
    if (text.len > 0 && memchr(text.at, 0, text.len) != NULL) {
        fail(y->e, ERR_CONFIG, "%s:%d: a NUL character is not allowed", y->name, line);
        return NULL;
    }
    return arena_text(y->arena, text);
}

static bool scalar_read(Yaml *y, const yaml_event_t *event, int line) {
    const char *value = scalar_copy(y, event, line);
    if (value == NULL)
        return false;
    bool nothing = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                   (*value == '\0' || strcmp(value, "~") == 0 || strcmp(value, "null") == 0);
    return entry_add(y, nothing ? "" : value, line, nothing ? SHAPE_NOTHING : SHAPE_VALUE);
}

static bool path_extend(Yaml *y, const char *separator, const char *part, int line) {
    if (y->path.len > 0)
        writer_text(&y->path, separator);
    writer_text(&y->path, part);
    if (y->path.full)
        return fail(y->e, ERR_CONFIG, "%s:%d: the key is longer than %d bytes", y->name, line,
                    CONFIG_KEY_BYTES_MAX);
    return true;
}

static bool sequence_read(Yaml *y, int line, int depth) {
    size_t path_length = y->path.len;
    int around = y->item;
    bool good = path_extend(y, "", "[]", line);
    for (int items = 0; good; items++) {
        yaml_event_t event;
        if (!event_next(y, &event))
            return false;
        bool ends = event.type == YAML_SEQUENCE_END_EVENT;
        y->item = ends ? around : ++y->items;
        if (!ends)
            good = node_read(y, &event, event_line(&event), depth + 1);
        else if (items == 0)
            good = entry_add(y, "", line, SHAPE_EMPTY_LIST);
        yaml_event_delete(&event);
        if (ends)
            break;
    }
    y->path.len = path_length;
    return good;
}

static void key_remember(Yaml *y, int mapping, const char *key, int line) {
    if (y->seen_count == y->seen_capacity) {
        y->seen_capacity = y->seen_capacity == 0 ? 64 : y->seen_capacity * 2;
        y->seen = memory_grow(y->seen, y->seen_capacity * sizeof *y->seen);
    }
    y->seen[y->seen_count++] = (SeenKey){.mapping = mapping, .line = line, .key = key};
}

/* Reads the value of the key that `event` is. */
static bool pair_read(Yaml *y, const yaml_event_t *event, int mapping, int depth) {
    int line = event_line(event);
    if (event->type == YAML_ALIAS_EVENT)
        return node_read(y, event, line, depth);
    if (event->type != YAML_SCALAR_EVENT)
        return fail(y->e, ERR_CONFIG, "%s:%d: a key must be a single word", y->name, line);
    const char *key = scalar_copy(y, event, line);
    if (key == NULL)
        return false;
    if (*key == '\0')
        return fail(y->e, ERR_CONFIG, "%s:%d: a key is empty", y->name, line);
    key_remember(y, mapping, key, line);

    size_t path_length = y->path.len;
    yaml_event_t value;
    if (!path_extend(y, ".", key, line) || !event_next(y, &value))
        return false;
    bool good = node_read(y, &value, line, depth + 1);
    yaml_event_delete(&value);
    y->path.len = path_length;
    return good;
}

static bool mapping_read(Yaml *y, int line, int depth) {
    int mapping = y->mappings++;
    bool good = true;
    for (int pairs = 0; good; pairs++) {
        yaml_event_t event;
        if (!event_next(y, &event))
            return false;
        bool ends = event.type == YAML_MAPPING_END_EVENT;
        if (!ends)
            good = pair_read(y, &event, mapping, depth);
        else if (pairs == 0)
            good = entry_add(y, "", line, SHAPE_EMPTY_MAPPING);
        yaml_event_delete(&event);
        if (ends)
            break;
    }
    return good;
}

static bool node_read(Yaml *y, const yaml_event_t *event, int line, int depth) {
    if (depth > CONFIG_DEPTH_MAX)
        return fail(y->e, ERR_CONFIG, "%s:%d: nested deeper than %d levels", y->name, line, CONFIG_DEPTH_MAX);
    switch (event->type) {
    case YAML_SCALAR_EVENT: return scalar_read(y, event, line);
    case YAML_SEQUENCE_START_EVENT:
        return tag_allowed(y, event->data.sequence_start.tag, line) && sequence_read(y, line, depth);
    case YAML_MAPPING_START_EVENT:
        return tag_allowed(y, event->data.mapping_start.tag, line) && mapping_read(y, line, depth);
    default:
        fail(y->e, ERR_CONFIG, "%s:%d: a YAML alias is not allowed", y->name, line);
        return fail_hint(y->e, "write the value out, or put it in quotes if it begins with \"*\"");
    }
}

static bool document_read(Yaml *y) {
    bool good = true, done = false;
    for (int documents = 0; good && !done;) {
        yaml_event_t event;
        if (!event_next(y, &event))
            return false;
        int line = event_line(&event);
        if (event.type == YAML_STREAM_END_EVENT) {
            done = true;
            if (documents == 0)
                good = fail(y->e, ERR_CONFIG, "%s: the job file is empty", y->name);
        } else if (event.type == YAML_DOCUMENT_START_EVENT) {
            if (documents++ > 0)
                good = fail(y->e, ERR_CONFIG, "%s:%d: a second YAML document begins", y->name, line);
        } else if (event.type == YAML_MAPPING_START_EVENT) {
            good = node_read(y, &event, line, 1);
        } else if (event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_END_EVENT) {
            good = fail(y->e, ERR_CONFIG, "%s:%d: the job file must consist of keys such as \"source:\"",
                        y->name, line);
        }
        yaml_event_delete(&event);
    }
    return good;
}

static int seen_compare(const void *left, const void *right) {
    const SeenKey *a = left, *b = right;
    if (a->mapping != b->mapping)
        return a->mapping < b->mapping ? -1 : 1;
    int order = strcmp(a->key, b->key);
    return order != 0 ? order : (a->line > b->line) - (a->line < b->line);
}

static bool keys_unique(Yaml *y) {
    if (y->seen_count == 0)
        return true;
    qsort(y->seen, y->seen_count, sizeof *y->seen, seen_compare);
    for (size_t key = 1; key < y->seen_count; key++) {
        const SeenKey *first = &y->seen[key - 1], *second = &y->seen[key];
        char shown[80];
        if (first->mapping == second->mapping && strcmp(first->key, second->key) == 0)
            return fail(y->e, ERR_CONFIG, "%s:%d: the key \"%s\" stands here a second time, first in line %d",
                        y->name, second->line, config_shown(shown, sizeof shown, second->key), first->line);
    }
    return true;
}

static bool text_allowed(Yaml *y) {
    if (y->text.len > CONFIG_FILE_BYTES_MAX)
        return fail(y->e, ERR_CONFIG, "%s: the job file is larger than 1MiB", y->name);
    const char *nul = y->text.len == 0 ? NULL : memchr(y->text.at, 0, y->text.len);
    if (nul != NULL)
        return fail(y->e, ERR_CONFIG, "%s:%d: a NUL character is not allowed", y->name,
                    line_at(y->text, (size_t)(nul - y->text.at)));
    if (!config_utf8_valid(y->text))
        return fail(y->e, ERR_CONFIG, "%s: the job file is not UTF-8", y->name);
    return true;
}

bool config_yaml_parse(Arena *arena, const char *name, Slice text, ConfigEntries *out, Error *e) {
    bool marked = text.len >= 3 && memcmp(text.at, "\xEF\xBB\xBF", 3) == 0; /* a byte order mark */
    if (marked)
        text = (Slice){text.at + 3, text.len - 3};
    Yaml y = {.name = name, .text = text, .arena = arena, .out = out, .e = e};
    *out = (ConfigEntries){0};
    if (!text_allowed(&y))
        return false;
    int made = yaml_parser_initialize(&y.parser);
    assert(made == 1);
    (void)made;
    const char *input = text.at == NULL ? "" : text.at;
    yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&y.parser, (const unsigned char *)input, text.len);
    y.path = writer_new(CONFIG_KEY_BYTES_MAX);
    bool good = document_read(&y) && keys_unique(&y);
    writer_free(&y.path);
    free(y.seen);
    yaml_parser_delete(&y.parser);
    return good;
}
