/* row: the values of an event, read once for all formats: what the text of each column says as a Datum of its Kind, and what
 * stands for a value that did not come along, or that has no place in its type. Of both there are notes in the Records, which
 * become headers. Pure. */
#ifndef WALFERRY_PROTO_ROW_H
#define WALFERRY_PROTO_ROW_H

#include "proto/datum.h"
#include "proto/format.h"

typedef struct RowColumn {
    uint16_t number; /* in the table */
    const char *name;
    const Kind *kind;
    Datum zero;        /* instead of a special value, where it is required */
    Datum unknown;     /* instead of none: NULL, the default, or the zero */
    Datum placeholder; /* DATUM_SPECIAL: none */
} RowColumn;

/* The columns of a table that are not left out, in its order. */
typedef struct Row {
    const EventTable *table;
    bool drops_absent, drops_unchanged; /* not said at all */
    bool drops_required;                /* also a required one */
    bool completes;                     /* what is unchanged is that of the old row, where it came along */
    bool special_fails;
    bool lists_hold_null;
    uint16_t count;
    RowColumn *columns;
    uint16_t *key; /* which of `columns` */
} Row;

typedef struct RowReader {
    const Row *row;
    Arena *scratch;
    Records *notes;
    Error *e;
} RowReader;

Row row_new(Arena *arena, const EventTable *table, const Format *format);

/* Fills row->count Datums; of them DATUM_LEFT_OUT is not said at all. `old`: the row before; NULL: none. `special`: where a
 * special value is noted. False: ERR_DATA. */
bool row_read(const RowReader *r, const Value *values, const Value *old, Writer *special, Datum *out);
/* Fills table->key_count Datums. What did not come along is taken from `other`: it did not change. Special values were
 * noted with their row. False: ERR_DATA. */
bool row_read_key(const RowReader *r, const Value *values, const Value *other, Datum *out);

bool row_is_text(Slice text); /* UTF-8 */

#endif
