/* set_statement: the SQL that does one thing to many rows of a table, whose values come as one array a column. Pure. The
 * order of parameters: the written columns, then the columns of the old key. Arrays are of text, cast row by row to the
 * column's type (unnest would flatten arrays of arrays, trap B9), or of the column's own type where its values came in
 * binary. */
#ifndef WALFERRY_SINK_SET_STATEMENT_H
#define WALFERRY_SINK_SET_STATEMENT_H

#include "sink/postgres/plan.h"

void set_statement_write(Writer *out, const Plan *plan, const SetShape *shape);
/* COPY of these columns' values in the form that they have. */
void set_statement_write_copy(Writer *out, const Plan *plan, const SetShape *shape);

#endif
