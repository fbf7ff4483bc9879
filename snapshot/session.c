#include "snapshot/session.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"

#define HEADER "\n-- Name: "
enum {
    LOOK_EVERY_MS = 50,
    CANCEL_WAIT_MS = 5000, /* a server that does not cancel in this time is left */
    SQL_MAX_BYTES = 4096
};

/* Rows come in the order on disk, so that one can be told by its place. */
static const char SQL_SOURCE_BEGIN[] =
    "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL synchronize_seqscans = off";

bool session_turn(Throttle *throttle, int queries, const atomic_bool *stop, Error *e) {
    int64_t left_us;
    throttle_take(throttle, THROTTLE_QUERIES, queries, clock_us());
    while ((left_us = throttle_wait_us(throttle, clock_us())) > 0) {
        if (atomic_load(stop))
            return fail(e, ERR_STOPPED, "stopped");
        clock_sleep_ms(left_us / 1000 + 1 < LOOK_EVERY_MS ? left_us / 1000 + 1 : LOOK_EVERY_MS);
    }
    return true;
}

bool session_import(Pg *source, const char *snapshot, Error *e) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "SET TRANSACTION SNAPSHOT ");
    pg_write_literal(&sql, source, snapshot);
    bool ok = pg_run(source, SQL_SOURCE_BEGIN, e);
    if (ok && !pg_run(source, writer_string(&sql), e)) {
        /* Whatever the server says about it: the exporter is gone, and a new snapshot mends it. */
        e->kind = ERR_RETRY;
        ok = fail_context(e, "the snapshot \"%s\" is gone", snapshot);
    }
    writer_free(&sql);
    return ok;
}

void session_cut(Pg *pg) {
    if (PQsocket(pg->conn) >= 0)
        shutdown(PQsocket(pg->conn), SHUT_RDWR);
}

void session_leave(Pg *pg) {
    Error ignored;
    switch (PQtransactionStatus(pg->conn)) {
    case PQTRANS_INTRANS:
    case PQTRANS_INERROR: pg_run(pg, "ROLLBACK", &ignored); break;
    case PQTRANS_ACTIVE: session_cut(pg); break;
    case PQTRANS_IDLE:
    case PQTRANS_UNKNOWN: break;
    }
}

static void cancel(Pg *pg) {
    char why[256];
    PGcancel *handle = PQgetCancel(pg->conn);
    if (handle != NULL)
        PQcancel(handle, why, sizeof why);
    PQfreeCancel(handle);
}

/* Waits for the next result; false when the connection broke or was cut. *cancel_ms: when the cancel was
 * asked for. */
static bool result_wait(Pg *pg, const atomic_bool *stop, int64_t *cancel_ms, Error *e) {
    while (PQisBusy(pg->conn)) {
        struct pollfd one = {.fd = PQsocket(pg->conn), .events = POLLIN};
        if (*cancel_ms == 0 && atomic_load(stop)) {
            cancel(pg);
            *cancel_ms = clock_ms();
        }
        if (*cancel_ms != 0 && clock_ms() > *cancel_ms + CANCEL_WAIT_MS) {
            session_cut(pg);
            return fail(e, ERR_STOPPED, "stopped");
        }
        if (poll(&one, 1, LOOK_EVERY_MS) > 0 && PQconsumeInput(pg->conn) == 0)
            return pg_failed(pg, NULL, e);
    }
    return true;
}

/* In a script an error alone does not say what it is about; pg_restore's header above the place does. */
static bool run_failed(Pg *pg, const PGresult *result, const char *sql, Error *e) {
    const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
    const char *header = NULL, *at = sql;
    pg_failed(pg, result, e);
    for (long left = position == NULL ? 0 : strtol(position, NULL, 10); left > 0 && *at != '\0'; left--) {
        if (strncmp(at, HEADER, strlen(HEADER)) == 0)
            header = at + strlen(HEADER);
        for (at++; ((unsigned char)*at & 0xc0) == 0x80;) /* positions count characters, not bytes */
            at++;
    }
    const char *end = header == NULL ? NULL : strstr(header, "; Owner: ");
    return end == NULL ? false : fail_context(e, "%.*s", (int)(end - header), header);
}

bool session_change(Pg *pg, const char *sql, const atomic_bool *stop, int64_t *rows, Error *e) {
    int64_t cancel_ms = 0;
    bool good = true;
    if (atomic_load(stop))
        return fail(e, ERR_STOPPED, "stopped");
    if (PQsendQuery(pg->conn, sql) == 0)
        return pg_failed(pg, NULL, e);
    for (;;) {
        if (!result_wait(pg, stop, &cancel_ms, e))
            return false;
        PGresult *result = PQgetResult(pg->conn);
        if (result == NULL)
            break;
        ExecStatusType status = PQresultStatus(result);
        if (good && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY)
            good = run_failed(pg, result, sql, e);
        *rows = pg_affected(result);
        PQclear(result);
    }
    return cancel_ms == 0 ? good : fail(e, ERR_STOPPED, "stopped");
}

bool session_run(Pg *pg, const char *sql, const atomic_bool *stop, Error *e) {
    int64_t ignored;
    return session_change(pg, sql, stop, &ignored, e);
}
