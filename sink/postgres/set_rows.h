/* set_rows: values of many rows for one statement: an array a column in the form that array_recv() reads (protocol
 * chapter "Formats and Format Codes", src array type: dimensions, flag of NULLs, element type, bounds, elements), or a
 * COPY's data in its text or binary form (SQL command COPY, "File Formats"). Pure. */
#ifndef WALFERRY_SINK_SET_ROWS_H
#define WALFERRY_SINK_SET_ROWS_H

#include "core/bytes.h"
#include "sink/postgres/net.h"

typedef struct SetRows SetRows;

SetRows *set_rows_new(void);
void set_rows_free(SetRows *rows); /* NULL is fine */

/* Begins a statement of this shape. */
void set_rows_begin(SetRows *rows, const Plan *plan, const SetShape *shape);
/* False: a value has another form than the shape says. */
bool set_rows_add(SetRows *rows, const NetRow *row);
uint32_t set_rows_count(const SetRows *rows);
size_t set_rows_bytes(const SetRows *rows);
/* The parameters, valid until the next begin; returns how many. */
int set_rows_values(SetRows *rows, const char **values, int *lengths, int *formats);

/* COPY: what comes before the first row, a row, and behind the last one; all into `out`. */
void set_rows_copy_begin(Writer *out, const SetShape *shape);
bool set_rows_copy_add(Writer *out, const Plan *plan, const SetShape *shape, const NetRow *row);
void set_rows_copy_end(Writer *out, const SetShape *shape);

#endif
