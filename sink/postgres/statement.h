/* statement: the text of a shape's SQL. Pure. The order of parameters is the contract with apply_row:
 *   INSERT    written columns in order
 *   UPDATE    written columns in order, then the old row's columns (where)
 *   REINSERT  written columns in order, then the old row's columns; the rest is taken from the row itself
 *   DELETE    the old row's columns
 *   REPLACE   written columns in order; REPLACE_OLD and REINSERT_OVER: then the old row's columns
 * The old row's columns are the key columns in order, or all columns for a whole-row match. */
#ifndef WALFERRY_SINK_STATEMENT_H
#define WALFERRY_SINK_STATEMENT_H

#include "sink/postgres/plan.h"

/* Writes the SQL and returns the number of parameters. */
uint16_t statement_write(Writer *out, const Plan *plan, const Shape *shape);

#endif
