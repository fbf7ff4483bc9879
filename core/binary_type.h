/* binary_type: types of which every server that we know means the same by their binary form (trap B3), as far as their
 * OIDs are fixed (pg_type.dat): scalars of the server itself. `binary` is an option of the whole stream, so it is asked for
 * where all columns of a job are of these. COPY, which decides by table, knows more of them (core/selection). */
#ifndef WALFERRY_CORE_BINARY_TYPE_H
#define WALFERRY_CORE_BINARY_TYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"

bool binary_type(uint32_t oid);
/* The value for people: numbers and words as such, all else as "\x…" and cut to a few bytes. */
void binary_type_show(uint32_t oid, Slice value, Writer *out);

#endif
