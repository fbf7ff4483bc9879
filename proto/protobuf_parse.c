#include "proto/protobuf_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32, NUMBER_MAX = 536870911, WHY_BYTES = 200 };

typedef enum TokenKind { TOKEN_END, TOKEN_WORD, TOKEN_TEXT, TOKEN_SIGN } TokenKind;

/* A message or an enum by its name. */
typedef struct Named {
    const char *full;
    ProtobufMessage *message; /* NULL: an enum */
    const ProtobufSymbol *symbols;
    struct Named *next;
} Named;

typedef struct Parser {
    Arena *arena;
    const char *at, *end;
    int line, depth;
    TokenKind kind;
    Slice token;       /* of a text what is between its quotes */
    bool all_implicit; /* proto3: what has no label */
    const char *package;
    Named *named;
    ErrorKind failed;
    char why[WHY_BYTES];
} Parser;

/* ---- tokens ---- */

/* Always false. The first reason counts. */
static bool wrong(Parser *p, const char *why) {
    if (p->failed != ERR_NONE)
        return false;
    p->failed = ERR_DATA;
    snprintf(p->why, sizeof p->why, "%s in line %d", why, p->line);
    return false;
}

static bool is_word_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           memchr("_.+-", c, 4) != NULL;
}

static bool at_text(const Parser *p, const char *text) {
    size_t length = strlen(text);
    return (size_t)(p->end - p->at) >= length && memcmp(p->at, text, length) == 0;
}

static void step(Parser *p) {
    p->line += *p->at == '\n';
    p->at++;
}

static void blanks_skip(Parser *p) {
    for (;;) {
        if (at_text(p, "//")) {
            while (p->at < p->end && *p->at != '\n')
                p->at++;
        } else if (at_text(p, "/*")) {
            while (p->at < p->end && !at_text(p, "*/"))
                step(p);
            p->at += p->at < p->end ? 2 : 0;
        } else if (p->at < p->end && memchr(" \t\r\n\f\v", *p->at, 6) != NULL)
            step(p);
        else
            return;
    }
}

static void text_take(Parser *p) {
    char quote = *p->at++;
    p->kind = TOKEN_TEXT;
    p->token.at = p->at;
    while (p->at < p->end && *p->at != quote) {
        if (*p->at == '\\')
            p->at++;
        if (p->at < p->end)
            step(p);
    }
    p->token.len = (size_t)(p->at - p->token.at);
    if (p->at < p->end)
        p->at++;
    else
        wrong(p, "a text without an end");
}

static void next(Parser *p) {
    blanks_skip(p);
    p->token = (Slice){p->at, 1};
    if (p->at >= p->end) {
        p->kind = TOKEN_END;
        p->token.len = 0;
    } else if (*p->at == '"' || *p->at == '\'') {
        text_take(p);
    } else if (is_word_character(*p->at)) {
        p->kind = TOKEN_WORD;
        while (p->at < p->end && is_word_character(*p->at))
            p->at++;
        p->token.len = (size_t)(p->at - p->token.at);
    } else {
        p->kind = TOKEN_SIGN;
        p->at++;
    }
}

static bool is_sign(const Parser *p, char sign) {
    return p->kind == TOKEN_SIGN && *p->token.at == sign;
}

static bool is_word(const Parser *p, const char *word) {
    return p->kind == TOKEN_WORD && slice_is(p->token, word);
}

static bool is_well(const Parser *p) {
    return p->failed == ERR_NONE;
}

static bool sign_take(Parser *p, char sign) {
    char why[] = "a \"?\" is missing";
    why[3] = sign;
    if (!is_sign(p, sign))
        return wrong(p, why);
    next(p);
    return is_well(p);
}

/* NULL: there is none. */
static const char *word_take(Parser *p) {
    const char *out = p->kind == TOKEN_WORD ? arena_text(p->arena, p->token) : NULL;
    if (out == NULL)
        wrong(p, "a name is missing");
    next(p);
    return out;
}

static bool word_skip(Parser *p, const char *word) {
    bool there = is_word(p, word);
    if (there)
        next(p);
    return there;
}

/* Up to the sign that ends it, which is taken, too, with all that is in brackets before. */
static bool skip_to(Parser *p, char sign) {
    for (int depth = 0; p->kind != TOKEN_END && is_well(p); next(p)) {
        if (is_sign(p, sign) && depth == (sign == '}' ? 1 : 0)) {
            next(p);
            return true;
        }
        depth += is_sign(p, '{') || is_sign(p, '[');
        depth -= (is_sign(p, '}') || is_sign(p, ']')) && depth > 0;
    }
    return wrong(p, "the end is missing");
}

/* ---- fields ---- */

static const char *name_in(Parser *p, const char *scope, const char *name) {
    Writer full = writer_new(SIZE_MAX);
    writer_format(&full, "%s%s%s", scope, *scope == '\0' ? "" : ".", name);
    const char *out = arena_text(p->arena, writer_slice(&full));
    writer_free(&full);
    return out;
}

static ProtobufField *field_add(Parser *p, ProtobufMessage *message) {
    if (message->field_count == message->field_room) {
        int room = message->field_room == 0 ? 8 : 2 * message->field_room;
        ProtobufField *fields = arena_alloc(p->arena, (size_t)room * sizeof *fields);
        if (message->field_count > 0)
            memcpy(fields, message->fields, (size_t)message->field_count * sizeof *fields);
        message->fields = fields;
        message->field_room = room;
    }
    return &message->fields[message->field_count++];
}

static long number_take(Parser *p, long least, long most) {
    const char *text = word_take(p);
    char *end = NULL;
    long number = text == NULL ? 0 : strtol(text, &end, 0);
    if (text != NULL && (*end != '\0' || number < least || number > most))
        wrong(p, "not a number");
    return number;
}

/* Behind the type. */
static bool field_end(Parser *p, ProtobufField *field) {
    field->name = word_take(p);
    if (!sign_take(p, '='))
        return false;
    field->number = (uint32_t)number_take(p, 1, NUMBER_MAX);
    if (is_sign(p, '[')) {
        next(p);
        if (!skip_to(p, ']'))
            return false;
    }
    return sign_take(p, ';');
}

static bool map_parse(Parser *p, ProtobufMessage *message) {
    ProtobufMessage *entry = arena_alloc(p->arena, sizeof *entry);
    ProtobufField *key = field_add(p, entry), *value = field_add(p, entry), *field = field_add(p, message);
    entry->full = message->full;
    next(p);
    *key = (ProtobufField){.name = "key", .number = 1, .implicit = true, .type_name = word_take(p)};
    if (!sign_take(p, ','))
        return false;
    *value = (ProtobufField){.name = "value", .number = 2, .implicit = true, .type_name = word_take(p)};
    *field = (ProtobufField){.type = PROTOBUF_MESSAGE, .message = entry, .repeated = true, .map = true};
    return sign_take(p, '>') && field_end(p, field);
}

static bool field_parse(Parser *p, ProtobufMessage *message, bool one_of) {
    bool repeated = word_skip(p, "repeated");
    bool labelled = !repeated && (word_skip(p, "optional") || word_skip(p, "required"));
    const char *type = word_take(p);
    if (type != NULL && strcmp(type, "map") == 0 && is_sign(p, '<'))
        return map_parse(p, message);
    if (type != NULL && strcmp(type, "group") == 0)
        return wrong(p, "a group, which is not read,");
    ProtobufField *field = field_add(p, message);
    *field = (ProtobufField){.type_name = type, .repeated = repeated};
    field->implicit = p->all_implicit && !labelled && !one_of;
    return field_end(p, field);
}

static bool one_of_parse(Parser *p, ProtobufMessage *message) {
    word_take(p);
    if (!sign_take(p, '{'))
        return false;
    while (!is_sign(p, '}') && p->kind != TOKEN_END)
        if (word_skip(p, "option") ? !skip_to(p, ';') : !field_parse(p, message, true))
            return false;
    return sign_take(p, '}');
}

/* ---- messages and enums ---- */

static Named *named_add(Parser *p, const char *full) {
    Named *named = arena_alloc(p->arena, sizeof *named);
    *named = (Named){.full = full, .next = p->named};
    p->named = named;
    return named;
}

static bool symbol_parse(Parser *p, const ProtobufSymbol ***last) {
    ProtobufSymbol *symbol = arena_alloc(p->arena, sizeof *symbol);
    symbol->name = word_take(p);
    if (!sign_take(p, '='))
        return false;
    symbol->number = (int32_t)number_take(p, INT32_MIN, INT32_MAX);
    **last = symbol;
    *last = &symbol->next;
    if (!is_sign(p, '['))
        return sign_take(p, ';');
    next(p);
    return skip_to(p, ']') && sign_take(p, ';');
}

static bool enum_parse(Parser *p, const char *scope) {
    const char *name = word_take(p);
    const ProtobufSymbol *first = NULL, **last = &first;
    if (name == NULL || !sign_take(p, '{'))
        return false;
    while (!is_sign(p, '}') && p->kind != TOKEN_END) {
        if (is_sign(p, ';'))
            next(p);
        else if (word_skip(p, "option") || word_skip(p, "reserved") ? !skip_to(p, ';')
                                                                    : !symbol_parse(p, &last))
            return false;
    }
    named_add(p, name_in(p, scope, name))->symbols = first;
    return sign_take(p, '}') && (first != NULL || wrong(p, "an enum without symbols"));
}

static bool message_parse(Parser *p, const char *scope, ProtobufMessage ***last);

static bool member_parse(Parser *p, ProtobufMessage *message, ProtobufMessage ***last) {
    if (is_sign(p, ';')) {
        next(p);
        return true;
    }
    if (word_skip(p, "message"))
        return message_parse(p, message->full, last);
    if (word_skip(p, "enum"))
        return enum_parse(p, message->full);
    if (word_skip(p, "oneof"))
        return one_of_parse(p, message);
    if (word_skip(p, "extend"))
        return skip_to(p, '}');
    if (word_skip(p, "option") || word_skip(p, "reserved") || word_skip(p, "extensions"))
        return skip_to(p, ';');
    return field_parse(p, message, false);
}

/* **last: where it is put, and where the one behind it will be. */
static bool message_parse(Parser *p, const char *scope, ProtobufMessage ***last) {
    const char *name = word_take(p);
    if (name == NULL || !sign_take(p, '{'))
        return false;
    if (++p->depth > DEPTH_MAX)
        return wrong(p, "messages too deep in each other");
    ProtobufMessage *message = arena_alloc(p->arena, sizeof *message), **nested = &message->nested;
    message->full = name_in(p, scope, name);
    named_add(p, message->full)->message = message;
    **last = message;
    *last = &message->next;
    while (!is_sign(p, '}') && p->kind != TOKEN_END)
        if (!member_parse(p, message, &nested))
            return false;
    p->depth--;
    return sign_take(p, '}');
}

static bool syntax_parse(Parser *p) {
    if (!sign_take(p, '=') || p->kind != TOKEN_TEXT)
        return wrong(p, "no syntax");
    p->all_implicit = slice_is(p->token, "proto3");
    next(p);
    return sign_take(p, ';');
}

static bool statement_parse(Parser *p, ProtobufMessage ***last) {
    if (is_sign(p, ';')) {
        next(p);
        return true;
    }
    if (word_skip(p, "message"))
        return message_parse(p, p->package, last);
    if (word_skip(p, "enum"))
        return enum_parse(p, p->package);
    if (word_skip(p, "syntax"))
        return syntax_parse(p);
    if (word_skip(p, "package")) {
        const char *name = word_take(p);
        p->package = name == NULL ? "" : name;
        return sign_take(p, ';');
    }
    if (word_skip(p, "import") || word_skip(p, "option"))
        return skip_to(p, ';');
    if (word_skip(p, "service") || word_skip(p, "extend"))
        return skip_to(p, '}');
    return wrong(p, "neither a message nor an enum");
}

/* ---- what the names of types mean ---- */

static bool scalar_find(ProtobufField *field) {
    static const char *const names[] = {
        [PROTOBUF_DOUBLE] = "double",   [PROTOBUF_FLOAT] = "float",       [PROTOBUF_INT32] = "int32",
        [PROTOBUF_INT64] = "int64",     [PROTOBUF_UINT32] = "uint32",     [PROTOBUF_UINT64] = "uint64",
        [PROTOBUF_SINT32] = "sint32",   [PROTOBUF_SINT64] = "sint64",     [PROTOBUF_FIXED32] = "fixed32",
        [PROTOBUF_FIXED64] = "fixed64", [PROTOBUF_SFIXED32] = "sfixed32", [PROTOBUF_SFIXED64] = "sfixed64",
        [PROTOBUF_BOOL] = "bool",       [PROTOBUF_STRING] = "string",     [PROTOBUF_BYTES] = "bytes"};
    for (size_t type = 0; type < sizeof names / sizeof *names; type++)
        if (strcmp(names[type], field->type_name) == 0) {
            field->type = (ProtobufType)type;
            return true;
        }
    return false;
}

static const Named *named_find(const Parser *p, const char *full) {
    for (const Named *named = p->named; named != NULL; named = named->next)
        if (strcmp(named->full, full) == 0)
            return named;
    return NULL;
}

/* From the message outwards; with a dot in front the name is whole. */
static const Named *named_search(Parser *p, const char *scope, const char *name) {
    if (*name == '.')
        return named_find(p, name + 1);
    char *around = arena_text(p->arena, slice_text(scope));
    for (;;) {
        const Named *found = named_find(p, name_in(p, around, name));
        if (found != NULL || *around == '\0')
            return found;
        char *dot = strrchr(around, '.');
        *(dot == NULL ? around : dot) = '\0';
    }
}

static bool type_find(Parser *p, const char *scope, ProtobufField *field) {
    if (scalar_find(field))
        return true;
    const Named *found = named_search(p, scope, field->type_name);
    if (found == NULL) {
        p->failed = ERR_CONFIG;
        snprintf(p->why, sizeof p->why, "the type \"%.100s\" is not in it, and imports are not read",
                 field->type_name);
        return false;
    }
    field->type = found->message != NULL ? PROTOBUF_MESSAGE : PROTOBUF_ENUM;
    field->message = found->message;
    field->symbols = found->symbols;
    field->implicit &= found->message == NULL;
    return true;
}

static bool types_find(Parser *p, ProtobufMessage *message) {
    for (int at = 0; at < message->field_count; at++) {
        ProtobufField *field = &message->fields[at];
        if (!field->map) {
            if (!type_find(p, message->full, field))
                return false;
        } else
            for (int part = 0; part < 2; part++)
                if (!type_find(p, message->full, &field->message->fields[part]))
                    return false;
    }
    for (ProtobufMessage *nested = message->nested; nested != NULL; nested = nested->next)
        if (!types_find(p, nested))
            return false;
    return true;
}

const ProtobufMessage *protobuf_parse(Arena *arena, Slice text, Error *e) {
    Parser p = {.arena = arena, .at = text.at, .end = text.at + text.len, .line = 1, .package = ""};
    ProtobufMessage *first = NULL, **last = &first;
    next(&p);
    while (p.kind != TOKEN_END && is_well(&p))
        statement_parse(&p, &last);
    if (first == NULL)
        wrong(&p, "no message");
    for (ProtobufMessage *message = first; is_well(&p) && message != NULL; message = message->next)
        types_find(&p, message);
    if (is_well(&p))
        return first;
    fail(e, p.failed, "a Protobuf schema cannot be read: %s", p.why);
    return NULL;
}
