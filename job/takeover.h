/* takeover: a job that goes on where a Debezium connector has ended, in the same topics (`run --from-debezium`). The connector's slot is
 * copied, not used: it stays for whoever wants to go back. What the connector had begun of a transaction comes again, whole
 * (trap C11). */
#ifndef WALFERRY_JOB_TAKEOVER_H
#define WALFERRY_JOB_TAKEOVER_H

#include "job/walk.h"

/* Looks whether it can be done; makes nothing. *applied: where the connector has come to. */
bool takeover_look(Walk *walk, Lsn *applied, Error *e);
/* The slot, where the connector's stands. *bound: the larger of that and `applied`. */
bool takeover_slot(Walk *walk, Lsn applied, Lsn *bound, Error *e);

#endif
