/* catchup_change: a change in the gear of its session. With the session's thread. */
#ifndef WALFERRY_SINK_CATCHUP_CHANGE_H
#define WALFERRY_SINK_CATCHUP_CHANGE_H

#include "sink/postgres/apply_session.h"

/* Collects it where a set can do it, which its batch has to outlive (catchup_flush); else what was collected of its table
 * goes before it. While the session collects nothing: apply_change. */
bool apply_any(ApplySession *s, const Transaction *tx, const Change *change, Error *e);

#endif
