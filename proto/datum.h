/* datum: a value of a Kind, as the encoders take it: read once, written in any format. Its bytes, items and fields are views
 * of the text that it was read from, of constants, or in an arena, and live as long as those. Pure. */
#ifndef WALFERRY_PROTO_DATUM_H
#define WALFERRY_PROTO_DATUM_H

#include "core/arena.h"
#include "core/bytes.h"

enum { DATUM_FLOAT_BYTES_MOST = 40 }; /* of a float's text */

typedef enum DatumKind {
    DATUM_NULL,
    DATUM_SPECIAL,  /* its type in the topic has no place for the value */
    DATUM_LEFT_OUT, /* not said at all: never of convert, but of rows */
    DATUM_BOOLEAN,
    DATUM_INTEGER,
    DATUM_FLOAT, /* `bytes`: its shortest text, which JSON takes as it is, or NaN, Infinity, -Infinity */
    DATUM_BYTES, /* of a string or of bytes, as its Kind says */
    DATUM_LIST   /* elements; keys and elements in turn; or the fields of a struct */
} DatumKind;

typedef struct Datum {
    DatumKind kind;
    uint32_t count;
    union {
        bool truth;
        int64_t integer;
        Slice bytes;
        const struct Datum *items;
    };
} Datum;

static inline Datum datum_null(void) {
    return (Datum){.kind = DATUM_NULL};
}
static inline Datum datum_special(void) {
    return (Datum){.kind = DATUM_SPECIAL};
}
static inline Datum datum_boolean(bool truth) {
    return (Datum){.kind = DATUM_BOOLEAN, .truth = truth};
}
static inline Datum datum_integer(int64_t value) {
    return (Datum){.kind = DATUM_INTEGER, .integer = value};
}
static inline Datum datum_bytes(Slice bytes) {
    return (Datum){.kind = DATUM_BYTES, .bytes = bytes};
}
static inline Datum datum_text(const char *text) {
    return datum_bytes(slice_text(text));
}
static inline Datum datum_list(const Datum *items, uint32_t count) {
    return (Datum){.kind = DATUM_LIST, .count = count, .items = items};
}

double datum_float(const Datum *datum);  /* of a DATUM_FLOAT */
float datum_float32(const Datum *datum); /* rounded once */

/* A list that grows in the arena. */
typedef struct DatumList {
    Arena *arena;
    Datum *items;
    uint32_t count, capacity;
} DatumList;

Datum *datum_list_add(DatumList *list); /* a DATUM_NULL until it is filled; moves with the next one */

#endif
