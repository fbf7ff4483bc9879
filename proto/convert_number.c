/* Decimals: from digits of any length to two's-complement bytes, high byte first, as java.math.BigInteger writes them. */
#include <string.h>

#include "proto/convert_intern.h"

enum {
    DIGITS_MOST = 131072 + 16383, /* of a numeric: before the point and behind it */
    SCALE_MOST = 16383,
    CHUNK_DIGITS = 18,
    LIMB_BYTES = 8
};

/* A number's digits without the point. */
typedef struct Digits {
    char *at;
    size_t count;
    int scale; /* how many of them stand behind the point */
    bool negative;
} Digits;

/* Room behind the digits for those that a scale adds. */
static Digits digits_new(Arena *arena, size_t count, int spare) {
    return (Digits){.at = arena_raw(arena, count + (size_t)spare + 1)};
}

static void digits_add(Digits *d, char c) {
    d->at[d->count++] = c;
}

/* False: behind the scale stands something else than zeros. */
static bool digits_rescale(Digits *d, int scale) {
    for (; d->scale < scale; d->scale++)
        digits_add(d, '0');
    for (; d->scale > scale; d->scale--)
        if (d->count > 0 && d->at[--d->count] != '0')
            return false;
    return true;
}

static uint64_t chunk_value(const char *at, size_t count) {
    uint64_t value = 0;
    for (size_t digit = 0; digit < count; digit++)
        value = value * 10 + (uint64_t)(at[digit] - '0');
    return value;
}

/* The magnitude, lowest limb first; returns how many limbs. */
static size_t magnitude(const Digits *d, uint64_t *limbs) {
    static const uint64_t chunk_unit = UINT64_C(1000000000000000000);
    size_t used = 0;
    size_t step = d->count % CHUNK_DIGITS == 0 ? CHUNK_DIGITS : d->count % CHUNK_DIGITS;
    for (size_t at = 0; at < d->count; at += step, step = CHUNK_DIGITS) {
        unsigned __int128 carry = chunk_value(d->at + at, step);
        for (size_t limb = 0; limb < used; limb++) {
            carry += (unsigned __int128)limbs[limb] * chunk_unit;
            limbs[limb] = (uint64_t)carry;
            carry >>= 64;
        }
        if (carry > 0)
            limbs[used++] = (uint64_t)carry;
    }
    return used;
}

/* The shortest two's complement that says the sign. */
static Slice digits_bytes(const Digits *d, Arena *arena) {
    size_t most = d->count / CHUNK_DIGITS + 1;
    uint64_t few[2], *limbs = most <= 2 ? few : arena_raw(arena, most * sizeof *limbs);
    size_t used = magnitude(d, limbs), size = used * LIMB_BYTES + 1;
    unsigned char *bytes = arena_raw(arena, size);
    bytes[0] = 0;
    for (size_t limb = 0; limb < used; limb++)
        for (size_t byte = 0; byte < LIMB_BYTES; byte++)
            bytes[size - 1 - limb * LIMB_BYTES - byte] = (unsigned char)(limbs[limb] >> 8 * byte);
    bool carry = true;
    for (size_t at = size; d->negative && at-- > 0;) {
        bytes[at] = (unsigned char)(~bytes[at] + carry);
        carry = carry && bytes[at] == 0;
    }
    size_t from = 0;
    while (from + 1 < size && ((bytes[from] == 0x00 && bytes[from + 1] < 0x80) ||
                               (bytes[from] == 0xff && bytes[from + 1] >= 0x80)))
        from++;
    return (Slice){(const char *)bytes + from, size - from};
}

static bool take_digits(Cursor *c, Digits *d) {
    const char *from = c->at;
    while (cursor_at_digit(c))
        digits_add(d, *c->at++);
    return c->at > from;
}

static bool digits_read(Slice text, Arena *arena, int spare, Digits *d) {
    Cursor c = cursor_new(text);
    if (text.len > DIGITS_MOST + 2)
        return false;
    *d = digits_new(arena, text.len, spare);
    d->negative = cursor_take(&c, '-');
    if (!take_digits(&c, d))
        return false;
    size_t whole = d->count;
    if (cursor_take(&c, '.') && !take_digits(&c, d))
        return false;
    d->scale = (int)(d->count - whole);
    return cursor_done(&c) && d->scale <= SCALE_MOST;
}

static bool is_special(Slice text) {
    return slice_is(text, "NaN") || slice_is(text, "Infinity") || slice_is(text, "-Infinity");
}

bool convert_decimal(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    Digits d;
    if (is_special(text)) {
        *out = datum_special();
        return true;
    }
    if (!digits_read(text, arena, kind->scale > 0 ? kind->scale : 0, &d))
        return cursor_refuse("a numeric", text, e);
    if (kind->form == FORM_DECIMAL) {
        if (!digits_rescale(&d, kind->scale))
            return cursor_refuse("a numeric of its column's scale", text, e);
        *out = datum_bytes(digits_bytes(&d, arena));
        return true;
    }
    while (d.scale > 0 && d.at[d.count - 1] == '0') {
        d.count--;
        d.scale--;
    }
    Datum *fields = arena_raw(arena, 2 * sizeof *fields);
    fields[0] = datum_integer(d.scale);
    fields[1] = datum_bytes(digits_bytes(&d, arena));
    *out = datum_list(fields, 2);
    return true;
}

/* As lc_monetary C prints it: -$1,234.56. */
bool convert_money(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    enum { MONEY_BYTES = 32 };
    Cursor c = cursor_new(text);
    if (text.len > MONEY_BYTES)
        return cursor_refuse("money", text, e);
    Digits d = digits_new(arena, text.len, 0);
    d.negative = cursor_take(&c, '-');
    cursor_take(&c, '$');
    bool ok = take_digits(&c, &d);
    while (ok && cursor_take(&c, ','))
        ok = take_digits(&c, &d);
    size_t whole = d.count;
    ok = ok && cursor_take(&c, '.') && take_digits(&c, &d) && cursor_done(&c);
    if (!ok || d.count - whole != (size_t)kind->scale)
        return cursor_refuse("money", text, e);
    *out = datum_bytes(digits_bytes(&d, arena));
    return true;
}
