#include "snapshot/relay.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"

enum { LOOK_EVERY_MS = 50, PIECE_BYTES = 1 << 20 };

static void tell(Relay *r) {
    metrics_copied(r->metrics, r->progress, r->rows - r->told_rows, r->bytes - r->told_bytes);
    r->told_rows = r->rows;
    r->told_bytes = r->bytes;
}

void relay_untell(Relay *r) {
    r->rows = r->bytes = 0;
    tell(r);
}

/* Waits a moment for the named events (0: that side does not matter) and takes in what is there. */
static bool wait_both(Relay *r, short source_events, short target_events, Error *e) {
    struct pollfd fds[2] = {
        {.fd = source_events == 0 ? -1 : PQsocket(r->source->conn), .events = source_events},
        {.fd = PQsocket(r->target->conn), .events = target_events}};
    if (atomic_load(r->stop))
        return fail(e, ERR_STOPPED, "stopped");
    /* When nothing happened both are looked at all the same: TLS may hold bytes that the socket has given
     * already. */
    bool quiet = poll(fds, 2, LOOK_EVERY_MS) <= 0;
    bool source_due = source_events != 0 && (quiet || fds[0].revents != 0);
    bool target_heard = !quiet && (fds[1].revents & ~POLLOUT) != 0;
    if (source_due && PQconsumeInput(r->source->conn) == 0)
        return pg_failed(r->source, NULL, e);
    if ((quiet || target_heard) && PQconsumeInput(r->target->conn) == 0)
        return pg_failed(r->target, NULL, e);
    r->target_spoke = r->target_spoke || target_heard;
    return true;
}

static bool gathered_put(Relay *r, Error *e);

static bool flush_all(Relay *r, Error *e) {
    int left;
    if (!gathered_put(r, e))
        return false;
    while ((left = PQflush(r->target->conn)) > 0)
        if (!wait_both(r, 0, POLLIN | POLLOUT, e))
            return false;
    r->unsent_bytes = 0;
    return left == 0 ? true : pg_failed(r->target, NULL, e);
}

static bool put_piece(Relay *r, const char *bytes, int len, Error *e) {
    int taken;
    while ((taken = PQputCopyData(r->target->conn, bytes, len)) == 0)
        if (!flush_all(r, e))
            return false;
    return taken < 0 ? pg_failed(r->target, NULL, e) : true;
}

static bool gathered_put(Relay *r, Error *e) {
    int len = (int)r->gathered_bytes;
    r->gathered_bytes = 0;
    return len == 0 || put_piece(r, r->gathered, len, e);
}

/* All that was read is paid for before more is. */
static void pay(Relay *r, int len) {
    Throttle *throttle = r->throttle;
    bool rows = throttle_get(throttle, THROTTLE_ROWS) > 0, bytes = throttle_get(throttle, THROTTLE_BYTES) > 0;
    if (!rows && !bytes)
        return;
    int64_t now_us = clock_us();
    throttle_take(throttle, THROTTLE_ROWS, 1, now_us);
    throttle_take(throttle, THROTTLE_BYTES, len, now_us);
    r->owes = throttle_wait_us(throttle, now_us) > 0;
}

/* libpq copies what it is given: a large row goes in pieces, which mean nothing to the server, so that it is in memory
 * no third time. */
static bool large_put(Relay *r, const char *row, int len, Error *e) {
    int done = 0;
    if (!gathered_put(r, e))
        return false;
    for (; len - done > PIECE_BYTES; done += PIECE_BYTES)
        if (!put_piece(r, row + done, PIECE_BYTES, e) || !flush_all(r, e))
            return false;
    return put_piece(r, row + done, len - done, e);
}

static bool small_put(Relay *r, const char *row, int len, Error *e) {
    if (r->gathered_bytes + (size_t)len > sizeof r->gathered && !gathered_put(r, e))
        return false;
    memcpy(r->gathered + r->gathered_bytes, row, (size_t)len);
    r->gathered_bytes += (size_t)len;
    return true;
}

static bool put(Relay *r, const char *row, int len, Error *e) {
    if (!((size_t)len > sizeof r->gathered ? large_put(r, row, len, e) : small_put(r, row, len, e)))
        return false;
    r->rows++;
    r->bytes += len;
    pay(r, len);
    r->unsent_bytes += (size_t)len;
    bool first = r->rows == 1;
    if (r->unsent_bytes < RELAY_UNSENT_BYTES && !first)
        return true;
    tell(r);
    if (!flush_all(r, e))
        return false;
    return first ? FAULT("snapshot.mid_table", e) : true;
}

/* Nothing to read at the moment: send what waits, and wait for either side. */
static bool idle(Relay *r, Error *e) {
    if (!gathered_put(r, e))
        return false;
    int left = PQflush(r->target->conn);
    if (left < 0)
        return pg_failed(r->target, NULL, e);
    if (left == 0)
        r->unsent_bytes = 0;
    return wait_both(r, POLLIN, left > 0 ? POLLIN | POLLOUT : POLLIN, e);
}

/* Until what was taken is paid for; what waits is sent meanwhile, and the destination heard. */
static bool wait_turn(Relay *r, Error *e) {
    tell(r);
    if (!flush_all(r, e))
        return false;
    while (!r->target_spoke && throttle_wait_us(r->throttle, clock_us()) > 0)
        if (!wait_both(r, 0, POLLIN, e))
            return false;
    r->owes = false;
    return true;
}

/* Ends our side of the destination's COPY (`why` NULL: well) and waits for what it says. */
static PGresult *target_result(Relay *r, const char *why, Error *e) {
    PGconn *conn = r->target->conn;
    int ended;
    if (!gathered_put(r, e))
        return NULL;
    while ((ended = PQputCopyEnd(conn, why)) == 0)
        if (!flush_all(r, e))
            return NULL;
    if (ended < 0)
        pg_failed(r->target, NULL, e);
    if (ended < 0 || !flush_all(r, e))
        return NULL;
    while (PQisBusy(conn))
        if (!wait_both(r, 0, POLLIN, e))
            return NULL;
    PGresult *result = PQgetResult(conn);
    if (result == NULL)
        pg_failed(r->target, NULL, e);
    return result;
}

/* "COPY orders, line 12, column note: …": whatever the language, it ends before the row's own text. */
static void target_failed(Relay *r, const PGresult *result, Error *e) {
    pg_failed(r->target, result, e);
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);
    if (e->kind == ERR_DATA && context != NULL && strncmp(context, "COPY ", 5) == 0)
        fail_context(e, "%.*s", (int)strcspn(context, ":\n"), context);
}

/* A destination that speaks during COPY has refused it. Should it have said something else, then our own end
 * makes it a failure that passes (57014). */
static bool target_refused(Relay *r, Error *e) {
    r->gathered_bytes = 0;
    PGresult *result = target_result(r, "the destination interrupted the copy", e);
    if (result != NULL)
        target_failed(r, result, e);
    PQclear(result);
    return false;
}

/* Reads to the end of the command. */
static void drain(Pg *pg) {
    for (PGresult *result = PQgetResult(pg->conn); result != NULL; result = PQgetResult(pg->conn))
        PQclear(result);
}

static bool source_end(Relay *r, Error *e) {
    PGresult *result = PQgetResult(r->source->conn);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    if (ok)
        r->rows = pg_affected(result);
    else
        pg_failed(r->source, result, e);
    if (!ok && e->kind == ERR_DATA)
        r->refused = r->rows + 1;
    PQclear(result);
    if (ok)
        drain(r->source);
    return ok;
}

static bool pump(Relay *r, Error *e) {
    for (;;) {
        char *row = NULL;
        int len = PQgetCopyData(r->source->conn, &row, 1);
        if (len == -1)
            return source_end(r, e);
        if (len < -1)
            return pg_failed(r->source, NULL, e);
        bool ok = atomic_load(r->stop) ? fail(e, ERR_STOPPED, "stopped")
                  : len == 0           ? idle(r, e)
                                       : put(r, row, len, e);
        PQfreemem(row);
        ok = ok && (!r->owes || wait_turn(r, e));
        if (!ok)
            return false;
        if (r->target_spoke)
            return target_refused(r, e);
    }
}

static bool target_end(Relay *r, Error *e) {
    PGresult *result = target_result(r, NULL, e);
    if (result == NULL)
        return false;
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    int64_t stored = ok ? pg_affected(result) : 0;
    if (!ok)
        target_failed(r, result, e);
    PQclear(result);
    if (!ok)
        return false;
    drain(r->target);
    tell(r);
    if (stored != r->rows)
        return fail(e, ERR_DATA, "the source sent %" PRId64 " rows, the destination stored %" PRId64, r->rows,
                    stored);
    return true;
}

bool relay_run(Relay *r, Error *e) {
    PQsetnonblocking(r->target->conn, 1);
    bool ok = pump(r, e) && target_end(r, e);
    PQsetnonblocking(r->target->conn, 0);
    return ok;
}
