#include "proto/cursor.h"

#include <math.h>
#include <string.h>

#include "proto/datum.h"

enum { SHOWN_BYTES = 60 };

bool cursor_take_text(Cursor *c, const char *wanted) {
    size_t length = strlen(wanted);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, wanted, length) != 0)
        return false;
    c->at += length;
    return true;
}

bool cursor_digits(Cursor *c, int least, int most, int64_t *out) {
    int count = 0;
    *out = 0;
    for (; count < most && cursor_at_digit(c); count++)
        *out = *out * 10 + (*c->at++ - '0');
    return count >= least && !cursor_at_digit(c);
}

static bool skip_digits(Cursor *c) {
    const char *from = c->at;
    while (cursor_at_digit(c))
        c->at++;
    return c->at > from;
}

static bool skip_number(Cursor *c, bool *exponent) {
    bool ok = cursor_take(c, '0') || skip_digits(c);
    if (ok && cursor_take(c, '.'))
        ok = skip_digits(c);
    *exponent = ok && (cursor_take(c, 'e') || cursor_take(c, 'E'));
    if (*exponent) {
        if (!cursor_take(c, '-'))
            cursor_take(c, '+');
        ok = skip_digits(c);
    }
    return ok;
}

bool cursor_float(Cursor *c, ConnectType type, Slice *out) {
    const char *from = c->at;
    bool ok = true, exponent = false;
    if (!cursor_take_text(c, "NaN")) {
        cursor_take(c, '-');
        if (!cursor_take_text(c, "Infinity"))
            ok = skip_number(c, &exponent);
    }
    *out = (Slice){from, (size_t)(c->at - from)};
    if (!ok || out->len > DATUM_FLOAT_BYTES_MOST || !exponent)
        return ok && out->len <= DATUM_FLOAT_BYTES_MOST;
    /* too large for its type, so not of the server */
    const Datum datum = {.kind = DATUM_FLOAT, .bytes = *out};
    return type == CONNECT_FLOAT32 ? isfinite(datum_float32(&datum)) : isfinite(datum_float(&datum));
}

/* Views the text where nothing in it is escaped. */
bool cursor_quoted(Cursor *c, Arena *arena, Slice *out) {
    if (!cursor_take(c, '"'))
        return false;
    const char *from = c->at;
    size_t escapes = 0;
    for (; c->at < c->end && *c->at != '"'; c->at++)
        if (*c->at == '\\') {
            escapes++;
            if (++c->at == c->end)
                return false;
        }
    *out = (Slice){from, (size_t)(c->at - from)};
    if (!cursor_take(c, '"'))
        return false;
    if (escapes == 0)
        return true;
    char *plain = arena_raw(arena, out->len - escapes);
    size_t length = 0;
    for (size_t at = 0; at < out->len; at++) {
        at += out->at[at] == '\\';
        plain[length++] = out->at[at];
    }
    *out = (Slice){plain, length};
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool cursor_hex(Cursor *c, Arena *arena, Slice *out) {
    size_t digits = (size_t)(c->end - c->at);
    if (digits % 2 != 0)
        return false;
    char *bytes = arena_raw(arena, digits / 2);
    for (size_t at = 0; at < digits / 2; at++) {
        int high = hex_digit(c->at[2 * at]), low = hex_digit(c->at[2 * at + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[at] = (char)(high << 4 | low);
    }
    c->at = c->end;
    *out = (Slice){bytes, digits / 2};
    return true;
}

bool cursor_refuse(const char *expected, Slice text, Error *e) {
    int shown = text.len > SHOWN_BYTES ? SHOWN_BYTES : (int)text.len;
    return fail(e, ERR_DATA, "%s expected, but the text is \"%.*s\"%s", expected, shown,
                text.len > 0 ? text.at : "", text.len > SHOWN_BYTES ? " and more" : "");
}
