#include "sink/postgres/live.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"

enum {
    OUTSTANDING_BYTES =
        512 * 1024, /* sent and not answered: at most this much, unless it is bounded otherwise */
    FLUSH_EVERY_BYTES = 128 * 1024, /* the server is asked for results after this much */
    NOTE_BYTES = 40,                /* protocol overhead of a statement, roughly */
    ANSWER_WAIT_MS = 1000,
    POLLED_MAX = 32
};

typedef struct Sent {
    LiveNote note;
    size_t bytes;
} Sent;

struct Live {
    Pg *pg;
    LiveCheck *check;
    void *context;
    Sent *sent; /* ring */
    size_t first, count, capacity;
    size_t outstanding_bytes, unflushed_bytes, bound_bytes;
    bool asked;  /* for the results of everything that was sent */
    bool copied; /* a COPY has been sent whole, and its result not read: the connection is in no pipeline */
    LiveNote copied_note;
    Error error;
    _Atomic int64_t *waiting_since_ms; /* NULL: nobody wants to know */
    LiveLook *look;                    /* NULL: nobody looks */
    void *look_context;
    int64_t silent_ms, looked_ms; /* waited since the last byte; at the last look */
    Live *const *beside;
    const int *beside_count; /* NULL: nobody goes on meanwhile */
};

Live *live_new(Pg *pg, LiveCheck *check, void *context) {
    Live *live = memory_new(sizeof *live);
    live->pg = pg;
    live->check = check;
    live->context = context;
    live->bound_bytes = OUTSTANDING_BYTES;
    live_resume(live);
    return live;
}

void live_free(Live *live) {
    if (live == NULL)
        return;
    free(live->sent);
    free(live);
}

void live_tell_waiting(Live *live, _Atomic int64_t *since_ms) {
    live->waiting_since_ms = since_ms;
}

void live_look(Live *live, LiveLook *look, void *context) {
    live->look = look;
    live->look_context = context;
}

void live_beside(Live *live, Live *const *others, const int *count) {
    live->beside = others;
    live->beside_count = count;
}

/* A full second without a byte, or bytes again. */
static void note_waiting(const Live *live, bool in_vain) {
    if (live->waiting_since_ms == NULL)
        return;
    if (!in_vain)
        atomic_store_explicit(live->waiting_since_ms, 0, memory_order_relaxed);
    else if (atomic_load(live->waiting_since_ms) == 0)
        atomic_store(live->waiting_since_ms, clock_ms());
}

void live_pause(Live *live) {
    assert(live->count == 0 && !live->copied);
    int left = PQexitPipelineMode(live->pg->conn);
    PQsetnonblocking(live->pg->conn, 0);
    assert(left == 1 || PQstatus(live->pg->conn) != CONNECTION_OK);
}

void live_resume(Live *live) {
    int entered = PQenterPipelineMode(live->pg->conn);
    PQsetnonblocking(live->pg->conn, 1);
    assert(entered == 1 || PQstatus(live->pg->conn) != CONNECTION_OK);
}

/* Nothing can be drained any more. */
static bool given_up(Live *live, Error *e) {
    live->count = 0;
    live->copied = false;
    live->outstanding_bytes = live->unflushed_bytes = 0;
    e->connection = true;
    live->error = *e;
    return false;
}

/* The connection itself failed. */
static bool connection_failed(Live *live, Error *e) {
    pg_failed(live->pg, NULL, e);
    if (e->kind == ERR_NONE)
        fail(e, ERR_RETRY, "%s: connection lost", live->pg->side);
    return given_up(live, e);
}

static bool is_pumped(const Live *live) {
    return live->count > 0 && PQstatus(live->pg->conn) != CONNECTION_BAD;
}

/* Who goes on while `live` waits, behind its own place in `polled`; returns how many there are in all. */
static nfds_t polled_fill(const Live *live, struct pollfd *polled) {
    nfds_t count = 1;
    for (int at = 0; live->beside_count != NULL && at < *live->beside_count && count < POLLED_MAX; at++) {
        const Live *other = live->beside[at];
        if (other == live || !is_pumped(other))
            continue;
        bool unsent = PQflush(other->pg->conn) > 0;
        polled[count++] =
            (struct pollfd){PQsocket(other->pg->conn), (short)(POLLIN | (unsent ? POLLOUT : 0)), 0};
    }
    return count;
}

static void polled_pump(const Live *live, nfds_t count) {
    for (int at = 0; count > 1 && at < *live->beside_count; at++)
        if (live->beside[at] != live)
            live_pump(live->beside[at]);
}

/* No byte has come for a while. */
static bool look_around(Live *live, int64_t waited_ms, Error *e) {
    live->silent_ms += waited_ms;
    note_waiting(live, live->silent_ms >= ANSWER_WAIT_MS);
    if (live->look == NULL || live->silent_ms - live->looked_ms < LIVE_LOOK_MS)
        return true;
    live->looked_ms = live->silent_ms;
    return live->look(live->look_context, e) || given_up(live, e);
}

/* Waits until something can be read, or written when libpq has something to write. */
static bool exchange(Live *live, Error *e) {
    PGconn *conn = live->pg->conn;
    int unsent = PQflush(conn);
    if (unsent < 0 || pg_given_up(live->pg))
        return connection_failed(live, e);
    int64_t began_ms = clock_ms();
    struct pollfd polled[POLLED_MAX] = {{PQsocket(conn), (short)(POLLIN | (unsent > 0 ? POLLOUT : 0)), 0}};
    nfds_t count = polled_fill(live, polled);
    int wait_ms = live->look == NULL ? ANSWER_WAIT_MS : LIVE_LOOK_MS;
    int ready = poll(polled, count, wait_ms);
    if (ready < 0 && errno != EINTR)
        return connection_failed(live, e);
    short happened = ready > 0 ? polled[0].revents : 0;
    polled_pump(live, ready > 0 ? count : 0);
    if (happened == 0)
        return look_around(live, ready == 0 ? wait_ms : clock_ms() - began_ms, e);
    live->silent_ms = live->looked_ms = 0;
    note_waiting(live, false);
    if ((happened & (POLLIN | POLLERR | POLLHUP)) != 0 && PQconsumeInput(conn) == 0)
        return connection_failed(live, e);
    return true;
}

static void sent_pop(Live *live) {
    live->outstanding_bytes -= live->sent[live->first].bytes;
    live->first = (live->first + 1) % live->capacity;
    live->count--;
}

/* One result of a statement. After a failure only the rest is read. */
static void take_result(Live *live, const LiveNote *note, const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    if (live->error.kind != ERR_NONE || status == PGRES_PIPELINE_ABORTED)
        return;
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        pg_failed(live->pg, result, &live->error);
    live->check(live->context, note, result, &live->error);
}

/* The next result of the oldest statement, which is there already. */
static bool result_next(Live *live, Error *e) {
    PGresult *result = PQgetResult(live->pg->conn);
    if (result == NULL) {
        sent_pop(live);
        return PQstatus(live->pg->conn) != CONNECTION_BAD || connection_failed(live, e);
    }
    take_result(live, &live->sent[live->first].note, result);
    PQclear(result);
    return true;
}

/* Reads results until no more than `bytes` are outstanding. Never fails on what a statement did: see
 * live->error. */
static bool receive(Live *live, size_t bytes, Error *e) {
    while (live->count > 0 && (live->outstanding_bytes > bytes || bytes == 0))
        if (!(PQisBusy(live->pg->conn) ? exchange(live, e) : result_next(live, e)))
            return false;
    return true;
}

static bool ask_for_results(Live *live, Error *e) {
    if (live->asked)
        return true;
    live->asked = true;
    live->unflushed_bytes = 0;
    if (PQsendFlushRequest(live->pg->conn) != 1 || PQflush(live->pg->conn) < 0)
        return connection_failed(live, e);
    return true;
}

/* A statement was handed to libpq: note it, and keep the pipeline bounded. */
static bool note_sent(Live *live, int accepted, LiveNote note, size_t bytes, Error *e) {
    if (accepted != 1)
        return connection_failed(live, e);
    if (live->count == live->capacity) {
        size_t capacity = live->capacity == 0 ? 64 : live->capacity * 2;
        Sent *grown = memory_raw(capacity * sizeof *grown);
        for (size_t at = 0; at < live->count; at++)
            grown[at] = live->sent[(live->first + at) % live->capacity];
        free(live->sent);
        live->sent = grown;
        live->capacity = capacity;
        live->first = 0;
    }
    bytes += NOTE_BYTES;
    live->sent[(live->first + live->count++) % live->capacity] = (Sent){note, bytes};
    live->outstanding_bytes += bytes;
    live->unflushed_bytes += bytes;
    live->asked = false;
    if (live->unflushed_bytes >= FLUSH_EVERY_BYTES && !ask_for_results(live, e))
        return false;
    if (live->outstanding_bytes > live->bound_bytes && !receive(live, live->bound_bytes / 2, e))
        return false;
    if (live->error.kind == ERR_NONE)
        return true;
    *e = live->error;
    return false;
}

static bool healthy(const Live *live, Error *e) {
    if (live->error.kind == ERR_NONE)
        return true;
    *e = live->error;
    return false;
}

/* Of a connection that is in no pipeline: the next result, NULL behind the last one. */
static bool plain_result(Live *live, PGresult **out, Error *e) {
    while (PQisBusy(live->pg->conn))
        if (!exchange(live, e))
            return false;
    *out = PQgetResult(live->pg->conn);
    return true;
}

/* Reads until the server has nothing more to say; the first failure counts. */
static bool plain_end(Live *live, Error *e) {
    PGresult *result;
    do {
        if (!plain_result(live, &result, e))
            return false;
        PQclear(result);
    } while (result != NULL);
    if (PQstatus(live->pg->conn) == CONNECTION_BAD)
        return connection_failed(live, e);
    live_resume(live);
    return true;
}

/* Whatever is to be sent or read next comes behind the result of a COPY. */
static bool copy_finish(Live *live, Error *e) {
    PGresult *result;
    if (!live->copied)
        return true;
    live->copied = false;
    if (!plain_result(live, &result, e))
        return false;
    take_result(live, &live->copied_note, result);
    PQclear(result);
    return plain_end(live, e);
}

static bool ready(Live *live, Error *e) {
    return copy_finish(live, e) && healthy(live, e);
}

bool live_prepare(Live *live, LiveNote note, const char *name, const char *sql, int count,
                  const uint32_t *types, Error *e) {
    return ready(live, e) &&
           note_sent(live, PQsendPrepare(live->pg->conn, name, sql, count, types), note, strlen(sql), e);
}

bool live_send(Live *live, LiveNote note, const char *name, int count, const char *const *values,
               const int *lengths, const int *formats, Error *e) {
    size_t bytes = 0;
    if (!ready(live, e))
        return false;
    for (int value = 0; value < count; value++)
        bytes += 4 + (values[value] == NULL ? 0 : (size_t)lengths[value]);
    int accepted = PQsendQueryPrepared(live->pg->conn, name, count, values, lengths, formats, 0);
    return note_sent(live, accepted, note, bytes, e);
}

bool live_send_text(Live *live, LiveNote note, const char *sql, int count, const char *const *values,
                    Error *e) {
    if (!ready(live, e))
        return false;
    int accepted = PQsendQueryParams(live->pg->conn, sql, count, NULL, values, NULL, NULL, 0);
    return note_sent(live, accepted, note, strlen(sql), e);
}

void live_bound(Live *live, size_t bytes) {
    live->bound_bytes = bytes;
}

bool live_push(Live *live, Error *e) {
    return live->copied || (healthy(live, e) && ask_for_results(live, e));
}

void live_pump(Live *live) {
    Error lost;
    if (!is_pumped(live))
        return;
    if (PQflush(live->pg->conn) < 0 || PQconsumeInput(live->pg->conn) == 0) {
        connection_failed(live, &lost);
        return;
    }
    while (live->count > 0 && !PQisBusy(live->pg->conn))
        if (!result_next(live, &lost))
            return;
}

size_t live_outstanding_bytes(const Live *live) {
    return live->outstanding_bytes;
}

const LiveNote *live_outstanding(const Live *live) {
    return live->count == 0 ? NULL : &live->sent[live->first].note;
}

void live_cancel(Live *live) {
    char why[256];
    bool idle = live->count == 0 && !live->copied;
    PGcancel *handle = idle ? NULL : PQgetCancel(live->pg->conn);
    if (handle != NULL)
        PQcancel(handle, why, sizeof why);
    PQfreeCancel(handle);
}

bool live_drain(Live *live, Error *e) {
    if (!ready(live, e))
        return false;
    if (live->count > 0 && (!ask_for_results(live, e) || !receive(live, 0, e)))
        return false;
    return healthy(live, e);
}

/* Sends a Sync and reads up to its answer; after an error that is where the server listens again. */
static bool synchronize(Live *live, Error *e) {
    PGconn *conn = live->pg->conn;
    live->unflushed_bytes = 0;
    if (!copy_finish(live, e))
        return false;
    if (PQpipelineSync(conn) != 1)
        return connection_failed(live, e);
    if (!receive(live, 0, e))
        return false;
    for (;;) {
        if (PQisBusy(conn)) {
            if (!exchange(live, e))
                return false;
            continue;
        }
        PGresult *result = PQgetResult(conn);
        bool synchronized = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        bool lost = result == NULL && PQstatus(conn) == CONNECTION_BAD;
        PQclear(result);
        if (lost)
            return connection_failed(live, e);
        if (synchronized)
            return true;
    }
}

bool live_sync(Live *live, Error *e) {
    return healthy(live, e) && synchronize(live, e) && healthy(live, e);
}

/* ---- COPY ---- */

static bool copy_refused(Live *live, const PGresult *result, Error *e) {
    pg_failed(live->pg, result, &live->error);
    *e = live->error;
    return false;
}

bool live_copy_begin(Live *live, const char *sql, Error *e) {
    PGresult *result;
    live_pause(live);
    PQsetnonblocking(live->pg->conn, 1);
    if (PQsendQuery(live->pg->conn, sql) != 1)
        return connection_failed(live, e);
    if (!plain_result(live, &result, e))
        return false;
    bool ready = PQresultStatus(result) == PGRES_COPY_IN;
    Error ended;
    if (!ready) {
        copy_refused(live, result, e);
        plain_end(live, &ended);
    }
    PQclear(result);
    return ready;
}

bool live_copy_data(Live *live, Slice data, Error *e) {
    for (;;) {
        int put = PQputCopyData(live->pg->conn, data.at, (int)data.len);
        if (put < 0)
            return connection_failed(live, e);
        int unsent = PQflush(live->pg->conn);
        if (unsent < 0)
            return connection_failed(live, e);
        while (unsent > 0) { /* libpq would keep what the server does not take yet */
            if (!exchange(live, e))
                return false;
            unsent = PQflush(live->pg->conn);
            if (unsent < 0)
                return connection_failed(live, e);
        }
        if (put == 1)
            return true;
    }
}

bool live_copy_end(Live *live, bool whole, LiveNote note, Error *e) {
    int put;
    if (PQstatus(live->pg->conn) == CONNECTION_BAD)
        return connection_failed(live, e);
    while ((put = PQputCopyEnd(live->pg->conn, whole ? NULL : "given up")) == 0)
        if (!exchange(live, e))
            return false;
    if (put < 0 || PQflush(live->pg->conn) < 0)
        return connection_failed(live, e);
    live->copied = true;
    live->copied_note = note;
    return true;
}

bool live_has_failed(const Live *live) {
    return live->error.kind != ERR_NONE;
}

bool live_return_quickly(Live *live, const char *sql, Error *e) {
    if (PQstatus(live->pg->conn) == CONNECTION_BAD)
        return connection_failed(live, e);
    if (!synchronize(live, e))
        return false;
    error_clear(&live->error);
    live_pause(live);
    bool ok = pg_run(live->pg, sql, e);
    live_resume(live);
    return ok;
}

bool live_return(Live *live, const char *sql, Error *e) {
    if (!live_return_quickly(live, sql, e))
        return false;
    live_pause(live);
    bool ok = pg_run(live->pg, "DEALLOCATE ALL", e);
    live_resume(live);
    return ok;
}

bool live_reset(Live *live, Error *e) {
    return live_return(live, "ROLLBACK", e);
}
