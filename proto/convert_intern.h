/* convert_intern: the families of types that proto/convert chooses from: convert_scalar.c, convert_number.c, convert_time.c,
 * convert_list.c, convert_shape.c. Each reads the whole text. False: ERR_DATA. */
#ifndef WALFERRY_PROTO_CONVERT_INTERN_H
#define WALFERRY_PROTO_CONVERT_INTERN_H

#include "proto/cursor.h"
#include "proto/datum.h"

bool convert_boolean(Slice text, Datum *out, Error *e);
bool convert_bit(Slice text, Datum *out, Error *e);
bool convert_integer(const Kind *kind, Slice text, Datum *out, Error *e);
bool convert_float(const Kind *kind, Slice text, Datum *out, Error *e);
bool convert_bytes(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_bits(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_decimal(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_money(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_date(Slice text, Datum *out, Error *e);
bool convert_time(const Kind *kind, Slice text, Datum *out, Error *e);
bool convert_timestamp(const Kind *kind, Slice text, Datum *out, Error *e);
bool convert_timestamptz(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_timetz(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_interval(Slice text, Datum *out, Error *e);
bool convert_hstore(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_vector(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_sparse_vector(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_point(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_shape(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);
bool convert_circle(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_line(Slice text, Arena *arena, Datum *out, Error *e);
bool convert_geometry(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e);

#endif
