/* conflict: what becomes of a change that does not fit the destination's rows, by `conflicts` of its table:
 *
 *   stop         The job ends with everything before the transaction applied and nothing of it (alone.h).
 *   source-wins  An INSERT that meets rows of the same key, or of another unique key, replaces them. An UPDATE that finds
 *                no row inserts it, one that meets rows beside its own replaces them, too. A DELETE that finds none is
 *                done. A row cannot be made of values that the source did not send (large ones that an UPDATE left as
 *                they were): that change is left out as under skip. A row that the destination refuses for what is in
 *                it (a check, a type, an exclusion constraint) stops: it could not be there. So does one that meets a
 *                row by an index over expressions or a part of its table. Columns that only the destination has begin anew
 *                in a row that was replaced.
 *   skip         The change is left out; what it was goes to the table "dead_letter" (core/dead_letter.h), in the same
 *                transaction of the destination.
 *
 * A conflict is what the row itself is to blame for: a number of rows that is not one, a value or constraint (22, 23, 44),
 * a row too large for its index (54000), a RAISE of a trigger (P0001). Everything else is never left out: a lost
 * connection, a full disk, locks, missing rights, tables or columns, a TRUNCATE that a foreign key forbids, and what only
 * the COMMIT refuses (deferred constraints).
 *
 * Conflicts are exceptions: statements are sent as without a policy, in a pipeline. What is refused is done again
 * transaction by transaction, and only the transaction that is refused again statement by statement, each behind a
 * savepoint: conflict_change stands in for apply_change then. So both gears give the same rows, conflicts and counts: the
 * catch-up gear rolls back what does not fit (trap A15). With the session's thread. */
#ifndef WALFERRY_SINK_CONFLICT_H
#define WALFERRY_SINK_CONFLICT_H

#include "sink/postgres/apply_session.h"

/* One change and its answer. False: it stops the job, or the error is none of the row's. */
bool conflict_change(ApplySession *s, const Transaction *tx, const Change *change, Error *e);
/* Counts a conflict, and logs the first ones of each second with table, key and place. `why` is without its place. */
void conflict_tell(ApplySession *s, const Transaction *tx, const Change *change, const Error *why,
                   const char *outcome);

#endif
