/* apply_ddl: `ddl: apply`: what the source's event triggers say (decoder/ddl_trigger) is done to the destination's table, in
 * the transaction of the rows around it, before those behind it; the record of its definition moves with it. Derived
 * from the record's definition and the new one, where attnum tells a rename from a drop and an add: columns added,
 * dropped, renamed, of another type without a rewrite; NOT NULL, defaults; the table's name and schema. An added column
 * takes over the value that its rows have at the source (attmissingval). What computed values anew (a rewrite), and what
 * the destination refuses, sets the table aside to be loaded again, as under pause-table. An index
 * that goes is dropped in its place, because rows behind it may not fit it; one that comes is noted to be made beside the
 * stream (job/indexer). Neither where the job renames, and none of a partitioned table: these are told.
 * Rolled back and applied again, the records are read again from the destination first (apply_session_reset), so that
 * the same message derives the same. */
#ifndef WALFERRY_SINK_APPLY_DDL_H
#define WALFERRY_SINK_APPLY_DDL_H

#include "sink/postgres/apply_session.h"

/* A message of this job's triggers. */
bool apply_is_ddl(const ApplySession *s, const Change *change);
bool apply_ddl(ApplySession *s, const Transaction *tx, const Change *change, Error *e);

#endif
