#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/convert_intern.h"

enum { SHOWN_BYTES = 60, FLOAT_BYTES_MOST = 40 };

/* ---- reading ---- */

bool cursor_take_text(Cursor *c, const char *wanted) {
    size_t length = strlen(wanted);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, wanted, length) != 0)
        return false;
    c->at += length;
    return true;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool cursor_digits(Cursor *c, int least, int most, int64_t *out) {
    int count = 0;
    *out = 0;
    for (; count < most && is_digit(cursor_peek(c)); count++)
        *out = *out * 10 + (*c->at++ - '0');
    return count >= least && !is_digit(cursor_peek(c));
}

static bool skip_digits(Cursor *c) {
    const char *from = c->at;
    while (is_digit(cursor_peek(c)))
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
    if (!ok || out->len > FLOAT_BYTES_MOST || !exponent)
        return ok && out->len <= FLOAT_BYTES_MOST;
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

bool convert_refuse(const char *what, Slice text, Error *e) {
    int shown = text.len > SHOWN_BYTES ? SHOWN_BYTES : (int)text.len;
    return fail(e, ERR_DATA, "%s expected, but the text is \"%.*s\"%s", what, shown,
                text.len > 0 ? text.at : "", text.len > SHOWN_BYTES ? " and more" : "");
}

Datum *datum_list_add(DatumList *list) {
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 8 : 2 * list->capacity;
        Datum *items = arena_raw(list->arena, capacity * sizeof *items);
        if (list->count > 0)
            memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count] = (Datum){0};
    return &list->items[list->count++];
}

static void float_text(const Datum *datum, char text[FLOAT_BYTES_MOST + 1]) {
    assert(datum->kind == DATUM_FLOAT && datum->bytes.len <= FLOAT_BYTES_MOST);
    memcpy(text, datum->bytes.at, datum->bytes.len);
    text[datum->bytes.len] = '\0';
}

double datum_float(const Datum *datum) {
    char text[FLOAT_BYTES_MOST + 1];
    float_text(datum, text);
    return strtod(text, NULL);
}

float datum_float32(const Datum *datum) {
    char text[FLOAT_BYTES_MOST + 1];
    float_text(datum, text);
    return strtof(text, NULL);
}

/* ---- scalars ---- */

static bool convert_boolean(Slice text, char yes, char no, Datum *out, Error *e) {
    if (text.len != 1 || (text.at[0] != yes && text.at[0] != no))
        return convert_refuse("a boolean", text, e);
    *out = (Datum){.kind = DATUM_BOOLEAN, .truth = text.at[0] == yes};
    return true;
}

/* varbit(1) may be empty, which is neither. */
static bool convert_bit(Slice text, Datum *out, Error *e) {
    *out = datum_special();
    return text.len == 0 || convert_boolean(text, '1', '0', out, e);
}

static bool in_range(ConnectType type, int64_t value) {
    switch (type) {
    case CONNECT_INT16: return value >= INT16_MIN && value <= INT16_MAX;
    case CONNECT_INT32: return value >= INT32_MIN && value <= INT32_MAX;
    default: return true;
    }
}

static bool convert_integer(const Kind *kind, Slice text, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    bool negative = cursor_take(&c, '-'), ok = !cursor_done(&c);
    int64_t value = 0; /* kept negative: there is one more of those */
    for (; ok && !cursor_done(&c); c.at++)
        ok = is_digit(*c.at) && !__builtin_mul_overflow(value, 10, &value) &&
             !__builtin_sub_overflow(value, *c.at - '0', &value);
    if (!ok || (!negative && value == INT64_MIN))
        return convert_refuse("an integer", text, e);
    *out = datum_integer(negative ? value : -value);
    return in_range(kind->type, out->integer) || convert_refuse("a smaller integer", text, e);
}

static bool convert_float(const Kind *kind, Slice text, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    *out = (Datum){.kind = DATUM_FLOAT};
    return (cursor_float(&c, kind->type, &out->bytes) && cursor_done(&c)) ||
           convert_refuse("a float", text, e);
}

static int hex_digit(char c) {
    if (is_digit(c))
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool convert_hex(Slice hex, Arena *arena, Slice *out) {
    if (hex.len % 2 != 0)
        return false;
    char *bytes = arena_raw(arena, hex.len / 2);
    for (size_t at = 0; at < hex.len; at += 2) {
        int high = hex_digit(hex.at[at]), low = hex_digit(hex.at[at + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[at / 2] = (char)(high << 4 | low);
    }
    *out = (Slice){bytes, hex.len / 2};
    return true;
}

static bool convert_bytes(Slice text, Arena *arena, Datum *out, Error *e) {
    *out = (Datum){.kind = DATUM_BYTES};
    if (text.len < 2 || text.at[0] != '\\' || text.at[1] != 'x' ||
        !convert_hex((Slice){text.at + 2, text.len - 2}, arena, &out->bytes))
        return convert_refuse("bytes in hexadecimal", text, e);
    return true;
}

/* The last bit of the text is the lowest one of the first byte; zero bytes at the end are left out, as Java's BitSet does. */
static bool convert_bits(Slice text, Arena *arena, Datum *out, Error *e) {
    char *bytes = arena_alloc(arena, text.len / 8 + 1);
    size_t used = 0;
    for (size_t bit = 0; bit < text.len; bit++) {
        char c = text.at[text.len - 1 - bit];
        if (c != '0' && c != '1')
            return convert_refuse("bits", text, e);
        if (c == '0')
            continue;
        bytes[bit / 8] = (char)(bytes[bit / 8] | 1 << bit % 8);
        used = bit / 8 + 1;
    }
    *out = datum_bytes((Slice){bytes, used});
    return true;
}

/* ---- any kind ---- */

bool convert(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    switch (kind->form) {
    case FORM_BOOLEAN: return convert_boolean(text, 't', 'f', out, e);
    case FORM_BIT: return convert_bit(text, out, e);
    case FORM_INTEGER: return convert_integer(kind, text, out, e);
    case FORM_FLOAT: return convert_float(kind, text, out, e);
    case FORM_TEXT:
    case FORM_RAW: *out = datum_bytes(text); return true;
    case FORM_BYTES: return convert_bytes(text, arena, out, e);
    case FORM_BITS: return convert_bits(text, arena, out, e);
    case FORM_DECIMAL:
    case FORM_VARIABLE_DECIMAL: return convert_decimal(kind, text, arena, out, e);
    case FORM_MONEY: return convert_money(kind, text, arena, out, e);
    case FORM_DATE: return convert_date(text, out, e);
    case FORM_TIME: return convert_time(kind, text, out, e);
    case FORM_TIMESTAMP: return convert_timestamp(kind, text, out, e);
    case FORM_TIMESTAMPTZ: return convert_timestamptz(kind, text, arena, out, e);
    case FORM_TIMETZ: return convert_timetz(text, arena, out, e);
    case FORM_INTERVAL: return convert_interval(text, out, e);
    case FORM_HSTORE: return convert_hstore(text, arena, out, e);
    case FORM_POINT: return convert_point(text, arena, out, e);
    case FORM_GEOMETRY: return convert_geometry(kind, text, arena, out, e);
    case FORM_BOX:
    case FORM_LSEG:
    case FORM_PATH:
    case FORM_POLYGON: return convert_shape(kind, text, arena, out, e);
    case FORM_CIRCLE: return convert_circle(text, arena, out, e);
    case FORM_LINE: return convert_line(text, arena, out, e);
    case FORM_VECTOR: return convert_vector(kind, text, arena, out, e);
    case FORM_SPARSE_VECTOR: return convert_sparse_vector(text, arena, out, e);
    case FORM_ARRAY: return convert_array(kind, text, arena, out, e);
    case FORM_NONE: break;
    }
    assert(kind->form != FORM_NONE);
    return false;
}

/* The text whose value stands for an unknown one; NULL: the empty one of its type. */
static const char *zero_text(KindForm form) {
    switch (form) {
    case FORM_BOOLEAN: return "f";
    case FORM_BIT:
    case FORM_INTEGER:
    case FORM_FLOAT:
    case FORM_DECIMAL:
    case FORM_VARIABLE_DECIMAL: return "0";
    case FORM_MONEY: return "$0.00";
    case FORM_DATE: return "1970-01-01";
    case FORM_TIME:
    case FORM_INTERVAL: return "00:00:00";
    case FORM_TIMESTAMP: return "1970-01-01 00:00:00";
    case FORM_HSTORE: return "";
    case FORM_POINT: return "(0,0)";
    case FORM_GEOMETRY: return "010700000000000000"; /* a collection of none */
    case FORM_BOX: return "(0,0),(1,1)";
    case FORM_LSEG:
    case FORM_PATH: return "[(0,0),(1,0)]";
    case FORM_POLYGON: return "((0,0),(1,0),(0,1))";
    case FORM_CIRCLE: return "<(0,0),0>";
    case FORM_LINE: return "{0,1,0}";
    case FORM_SPARSE_VECTOR: return "{}/0";
    default: return NULL;
    }
}

void convert_zero(const Kind *kind, Arena *arena, Datum *out) {
    const char *text = zero_text(kind->form);
    Error e = {0};
    if (text != NULL) {
        bool read = convert(kind, slice_text(text), arena, out, &e);
        assert(read);
    } else if (kind->type == CONNECT_ARRAY) {
        *out = datum_list(NULL, 0);
    } else {
        *out = datum_bytes(slice_text(kind->form == FORM_TIMESTAMPTZ ? "1970-01-01T00:00:00Z"
                                      : kind->form == FORM_TIMETZ    ? "00:00:00Z"
                                                                     : ""));
    }
}
