/* Defaults of columns, as pg_get_expr() prints them: 7, '-7'::integer, 'it''s'::text, true, B'101'::"bit", now(). */
#include <ctype.h>
#include <string.h>

#include "proto/kind.h"

/* What Debezium says of a column whose default a function gives. */
static const char *zero_text(const Kind *kind) {
    switch (kind->form) {
    case FORM_BOOLEAN: return "f";
    case FORM_BIT:
    case FORM_BITS:
    case FORM_INTEGER:
    case FORM_FLOAT:
    case FORM_DECIMAL: return "0";
    case FORM_TEXT:
        if (kind->name == NULL || strcmp(kind->name, "io.debezium.data.Xml") == 0)
            return "";
        if (strcmp(kind->name, "io.debezium.data.Json") == 0)
            return "{}";
        if (strcmp(kind->name, "io.debezium.data.Uuid") == 0)
            return "00000000-0000-0000-0000-000000000000";
        return NULL;
    case FORM_DATE: return "1970-01-01";
    case FORM_TIME: return "00:00:00";
    case FORM_TIMESTAMP: return "1970-01-01 00:00:00";
    case FORM_TIMESTAMPTZ: return "1970-01-01 00:00:00+00";
    case FORM_INTERVAL: return "00:00:00";
    default: return NULL;
    }
}

/* Structs cannot be defaults in Connect (KAFKA-12694); of arrays, bytes and others Debezium says none. */
static bool has_defaults(const Kind *kind) {
    return zero_text(kind) != NULL || (kind->form == FORM_TEXT && kind->parameter_count > 0);
}

static bool is_word(const char *at, size_t length, const char *word) {
    return strlen(word) == length && strncasecmp(at, word, length) == 0;
}

/* Begins with name(...), schema.name(...), or one of the words that are functions. */
static bool is_function(const char *at) {
    static const char *const words[] = {"CURRENT_TIMESTAMP", "CURRENT_TIME", "CURRENT_DATE", "LOCALTIME",
                                        "LOCALTIMESTAMP"};
    at += *at == '(';
    size_t length = 0;
    while (isalnum((unsigned char)at[length]) || at[length] == '_' || at[length] == '.')
        length++;
    for (size_t word = 0; word < sizeof words / sizeof *words; word++)
        if (is_word(at, length, words[word]))
            return true;
    return length > 0 && at[length] == '(';
}

/* What follows a constant: nothing, or casts to a type, whose name has no operators in it. */
static bool is_cast(const char *at) {
    if (*at == '\0')
        return true;
    return strncmp(at, "::", 2) == 0 && strpbrk(at, "+-*/|'") == NULL;
}

/* A quoted constant; NULL: more than that. */
static const char *quoted(Arena *arena, const char *at) {
    Writer text = writer_new(SIZE_MAX);
    const char *out = NULL;
    for (at++; *at != '\0'; at++) {
        if (*at == '\'' && at[1] != '\'')
            break;
        at += *at == '\'';
        writer_u8(&text, (uint8_t)*at);
    }
    if (*at == '\'' && is_cast(at + 1))
        out = arena_text(arena, writer_slice(&text));
    writer_free(&text);
    return out;
}

static const char *number(Arena *arena, const char *at) {
    bool parenthesis = *at == '(';
    at += parenthesis;
    size_t length = *at == '-';
    if (!isdigit((unsigned char)at[length]))
        return NULL;
    while (isdigit((unsigned char)at[length]) || at[length] == '.')
        length++;
    const char *rest = at + length;
    if (parenthesis && *rest++ != ')')
        return NULL;
    return is_cast(rest) ? arena_text(arena, (Slice){at, length}) : NULL;
}

const char *kind_default(Arena *arena, const Kind *kind, const char *expression) {
    const char *at = expression + strspn(expression, " ");
    if (!has_defaults(kind))
        return NULL;
    if (is_function(at))
        return zero_text(kind);
    if ((at[0] == 'B' || at[0] == 'E') && at[1] == '\'')
        return at[0] == 'B' ? quoted(arena, at + 1) : NULL; /* E'...' has escapes of its own */
    if (*at == '\'')
        return quoted(arena, at);
    size_t word = strcspn(at, ":");
    if (kind->form == FORM_BOOLEAN && is_word(at, word, "true"))
        return "t";
    if (kind->form == FORM_BOOLEAN && is_word(at, word, "false"))
        return "f";
    return number(arena, at);
}
