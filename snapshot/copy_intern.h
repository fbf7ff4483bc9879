/* copy_intern: what the files of the copy share: copy.c moves the rows, copy_source.c sees to it that they are the
 * snapshot's and the columns those we know, copy_target.c makes the place for them. */
#ifndef WALFERRY_SNAPSHOT_COPY_INTERN_H
#define WALFERRY_SNAPSHOT_COPY_INTERN_H

#include "core/bytes.h"
#include "snapshot/copy.h"

enum { COPY_SQL_MAX_BYTES = 4 << 20 }; /* 1600 columns with names of 63 bytes, quoted, several times over */
#define COPY_KEPT_ROWS "pg_temp.walferry_rows"

/* One table on its way. */
typedef struct Copying {
    const CopyJob *job;
    const Table *table;
    Pg *source, *target;
    Writer name, target_name;       /* quoted, with its schema */
    Writer columns, target_columns; /* "a, b", or empty when there is none to name */
    bool binary;
    bool frozen; /* the same transaction truncated the table */
} Copying;

/* In its transaction, which the caller ends. COPY_DONE: the table is locked, its rows are those of the snapshot and its
 * columns those we know. */
CopyResult copy_source_begin(Copying *c, Error *e);
/* The same at the destination: COPY_DONE: the table, or the temporary one for `existing: keep`, is ready for the rows. */
CopyResult copy_target_begin(Copying *c, Error *e);
/* With `existing: keep`: out of the temporary table, what meets none of the destination's `rows`. */
bool copy_target_keep(Copying *c, int64_t rows, Error *e);
bool copy_definition_changed(const Copying *c, Error *e); /* false, and e */

#endif
