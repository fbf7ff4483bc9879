/* apply_changes: the changes of one transaction, or of a piece of it, in their order, and their count. The sink's thread
 * only. */
#ifndef WALFERRY_SINK_APPLY_CHANGES_H
#define WALFERRY_SINK_APPLY_CHANGES_H

#include "sink/postgres/apply_sink.h"

/* apply_any, apply_change or conflict_change */
typedef bool ApplyOne(ApplySession *s, const Transaction *tx, const Change *change, Error *e);

/* On a session of the sink's choice, whose transaction `group` only counts; audit_receive has counted them before. `b`
 * has the transaction. */
bool changes_apply(Sink *s, ApplySession *session, Group *group, const Batch *b, const Transaction *tx,
                   ApplyOne *apply_one, Error *e);

#endif
