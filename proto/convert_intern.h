/* The parts of convert, for its own files: a cursor over the text, and one function for each family of types. */
#ifndef WALFERRY_PROTO_CONVERT_INTERN_H
#define WALFERRY_PROTO_CONVERT_INTERN_H

#include "proto/convert.h"

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

bool cursor_take_text(Cursor *c, const char *wanted);
/* `least` to `most` decimal digits; most is 18 or less. */
bool cursor_digits(Cursor *c, int least, int most, int64_t *out);
/* A number as JSON has it that its type can hold, or NaN, Infinity, -Infinity. */
bool cursor_float(Cursor *c, ConnectType type, Slice *out);
/* A text in double quotes, in which a backslash makes the next character plain. */
bool cursor_quoted(Cursor *c, Arena *arena, Slice *out);

/* Fills e; returns false. */
bool convert_refuse(const char *what, Slice text, Error *e);

static inline Datum datum_special(void) {
    return (Datum){.kind = DATUM_SPECIAL};
}
static inline Datum datum_integer(int64_t value) {
    return (Datum){.kind = DATUM_INTEGER, .integer = value};
}
static inline Datum datum_bytes(Slice bytes) {
    return (Datum){.kind = DATUM_BYTES, .bytes = bytes};
}
static inline Datum datum_list(const Datum *items, uint32_t count) {
    return (Datum){.kind = DATUM_LIST, .count = count, .items = items};
}

bool convert_decimal(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_money(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_date(Slice text, Datum *out, Error *e);
bool convert_time(const Kind *kind, Slice text, Datum *out, Error *e);
bool convert_timestamp(const Kind *kind, Slice text, Datum *out, Error *e);
bool convert_timestamptz(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_timetz(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_interval(Slice text, Datum *out, Error *e);
bool convert_array(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_hstore(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_vector(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_sparse_vector(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_point(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_shape(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_circle(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_line(Slice text, Arena *arena, Datum *out, Error *e);
/* False: it is not hexadecimal. */
bool convert_hex(Slice hex, Arena *arena, Slice *out);
bool convert_geometry(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);

/* A list that grows in the arena. */
typedef struct DatumList {
    Arena *arena;
    Datum *items;
    uint32_t count, capacity;
} DatumList;

Datum *datum_list_add(DatumList *list);

#endif
