#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/config.h"
#include "core/options.h"

static const char LIST_END[] = "[]";

static bool text_ends(const char *text, size_t length, const char *end) {
    size_t end_length = strlen(end);
    return length >= end_length && memcmp(text + length - end_length, end, end_length) == 0;
}

static int dots_count(const char *text, size_t length) {
    int dots = 0;
    for (size_t byte = 0; byte < length; byte++)
        dots += text[byte] == '.';
    return dots;
}

bool option_is_list(const Option *option) {
    return text_ends(option->key, strlen(option->key), LIST_END);
}

bool option_is_of_list(const Option *option) {
    return strstr(option->key, "[].") != NULL;
}

/* A pattern with free keys: what stands before the first "*", what stands behind the last, and how many there
 * are. */
typedef struct Pattern {
    const char *suffix;
    size_t prefix_length, suffix_length;
    int stars;
} Pattern;

static Pattern pattern_of(const char *key) {
    const char *first = strchr(key, '*'), *last = strrchr(key, '*');
    assert(first != NULL);
    return (Pattern){.suffix = last + 1,
                     .prefix_length = (size_t)(first - key),
                     .suffix_length = strlen(last + 1),
                     .stars = dots_count(first, (size_t)(last - first)) + 1};
}

/* Free keys may hold dots themselves ("sales.orders"), so "*" stands for any text with enough parts. */
static bool pattern_matches(const char *pattern, const char *key) {
    Pattern p = pattern_of(pattern);
    size_t length = strlen(key);
    if (length <= p.prefix_length + p.suffix_length || strncmp(key, pattern, p.prefix_length) != 0 ||
        !text_ends(key, length, p.suffix))
        return false;
    const char *free_part = key + p.prefix_length;
    size_t free_length = length - p.prefix_length - p.suffix_length;
    return free_part[0] != '.' && free_part[free_length - 1] != '.' &&
           !text_ends(free_part, free_length, LIST_END) && dots_count(free_part, free_length) >= p.stars - 1;
}

bool option_free_part(const Option *option, const char *key, Slice *out) {
    if (strchr(option->key, '*') == NULL)
        return false;
    Pattern p = pattern_of(option->key);
    *out = (Slice){key + p.prefix_length, strlen(key) - p.prefix_length - p.suffix_length};
    return true;
}

const Option *option_find(const char *key) {
    size_t count;
    const Option *table = options_table(&count);
    for (const Option *option = table; option < table + count; option++) {
        bool matches = strchr(option->key, '*') == NULL ? strcmp(option->key, key) == 0
                                                        : pattern_matches(option->key, key);
        if (matches)
            return option;
    }
    return NULL;
}

bool option_section(const char *key) {
    size_t count, length = strlen(key);
    const Option *table = options_table(&count);
    for (const Option *option = table; option < table + count; option++) {
        if (strncmp(option->key, key, length) == 0 && option->key[length] == '.')
            return true;
    }
    return false;
}

bool option_section_free(const char *key) {
    size_t count;
    const Option *table = options_table(&count);
    for (const Option *option = table; option < table + count; option++) {
        const char *star = strchr(option->key, '*');
        if (star != NULL && star[1] != '\0' && strncmp(option->key, key, (size_t)(star - option->key)) == 0)
            return true;
    }
    return false;
}

/* Writes the option's key without "[]" and with the free keys of `key`, as far as its parts allow that. */
static void candidate_write(const Option *option, const char *key, size_t length, Writer *w) {
    const char *name = option->key;
    size_t name_length = strlen(name) - (option_is_list(option) ? strlen(LIST_END) : 0);
    const char *star = strchr(name, '*');
    size_t begin = 0, end = length;
    if (star != NULL) {
        Pattern p = pattern_of(name);
        for (int dots = dots_count(name, p.prefix_length); dots > 0 && begin < length; begin++)
            dots -= key[begin] == '.';
        for (int dots = dots_count(p.suffix, p.suffix_length); dots > 0 && end > 0; end--)
            dots -= key[end - 1] == '.';
    }
    if (star == NULL || begin >= end) {
        writer_bytes(w, (Slice){name, name_length});
        return;
    }
    const char *last = strrchr(name, '*') + 1;
    writer_bytes(w, (Slice){name, (size_t)(star - name)});
    writer_bytes(w, (Slice){key + begin, end - begin});
    writer_bytes(w, (Slice){last, (size_t)(name + name_length - last)});
}

bool option_nearest(const char *key, char *out, size_t size) {
    enum { WORD_BYTES = 256, CANDIDATE_BYTES = WORD_BYTES + 128 };
    size_t count, length = strlen(key);
    const Option *table = options_table(&count);
    Writer text = writer_new(OPTIONS_MAX * CANDIDATE_BYTES);
    size_t offsets[OPTIONS_MAX];
    const char *names[OPTIONS_MAX];
    char word[WORD_BYTES];
    length -= text_ends(key, length, LIST_END) ? strlen(LIST_END) : 0;
    if (length >= sizeof word)
        return false;
    memcpy(word, key, length);
    word[length] = '\0';
    for (size_t option = 0; option < count; option++) {
        offsets[option] = text.len;
        candidate_write(&table[option], word, length, &text);
        writer_u8(&text, 0);
    }
    assert(!text.full);
    for (size_t option = 0; option < count; option++)
        names[option] = text.at + offsets[option];
    const char *nearest = config_nearest(word, names, count);
    if (nearest != NULL)
        snprintf(out, size, "%s", nearest);
    writer_free(&text);
    return nearest != NULL;
}

static bool all_later(const char *key, size_t length) {
    size_t count;
    const Option *table = options_table(&count);
    for (const Option *option = table; option < table + count; option++) {
        if (strncmp(option->key, key, length) == 0 && option->reach != OPTION_LATER)
            return false;
    }
    return true;
}

void option_feature(const Option *option, Writer *w) {
    const char *key = option->key;
    size_t length = strlen(key) - (option_is_list(option) ? strlen(LIST_END) : 0);
    const char *dot = strchr(key, '.');
    const char *second = dot == NULL ? NULL : strchr(dot + 1, '.');
    if (second != NULL && all_later(key, (size_t)(second - key) + 1))
        length = (size_t)(second - key);
    writer_bytes(w, (Slice){key, length});
}
