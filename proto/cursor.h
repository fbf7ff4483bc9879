/* cursor: goes over the text form of a value from left to right: characters, digits, floats, quoted texts, hexadecimal. What
 * is taken is a view of the text, or in the arena where that says so. Where a take fails the cursor stands somewhere in what
 * it did not like. Pure. */
#ifndef WALFERRY_PROTO_CURSOR_H
#define WALFERRY_PROTO_CURSOR_H

#include "core/arena.h"
#include "core/error.h"
#include "proto/kind.h"

typedef struct Cursor {
    const char *at, *end;
} Cursor;

static inline Cursor cursor_new(Slice text) {
    const char *at = text.len > 0 ? text.at : "";
    return (Cursor){at, at + text.len};
}

static inline bool cursor_done(const Cursor *c) {
    return c->at == c->end;
}

/* The next character; NUL: the end. */
static inline char cursor_peek(const Cursor *c) {
    return c->at < c->end ? *c->at : '\0';
}

static inline bool cursor_take(Cursor *c, char wanted) {
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static inline bool cursor_at_digit(const Cursor *c) {
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

bool cursor_take_text(Cursor *c, const char *wanted);
/* `least` to `most` decimal digits; most is 18 or less. */
bool cursor_digits(Cursor *c, int least, int most, int64_t *out);
/* A number as JSON has it that its type can hold, or NaN, Infinity, -Infinity. */
bool cursor_float(Cursor *c, ConnectType type, Slice *out);
/* A text in double quotes, in which a backslash makes the next character plain. */
bool cursor_quoted(Cursor *c, Arena *arena, Slice *out);
/* All that is left, two hexadecimal digits to a byte. */
bool cursor_hex(Cursor *c, Arena *arena, Slice *out);

/* The whole text is not what was expected: fills e (ERR_DATA); returns false. */
bool cursor_refuse(const char *expected, Slice text, Error *e);

#endif
