/* apply_row: one change as one statement, or few. With the session's thread. */
#ifndef WALFERRY_SINK_APPLY_ROW_H
#define WALFERRY_SINK_APPLY_ROW_H

#include "sink/postgres/apply_session.h"

/* Sends what one change means; nothing for changes that are not for the destination. */
bool apply_change(ApplySession *s, const Transaction *tx, const Change *change, Error *e);
/* `conflicts: source-wins`: sends what puts the source's row into the place of all that it meets; `found`: an UPDATE has
 * found its old row. ERR_DATA when the source did not send enough to make the row. */
bool apply_over(ApplySession *s, Plan *plan, const Transaction *tx, const Change *change, bool found,
                Error *e);
/* An UPDATE that DELETE and INSERT have to do, because of a GENERATED ALWAYS identity (trap B9). */
bool apply_reinserts(const Plan *plan, const Change *change);

#endif
