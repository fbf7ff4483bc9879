/* reshape: gives a table of the destination the form that the source's has now, before it is loaded again. Its rows do not
 * count (table_state says so durably): they are emptied where a change would have to make something of them. Columns are
 * renamed, dropped, added and retyped, with defaults and NOT NULL; a column that only the destination had stays, and the
 * copy then says that the tables differ. One transaction a table, which compares before it changes: killed at any point,
 * the next run finds what is left to do. A partition is changed through its topmost table, without emptying that one. */
#ifndef WALFERRY_JOB_RESHAPE_H
#define WALFERRY_JOB_RESHAPE_H

#include "core/pg.h"
#include "core/state.h"

/* Both connections are idle; the target's holds the job's lock. */
bool reshape_table(Pg *source, Pg *target, const Selection *selection, const TableRecord *record,
                   const Table *table, Error *e);

#endif
