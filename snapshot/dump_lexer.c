#include "snapshot/dump_lexer.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

bool dump_at_mark(const char *at) {
    return strncmp(at, DUMP_HEADER, strlen(DUMP_HEADER)) == 0 || strncmp(at, DUMP_END, strlen(DUMP_END)) == 0;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* From behind the opening quote to behind the closing one. A doubled quote reads as an end and a new
 * beginning, which comes to the same. */
static const char *skip_quoted(const char *at, char quote, bool backslashes) {
    while (*at != '\0' && *at != quote)
        at += backslashes && at[0] == '\\' && at[1] != '\0' ? 2 : 1;
    return *at == '\0' ? NULL : at + 1;
}

/* At a '$': behind the dollar-quoted text that begins here, or behind the '$' when none does. */
static const char *skip_dollar(const char *at) {
    const char *end = at + 1;
    while (is_word(*end))
        end++;
    if (*end != '$' || isdigit((unsigned char)at[1]))
        return at + 1;
    size_t tag_len = (size_t)(end + 1 - at);
    for (const char *close = strchr(end + 1, '$'); close != NULL; close = strchr(close + 1, '$'))
        if (strncmp(close, at, tag_len) == 0)
            return close + tag_len;
    return NULL;
}

/* E'…' and e'…': the letter stands alone before the quote. */
static bool takes_backslashes(const char *start, const char *quote) {
    if (quote == start || (quote[-1] != 'E' && quote[-1] != 'e'))
        return false;
    return quote - 1 == start || !is_word(quote[-2]);
}

/* Behind what begins at `at`: a comment, a quoted text, or one character. NULL: a quote has no end. */
static const char *skip_one(const char *start, const char *at) {
    if (at[0] == '-' && at[1] == '-')
        return at + strcspn(at, "\n");
    if (*at == '\'')
        return skip_quoted(at + 1, '\'', takes_backslashes(start, at));
    if (*at == '"')
        return skip_quoted(at + 1, '"', false);
    if (*at == '$' && (at == start || !is_word(at[-1])))
        return skip_dollar(at);
    return at + 1;
}

const char *dump_next_mark(const char *start) {
    for (const char *at = start; at != NULL && *at != '\0'; at = skip_one(start, at))
        if ((at == start || at[-1] == '\n') && dump_at_mark(at))
            return at;
    return NULL;
}

const char *dump_find(const char *start, const char *end, const char *text) {
    size_t len = strlen(text);
    for (const char *at = start; at != NULL && *at != '\0' && (end == NULL || at < end);
         at = skip_one(start, at))
        if (strncmp(at, text, len) == 0)
            return at;
    return NULL;
}
