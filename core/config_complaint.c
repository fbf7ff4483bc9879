#include "core/config_complaint.h"

#include <stdio.h>
#include <string.h>

#include "core/config.h"
#include "core/config_value.h"

enum { PLACE_SIZE = 256, KEY_SIZE = 100, SHOWN_SIZE = 80, CHOICES_MAX = 16, CHOICE_SIZE = 32 };

static const char LIST_END[] = "[]";

static bool entry_is_list(const ConfigEntry *entry) {
    size_t length = strlen(entry->key), end = strlen(LIST_END);
    return length > end && strcmp(entry->key + length - end, LIST_END) == 0;
}

static const char *entry_key(const ConfigEntry *entry, char out[KEY_SIZE]) {
    config_shown(out, KEY_SIZE, entry->key);
    size_t length = strlen(out), end = strlen(LIST_END);
    if (length > end && strcmp(out + length - end, LIST_END) == 0)
        out[length - end] = '\0';
    return out;
}

/* "job.yaml:7" or "--set source.dsn". */
static const char *entry_place(const char *path, const ConfigEntry *entry, char out[PLACE_SIZE]) {
    char key[KEY_SIZE];
    if (entry->setting > 0)
        snprintf(out, PLACE_SIZE, "--set %s", entry_key(entry, key));
    else
        snprintf(out, PLACE_SIZE, "%.200s:%d", path, entry->line);
    return out;
}

bool complaint_about(const char *path, const ConfigEntry *entry, const char *sentence, Error *e) {
    char place[PLACE_SIZE], key[KEY_SIZE];
    return fail(e, ERR_CONFIG, "%s: \"%s\" %s", entry_place(path, entry, place), entry_key(entry, key),
                sentence);
}

bool complaint_context(const char *path, const ConfigEntry *entry, Error *e) {
    char place[PLACE_SIZE], key[KEY_SIZE];
    return fail_context(e, "%s: \"%s\"", entry_place(path, entry, place), entry_key(entry, key));
}

/* One value where a list belongs, or a list where one value belongs. */
static bool shape_differs(const ConfigEntry *entry) {
    bool is_list = entry_is_list(entry);
    Writer other = writer_new(CONFIG_FILE_BYTES_MAX);
    writer_bytes(&other, (Slice){entry->key, strlen(entry->key) - (is_list ? strlen(LIST_END) : 0)});
    writer_text(&other, is_list ? "" : LIST_END);
    bool found = option_find(writer_string(&other)) != NULL;
    writer_free(&other);
    return found;
}

bool complaint_key(const char *path, const ConfigEntry *entry, Error *e) {
    char place[PLACE_SIZE], key[KEY_SIZE], nearest[sizeof e->hint - 20];
    if (shape_differs(entry))
        return complaint_about(
            path, entry,
            entry_is_list(entry) ? "takes one value, not a list" : "takes a list, such as [a, b]", e);
    if (option_section(entry->key))
        return complaint_about(path, entry, "takes keys below it, not a value", e);
    fail(e, ERR_CONFIG, "%s: unknown key \"%s\"", entry_place(path, entry, place), entry_key(entry, key));
    if (option_nearest(entry->key, nearest, sizeof nearest))
        fail_hint(e, "did you mean \"%s\"?", nearest);
    return false;
}

static void choice_hint(const Option *option, const char *text, Error *e) {
    char copies[CHOICES_MAX][CHOICE_SIZE];
    const char *words[CHOICES_MAX];
    size_t count = 0;
    Slice word;
    for (; count < CHOICES_MAX && option_choice(option->choices, (int)count, &word); count++) {
        snprintf(copies[count], CHOICE_SIZE, "%.*s", (int)word.len, word.at);
        words[count] = copies[count];
    }
    const char *nearest = config_nearest(text, words, count);
    if (nearest != NULL)
        fail_hint(e, "did you mean \"%s\"?", nearest);
}

bool complaint_value(const char *path, const ConfigEntry *entry, const Option *option, Error *e) {
    char shown[SHOWN_SIZE];
    Writer sentence = writer_new(sizeof e->text);
    writer_text(&sentence, "must be ");
    option_describe(option, &sentence);
    if (!option->secret)
        writer_format(&sentence, ", not \"%s\"", config_shown(shown, sizeof shown, entry->value));
    complaint_about(path, entry, writer_string(&sentence), e);
    writer_free(&sentence);
    if (option->type == OPTION_DURATION)
        fail_hint(e, "the units of a duration are ms, s, min, h and d");
    if (option->type == OPTION_SIZE)
        fail_hint(e, "the units of a size are B, KiB, MiB, GiB and TiB");
    if (option->type == OPTION_CHOICE)
        choice_hint(option, entry->value, e);
    return false;
}

bool complaint_version(const char *path, const ConfigEntry *entry, const Option *option, Error *e) {
    char place[PLACE_SIZE], shown[SHOWN_SIZE];
    Writer what = writer_new(sizeof e->text), values = writer_new(sizeof e->hint);
    bool some = option_describe_available(option, &values);
    if (some)
        writer_text(&what, option->key);
    else
        option_feature(option, &what);
    if (some && !option->secret)
        writer_format(&what, ": %s", config_shown(shown, sizeof shown, entry->value));
    fail(e, ERR_CONFIG, "%s: \"%s\" is not available yet in this version", entry_place(path, entry, place),
         writer_string(&what));
    if (some)
        fail_hint(e, "this version takes: %s", writer_string(&values));
    writer_free(&what);
    writer_free(&values);
    return false;
}
