/* convert: a value in PostgreSQL's text form, read as the Kind of its column says. The text has to be what a session with
 * DateStyle ISO, IntervalStyle postgres, bytea_output hex, extra_float_digits 3, lc_monetary C and client_encoding UTF8
 * prints: core/pg sets all of them, for the walsender as well. Any TimeZone will do. Values in binary form are not for here.
 *
 * What the semantic type cannot hold is no error but DATUM_SPECIAL; the encoder then says the text itself in a header:
 *   NaN and infinities of a numeric; infinite dates and intervals; a timestamp or an interval beyond 64 bits of its unit;
 *   a varbit(1) without a bit; a sparsevec with more than 32767 dimensions;
 *   arrays of several dimensions, with bounds of their own, or with such a value in them.
 * Text that the server would not print is ERR_DATA. Pure. */
#ifndef WALFERRY_PROTO_CONVERT_H
#define WALFERRY_PROTO_CONVERT_H

#include "core/error.h"
#include "proto/kind.h"

typedef enum DatumKind {
    DATUM_NULL,
    DATUM_SPECIAL,
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
        Slice bytes; /* a view of the text, or in the arena */
        const struct Datum *items;
    };
} Datum;

/* An infinite timestamp as Debezium 3.7 has it: pgjdbc's own two numbers where the column counts milliseconds, and what is
 * left of a thousand times those, the ends of an int64, where it counts microseconds. */
#define TIMESTAMP_INFINITY_MS       INT64_C(9223372036825200000)
#define TIMESTAMP_MINUS_INFINITY_MS INT64_C(-9223372036832400000)
#define TIMESTAMP_INFINITY_US       INT64_MAX
#define TIMESTAMP_MINUS_INFINITY_US INT64_MIN

/* False: ERR_DATA. */
bool convert(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
/* What stands for a required value that is not known, as in Debezium: 0, "", an empty array, 1970. */
void convert_zero(const Kind *kind, Arena *arena, Datum *out);
double datum_float(const Datum *datum);  /* of a DATUM_FLOAT */
float datum_float32(const Datum *datum); /* rounded once */

#endif
