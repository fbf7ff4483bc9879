/* read: the rows of one source table under a snapshot, value by value, for whoever does more with them than to relay them.
 * Locks and proves as the copy does (snapshot/copy.h, trap A10); values in the text form that the stream has, too. */
#ifndef WALFERRY_SNAPSHOT_READ_H
#define WALFERRY_SNAPSHOT_READ_H

#include "core/change.h"
#include "snapshot/copy.h"

/* values: of the columns that are taken and not generated, in their order; they last until the call is over. last: no row
 * comes behind this one. False: the reading ends with e. */
typedef bool ReadRow(void *context, const Value *values, bool last, Error *e);

/* `job`: cfg, table, snapshot, progress, metrics, throttle, stop; the rest is the copy's. After a failure in the middle of the
 * rows the connection is cut and only good for pg_close. */
CopyResult read_table(Pg *source, const CopyJob *job, ReadRow *row, void *context, Error *e);

#endif
