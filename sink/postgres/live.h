/* live: statements in libpq's pipeline mode, with bounded outstanding bytes (an unbounded pipeline goes
 * quadratic) and without the deadlock of two full sockets: sending and receiving are polled together. Every
 * statement is noted when it is sent, and its result handed to `check` in order. After the first failure
 * everything else is drained unread; the failure stays in `error` until live_reset. Knows nothing of changes.
 * The sink's thread only. */
#ifndef WALFERRY_SINK_LIVE_H
#define WALFERRY_SINK_LIVE_H

#include <stdatomic.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/pg.h"

/* What a result belongs to; `of` and `about` are the sender's. */
typedef struct LiveNote {
    int kind;
    const void *of, *about;
} LiveNote;

typedef struct Live Live;

/* Puts the connection into pipeline mode. `check` gets every result in order; e is filled already when the
 * server refused the statement, and check may add to it; else it fills e when the result is not the expected
 * one. The Pg stays the caller's, who uses it only between live_pause and live_resume. A statement may take any time,
 * so there is no deadline here: only pg's given_up ends the wait for an answer. */
typedef void LiveCheck(void *context, const LiveNote *note, const PGresult *result, Error *e);
Live *live_new(Pg *pg, LiveCheck *check, void *context);
/* *since_ms says since when (monotonic) an answer has been waited for without a byte; 0: not at all. */
void live_tell_waiting(Live *live, _Atomic int64_t *since_ms);
/* From within a wait for an answer, every LIVE_LOOK_MS that have brought none: it may end what is being waited for, on
 * other connections. False: there is no use in waiting, and the connection counts as lost. */
enum { LIVE_LOOK_MS = 100 };
typedef bool LiveLook(void *context, Error *e);
void live_look(Live *live, LiveLook *look, void *context);
/* While this one waits, these go on, too (live_pump). The list is the caller's, who may change it between calls; it may
 * have this one in it. */
void live_beside(Live *live, Live *const *others, const int *count);
void live_free(Live *live); /* NULL is fine; the connection is left as it is */

/* types: of the first `count` parameters, 0: what the server finds. */
bool live_prepare(Live *live, LiveNote note, const char *name, const char *sql, int count,
                  const uint32_t *types, Error *e);
bool live_send(Live *live, LiveNote note, const char *name, int count, const char *const *values,
               const int *lengths, const int *formats, Error *e);
/* A statement of its own, not prepared. */
bool live_send_text(Live *live, LiveNote note, const char *sql, int count, const char *const *values,
                    Error *e);
/* How many bytes may be sent and not answered; few for statements of a row, many for a handful of large ones. */
void live_bound(Live *live, size_t bytes);
/* What was sent is on its way, as far as the socket takes it. */
bool live_push(Live *live, Error *e);
/* What the socket takes is sent, what has been answered is looked at; never waits. A failure stays for the next call. */
void live_pump(Live *live);
size_t live_outstanding_bytes(const Live *live);    /* sent and not answered; 0: nothing is outstanding */
const LiveNote *live_outstanding(const Live *live); /* the oldest of them; NULL: nothing is */
/* The server is told to end what it is at, which may end before; live_reset behind it. */
void live_cancel(Live *live);
/* Everything sent so far has been answered and found right. The transaction goes on. */
bool live_drain(Live *live, Error *e);
/* The same, and outside of BEGIN the server ends its implicit transaction. */
bool live_sync(Live *live, Error *e);
/* True when a statement failed or the connection is gone. */
bool live_has_failed(const Live *live);
/* After a failure: rolls back, forgets every prepared statement on the server; usable again. */
bool live_reset(Live *live, Error *e);
/* The same, but `sql` leads back into the open transaction: to a savepoint. */
bool live_return(Live *live, const char *sql, Error *e);
/* The same with every prepared statement kept: only where none was under way with what failed. */
bool live_return_quickly(Live *live, const char *sql, Error *e);
/* COPY … FROM STDIN within the open transaction, outside of the pipeline (libpq allows none inside): begin stands
 * behind live_sync, whose Sync ends the implicit group of statements; the transaction that BEGIN opened stays open. end (`whole`: else the rows so far are given up) waits for none: whatever is called next reads the result and
 * hands it to `check` as that of any statement. Between them nothing else may be sent. A failure is one of the Live, as
 * any other. */
bool live_copy_begin(Live *live, const char *sql, Error *e);
bool live_copy_data(Live *live, Slice data, Error *e);
bool live_copy_end(Live *live, bool whole, LiveNote note, Error *e);
/* Leaves pipeline mode for plain statements and comes back; nothing may be outstanding. */
void live_pause(Live *live);
void live_resume(Live *live);

#endif
