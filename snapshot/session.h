/* session: statements that may take hours, but end when somebody asks. For pieces of the load; short
 * statements go through core/pg. */
#ifndef WALFERRY_SNAPSHOT_SESSION_H
#define WALFERRY_SNAPSHOT_SESSION_H

#include <stdatomic.h>

#include "core/pg.h"
#include "core/throttle.h"

/* As pg_run, but looks at *stop: then the server is asked to cancel, and the result is ERR_STOPPED, whether
 * it was in time or not. */
bool session_run(Pg *pg, const char *sql, const atomic_bool *stop, Error *e);
/* The same; *rows: how many its last statement touched. */
bool session_change(Pg *pg, const char *sql, const atomic_bool *stop, int64_t *rows, Error *e);
/* Takes the turn for so many queries at the source and waits for it. */
bool session_turn(Throttle *throttle, int queries, const atomic_bool *stop, Error *e);
/* Begins the transaction that reads the rows of an exported snapshot; ERR_RETRY when that is gone. */
bool session_import(Pg *source, const char *snapshot, Error *e);
/* Ends the connection from our side at once, without waiting for anybody: the server rolls back. */
void session_cut(Pg *pg);
/* Leaves no transaction open: rolls back, or cuts when a command is still under way. */
void session_leave(Pg *pg);

#endif
