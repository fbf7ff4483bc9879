/* apply_prepared: transactions that are prepared at the destination (`source.two_phase: yes`, trap A8). The prepared
 * transaction does not touch the progress, whose row it would keep locked; so each step is two commits, and the order
 * between them makes every kill harmless:
 *
 *   PREPARE            rows, PREPARE TRANSACTION 'walferry_<job>_<xid>_<end>'; then the progress moves to <end>, and
 *                      with it goes a row into the table "prepared".
 *                      Killed between: recovery finds a prepared transaction beyond the progress and rolls it back;
 *                      the source sends its rows again.
 *   COMMIT PREPARED,   finish it; then the progress moves, and the row goes.
 *   ROLLBACK PREPARED  Killed between: the source sends the message again, nothing of that name is there any more, and
 *                      the destination's own record says how that transaction of its own has ended.
 *
 * So nobody can finish one by hand unseen: what was decided as at the source is done, the other is ERR_DATA. A COMMIT
 * PREPARED of which the table knows nothing is of a transaction without changes, whose PREPARE was never sent.
 * PREPARE TRANSACTION and COMMIT PREPARED flush the destination's WAL, and with it all progress before them.
 * The sink's thread only, between groups; the lists are read at recovery, under the exclusive lock. */
#ifndef WALFERRY_SINK_APPLY_PREPARED_H
#define WALFERRY_SINK_APPLY_PREPARED_H

#include "sink/postgres/apply_sink.h"

enum { PREPARED_NAME_SIZE = 200 }; /* GIDSIZE of PostgreSQL */

/* Rolls back what is beyond s->applied and reads the table. */
bool prepared_recover(Sink *s, Error *e);
void prepared_forget(Sink *s);
/* PREPARE TRANSACTION of what the connection has sent since BEGIN, every result having been read. */
bool prepared_make(Sink *s, const Transaction *tx, Error *e);
/* COMMIT PREPARED or ROLLBACK PREPARED of that xid, as tx->ending says. */
bool prepared_finish(Sink *s, const Transaction *tx, Error *e);
/* Sends what becomes of the table's row, for the transaction in which the progress moves; and judges the answer. */
bool prepared_record(Sink *s, const Transaction *tx, Error *e);
void prepared_check(const Transaction *tx, const PGresult *result, Error *e);

/* For cleanup, on any connection: calls visit with every prepared transaction of the job in this database. */
bool prepared_each(Pg *pg, const char *job, bool (*visit)(void *context, Pg *pg, const char *name, Error *e),
                   void *context, Error *e);
bool prepared_roll_back(Pg *pg, const char *name, Error *e);

/* False when it is not one of this job's. Unambiguous, because neither an xid nor an LSN has an underscore. */
bool prepared_parse(const char *name, const char *job, uint32_t *xid, Lsn *end);

#endif
