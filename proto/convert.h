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
#include "proto/datum.h"
#include "proto/kind.h"

/* False: ERR_DATA. */
bool convert(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
/* What stands for a required value that is not known, as in Debezium: 0, "", an empty array, 1970. */
void convert_zero(const Kind *kind, Arena *arena, Datum *out);

#endif
