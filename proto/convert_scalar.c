/* Booleans, integers, floats, bytes and bits: one word of text each. */
#include "proto/convert_intern.h"

static bool either(Slice text, char yes, char no, Datum *out, Error *e) {
    if (text.len != 1 || (text.at[0] != yes && text.at[0] != no))
        return cursor_refuse("a boolean", text, e);
    *out = datum_boolean(text.at[0] == yes);
    return true;
}

bool convert_boolean(Slice text, Datum *out, Error *e) {
    return either(text, 't', 'f', out, e);
}

/* varbit(1) may be empty, which is neither. */
bool convert_bit(Slice text, Datum *out, Error *e) {
    *out = datum_special();
    return text.len == 0 || either(text, '1', '0', out, e);
}

static bool in_range(ConnectType type, int64_t value) {
    switch (type) {
    case CONNECT_INT16: return value >= INT16_MIN && value <= INT16_MAX;
    case CONNECT_INT32: return value >= INT32_MIN && value <= INT32_MAX;
    default: return true;
    }
}

bool convert_integer(const Kind *kind, Slice text, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    bool negative = cursor_take(&c, '-'), ok = !cursor_done(&c);
    int64_t value = 0; /* kept negative: there is one more of those */
    for (; ok && !cursor_done(&c); c.at++)
        ok = cursor_at_digit(&c) && !__builtin_mul_overflow(value, 10, &value) &&
             !__builtin_sub_overflow(value, *c.at - '0', &value);
    if (!ok || (!negative && value == INT64_MIN))
        return cursor_refuse("an integer", text, e);
    *out = datum_integer(negative ? value : -value);
    return in_range(kind->type, out->integer) || cursor_refuse("a smaller integer", text, e);
}

bool convert_float(const Kind *kind, Slice text, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    *out = (Datum){.kind = DATUM_FLOAT};
    return (cursor_float(&c, kind->type, &out->bytes) && cursor_done(&c)) ||
           cursor_refuse("a float", text, e);
}

bool convert_bytes(Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    *out = (Datum){.kind = DATUM_BYTES};
    if (!cursor_take_text(&c, "\\x") || !cursor_hex(&c, arena, &out->bytes))
        return cursor_refuse("bytes in hexadecimal", text, e);
    return true;
}

/* The last bit of the text is the lowest one of the first byte; zero bytes at the end are left out, as Java's BitSet does. */
bool convert_bits(Slice text, Arena *arena, Datum *out, Error *e) {
    char *bytes = arena_alloc(arena, text.len / 8 + 1);
    size_t used = 0;
    for (size_t bit = 0; bit < text.len; bit++) {
        char c = text.at[text.len - 1 - bit];
        if (c != '0' && c != '1')
            return cursor_refuse("bits", text, e);
        if (c == '0')
            continue;
        bytes[bit / 8] = (char)(bytes[bit / 8] | 1 << bit % 8);
        used = bit / 8 + 1;
    }
    *out = datum_bytes((Slice){bytes, used});
    return true;
}
