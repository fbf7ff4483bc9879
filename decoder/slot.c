#include "decoder/slot.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/sqlstate.h"

static const char PREFIX[] = "dts_sync_";
/* How often the watcher looks, and how long a cancelled command may take to say so. */
enum { LOOK_MS = 1000, CANCEL_MS = 10000, DROP_PAUSE_MS = 100 };

/* Making a slot waits for every transaction that has a number. Locks on numbers are shown to everybody, while
 * pg_stat_activity hides other users' transactions. First the one that the walsender ($1) waits for, then the
 * oldest; a lock without a process belongs to a prepared transaction. */
static const char WHOM_SQL[] =
    "SELECT l.pid, a.usename, a.datname, a.state, l.transactionid, p.gid, p.owner,"
    "  floor(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared)))::bigint"
    " FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
    " LEFT JOIN pg_prepared_xacts p ON l.pid IS NULL AND p.transaction = l.transactionid"
    " WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'"
    "   AND l.pid IS DISTINCT FROM pg_backend_pid()"
    " ORDER BY l.transactionid IN (SELECT w.transactionid FROM pg_locks w"
    "    WHERE w.pid = $1::int AND w.locktype = 'transactionid' AND NOT w.granted) DESC,"
    "  age(l.transactionid) DESC LIMIT 1";

#define LOOK_SQL(wal_status, safe_size, invalidation, two_phase)                                             \
    "SELECT s.active, s.slot_type = 'logical', s.plugin, s.database, " wal_status ", s.active_pid,"          \
    "  s.confirmed_flush_lsn, s.restart_lsn,"                                                                \
    "  pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()"                         \
    "                       ELSE pg_current_wal_lsn() END, s.restart_lsn), " safe_size ", " invalidation     \
    ", " two_phase " FROM pg_replication_slots s WHERE s.slot_name = $1"
static const char LOOK_17_SQL[] =
    LOOK_SQL("s.wal_status", "s.safe_wal_size", "s.invalidation_reason", "s.two_phase");
static const char LOOK_14_SQL[] = LOOK_SQL("s.wal_status", "s.safe_wal_size", "NULL", "s.two_phase");
static const char LOOK_13_SQL[] = LOOK_SQL("s.wal_status", "s.safe_wal_size", "NULL", "false");
static const char LOOK_12_SQL[] = LOOK_SQL("NULL", "NULL", "NULL", "false");

/* Any statement starts the timer of client_connection_check_interval, which CREATE_REPLICATION_SLOT does not start by
 * itself: while it waits for open transactions the server would not notice that we were killed, and keep the
 * half-made slot. */
static const char WATCH_CLIENT_SQL[] = "SELECT 1";

static const char RECOVERY_SQL[] = "SELECT pg_catalog.pg_is_in_recovery()";

static const char DROP_SQL[] = "SELECT pg_drop_replication_slot($1)";

static bool is_ours(const char *name) {
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

/* ---- who the server is ---- */

static bool system_read(Pg *walsender, ServerIdentity *out, Error *e) {
    PGresult *rows = pg_command(walsender, "IDENTIFY_SYSTEM", e);
    if (rows == NULL)
        return false;
    bool whole = PQntuples(rows) == 1 && PQnfields(rows) >= 3;
    if (whole)
        *out = (ServerIdentity){.system_id = strtoull(pg_cell(rows, 0, 0), NULL, 10),
                                .timeline = (uint32_t)pg_cell_int(rows, 0, 1),
                                .flushed = pg_cell_lsn(rows, 0, 2)};
    PQclear(rows);
    return whole || fail(e, ERR_PROTOCOL, "%s: IDENTIFY_SYSTEM answers in an unknown form", walsender->side);
}

/* A walsender takes statements by the simple protocol only. */
static bool is_primary(Pg *walsender, Error *e) {
    PGresult *rows = pg_command(walsender, RECOVERY_SQL, e);
    if (rows == NULL)
        return false;
    bool whole = PQntuples(rows) == 1 && PQnfields(rows) == 1, standby = whole && pg_cell_bool(rows, 0, 0);
    PQclear(rows);
    if (!whole)
        return fail(e, ERR_PROTOCOL, "%s: one value expected from a walsender", walsender->side);
    if (!standby)
        return true;
    fail(e, ERR_RETRY, "%s: \"%s\" port %s is a standby and not promoted", walsender->side,
         PQhost(walsender->conn), PQport(walsender->conn));
    e->connection = true;
    return fail_hint(e,
                     "promote it, or name the primary in %s.dsn, or several hosts with "
                     "target_session_attrs=read-write",
                     walsender->side);
}

/* A server without the file (58P01) has no history that anybody could judge by. */
static bool history_read(Pg *walsender, ServerIdentity *out, Error *e) {
    char command[40];
    if (out->timeline <= 1)
        return true;
    snprintf(command, sizeof command, "TIMELINE_HISTORY %" PRIu32, out->timeline);
    PGresult *rows = pg_command(walsender, command, e);
    if (rows == NULL)
        return sqlstate_is(e, SQLSTATE_UNDEFINED_FILE);
    bool whole = PQntuples(rows) == 1 && PQnfields(rows) == 2;
    if (!whole)
        fail(e, ERR_PROTOCOL, "%s: TIMELINE_HISTORY answers in an unknown form", walsender->side);
    Slice text = {whole ? pg_cell(rows, 0, 1) : "", whole ? (size_t)PQgetlength(rows, 0, 1) : 0};
    whole = whole && timeline_parse(text, out->timeline, &out->history, e);
    PQclear(rows);
    return whole;
}

bool slot_identify(Pg *walsender, ServerIdentity *out, Error *e) {
    return system_read(walsender, out, e) && is_primary(walsender, e) && history_read(walsender, out, e);
}

/* ---- making one ---- */

/* The birth in work: what the helpers below share. */
typedef struct Making {
    Pg *walsender, *watcher;
    const char *name;
    SlotKind kind;
    int64_t deadline_ms;
    bool (*waiting)(void *context, const char *whom);
    void *context;
} Making;

static void create_write(Writer *w, const Making *m, bool failover) {
    writer_text(w, "CREATE_REPLICATION_SLOT ");
    pg_write_name(w, m->walsender, m->name);
    writer_text(w, m->kind == SLOT_TEMPORARY ? " TEMPORARY LOGICAL pgoutput" : " LOGICAL pgoutput");
    if (m->walsender->version >= 150000)
        writer_format(w, " (SNAPSHOT 'export'%s)", failover ? ", FAILOVER" : "");
    else
        writer_text(w, " EXPORT_SNAPSHOT");
}

/* Whom the server waits for, as people know them: "PID 71 (user "app", database "shop", idle in transaction,
 * open for 93 s)". A connection that cannot tell is no reason to give up. */
static void whom_look(const Making *m, char *out, size_t size) {
    char pid[16], details[300] = "";
    Error ignored;
    snprintf(out, size, "open transactions");
    snprintf(pid, sizeof pid, "%d", m->walsender->backend_pid);
    PGresult *rows = pg_query(m->watcher, WHOM_SQL, 1, (const char *const[]){pid}, &ignored);
    if (rows != NULL && PQntuples(rows) == 1) {
        if (!pg_cell_null(rows, 0, 7))
            snprintf(details, sizeof details, ", open for %s s", pg_cell(rows, 0, 7));
        if (!pg_cell_null(rows, 0, 5))
            snprintf(out, size, "prepared transaction \"%s\" (user \"%s\"%s)", pg_cell(rows, 0, 5),
                     pg_cell(rows, 0, 6), details);
        else if (!pg_cell_null(rows, 0, 0))
            snprintf(out, size, "PID %s (user \"%s\", database \"%s\"%s%s%s)", pg_cell(rows, 0, 0),
                     pg_cell(rows, 0, 1), pg_cell(rows, 0, 2), pg_cell_null(rows, 0, 3) ? "" : ", ",
                     pg_cell(rows, 0, 3), details);
    }
    PQclear(rows);
}

/* Reads what has come: true when the result can be fetched without waiting, or the connection is broken. */
static bool answer_wait(Pg *pg, int64_t wait_ms) {
    int64_t until_ms = clock_ms() + wait_ms;
    while (PQisBusy(pg->conn)) {
        int64_t left_ms = until_ms - clock_ms();
        struct pollfd one = {.fd = PQsocket(pg->conn), .events = POLLIN};
        if (left_ms <= 0)
            return false;
        if (poll(&one, 1, (int)left_ms) > 0 && PQconsumeInput(pg->conn) == 0)
            return true;
    }
    return true;
}

static PGresult *answer_take(Pg *pg) {
    PGresult *first = PQgetResult(pg->conn);
    for (PGresult *more; first != NULL && (more = PQgetResult(pg->conn)) != NULL;)
        PQclear(more);
    return first;
}

/* Ends the command, and the slot if it was made all the same. */
static void give_up(const Making *m) {
    char complaint[256];
    Error ignored;
    PGcancel *cancel = PQgetCancel(m->walsender->conn);
    if (cancel != NULL && PQcancel(cancel, complaint, sizeof complaint) == 0)
        log_debug("%s: %s", m->walsender->side, complaint);
    PQfreeCancel(cancel);
    if (answer_wait(m->walsender, CANCEL_MS)) {
        PGresult *answer = answer_take(m->walsender);
        Writer drop = writer_new(1 << 10);
        writer_text(&drop, "DROP_REPLICATION_SLOT ");
        pg_write_name(&drop, m->walsender, m->name);
        if (PQresultStatus(answer) == PGRES_TUPLES_OK)
            PQclear(pg_command(m->walsender, writer_string(&drop), &ignored));
        writer_free(&drop);
        PQclear(answer);
    }
    /* A command that does not end leaves a slot that only its own end removes; a made one can be dropped. */
    slot_drop(m->watcher, m->name, CANCEL_MS, &ignored);
}

/* The answer, after waiting for the open transactions; NULL and e when that was given up. */
static PGresult *create_run(const Making *m, const char *command, Error *e) {
    char whom[600];
    if (PQsendQuery(m->walsender->conn, command) == 0) {
        pg_failed(m->walsender, NULL, e);
        return NULL;
    }
    while (!answer_wait(m->walsender, LOOK_MS)) {
        whom_look(m, whom, sizeof whom);
        bool go_on = m->waiting == NULL || m->waiting(m->context, whom);
        if (go_on && clock_ms() < m->deadline_ms)
            continue;
        give_up(m);
        fail(e, go_on ? ERR_RETRY : ERR_STOPPED, "%s: slot \"%s\" is not made: it would have to wait for %s",
             m->walsender->side, m->name, whom);
        fail_hint(e, "a slot begins when every transaction that was open has ended: end it, or wait longer");
        return NULL;
    }
    PGresult *answer = answer_take(m->walsender);
    if (PQresultStatus(answer) == PGRES_TUPLES_OK)
        return answer;
    pg_failed(m->walsender, answer, e);
    PQclear(answer);
    return NULL;
}

static bool create_failed(const Making *m, Error *e) {
    if (e->connection || e->kind == ERR_STOPPED)
        return false;
    if (sqlstate_is(e, SQLSTATE_DUPLICATE_OBJECT)) {
        e->kind = ERR_CONFIG;
        return fail_hint(e, "somebody else made it: give the job another name, or see \"walferry slots\"");
    }
    if (sqlstate_is(e, SQLSTATE_CONFIGURATION_LIMIT_EXCEEDED)) {
        e->kind = ERR_CONFIG;
        return fail_hint(e, "raise max_replication_slots of the %s, or drop a slot that nobody needs",
                         m->walsender->side);
    }
    if (sqlstate_is(e, SQLSTATE_OBJECT_NOT_IN_PREREQUISITE_STATE)) {
        e->kind = ERR_CONFIG;
        return fail_hint(
            e, "a slot needs wal_level = logical: ALTER SYSTEM SET wal_level = logical, then restart");
    }
    return false;
}

static bool birth_read(const Making *m, const PGresult *rows, SlotBirth *out, Error *e) {
    if (PQntuples(rows) != 1 || PQnfields(rows) < 3)
        return fail(e, ERR_PROTOCOL, "%s: CREATE_REPLICATION_SLOT answers in an unknown form",
                    m->walsender->side);
    out->point = pg_cell_lsn(rows, 0, 1);
    size_t length = strlen(pg_cell(rows, 0, 2));
    if (lsn_is_none(out->point) || length == 0 || length >= sizeof out->snapshot)
        return fail(e, ERR_PROTOCOL, "%s: slot \"%s\" has no consistent point", m->walsender->side, m->name);
    memcpy(out->snapshot, pg_cell(rows, 0, 2), length + 1);
    return true;
}

bool slot_create(Pg *walsender, Pg *watcher, const char *name, SlotKind kind, int64_t wait_ms,
                 bool (*waiting)(void *context, const char *whom), void *context, SlotBirth *out, Error *e) {
    assert(is_ours(name));
    Making m = {walsender, watcher, name, kind, clock_ms() + wait_ms, waiting, context};
    PGresult *answer = NULL;
    if (!pg_run(walsender, WATCH_CLIENT_SQL, e))
        return false;
    /* A server may know FAILOVER and still refuse it; the job goes on without. */
    for (int failover = walsender->version >= 170000 && kind == SLOT_LASTING; answer == NULL && failover >= 0;
         failover--) {
        Writer command = writer_new(1 << 10);
        create_write(&command, &m, failover > 0);
        answer = create_run(&m, writer_string(&command), e);
        writer_free(&command);
        bool refused = sqlstate_is(e, SQLSTATE_FEATURE_NOT_SUPPORTED) ||
                       sqlstate_is(e, SQLSTATE_INVALID_PARAMETER_VALUE) ||
                       sqlstate_is(e, SQLSTATE_SYNTAX_ERROR) ||
                       sqlstate_is(e, SQLSTATE_OBJECT_NOT_IN_PREREQUISITE_STATE);
        if (answer == NULL && (failover == 0 || !refused))
            return create_failed(&m, e);
    }
    bool good = birth_read(&m, answer, out, e);
    PQclear(answer);
    return good;
}

/* ---- looking and dropping ---- */

static void cell_copy(char *out, size_t size, const PGresult *rows, int column) {
    snprintf(out, size, "%s", pg_cell(rows, 0, column));
}

bool slot_look(Pg *source, const char *name, SlotView *out, Error *e) {
    const char *sql = source->version >= 170000   ? LOOK_17_SQL
                      : source->version >= 140000 ? LOOK_14_SQL
                      : source->version >= 130000 ? LOOK_13_SQL
                                                  : LOOK_12_SQL;
    PGresult *rows = pg_query(source, sql, 1, &name, e);
    if (rows == NULL)
        return false;
    *out = (SlotView){.exists = PQntuples(rows) == 1};
    if (out->exists) {
        out->active = pg_cell_bool(rows, 0, 0);
        out->logical = pg_cell_bool(rows, 0, 1);
        cell_copy(out->plugin, sizeof out->plugin, rows, 2);
        cell_copy(out->database, sizeof out->database, rows, 3);
        cell_copy(out->wal_status, sizeof out->wal_status, rows, 4);
        out->active_pid = pg_cell_int(rows, 0, 5);
        out->confirmed = pg_cell_lsn(rows, 0, 6);
        out->restart = pg_cell_lsn(rows, 0, 7);
        out->retained_bytes = pg_cell_int(rows, 0, 8);
        out->safe_bytes = pg_cell_null(rows, 0, 9) ? -1 : pg_cell_int(rows, 0, 9);
        cell_copy(out->invalidation, sizeof out->invalidation, rows, 10);
        out->two_phase = pg_cell_bool(rows, 0, 11);
    }
    PQclear(rows);
    return true;
}

bool slot_drop(Pg *source, const char *name, int64_t wait_ms, Error *e) {
    assert(is_ours(name));
    int64_t deadline_ms = clock_ms() + wait_ms;
    for (;;) {
        SlotView view;
        if (!slot_look(source, name, &view, e))
            return false;
        if (!view.exists)
            return true;
        PGresult *dropped = view.active ? NULL : pg_query(source, DROP_SQL, 1, &name, e);
        if (dropped != NULL) {
            PQclear(dropped);
            return true;
        }
        if (!view.active && sqlstate_is(e, SQLSTATE_UNDEFINED_OBJECT))
            return true;
        /* Somebody took it after the look: 55006. */
        if (!view.active && (!sqlstate_is(e, SQLSTATE_OBJECT_IN_USE) || clock_ms() >= deadline_ms))
            return false;
        if (clock_ms() >= deadline_ms)
            return fail(e, ERR_CONFIG, "%s: slot \"%s\" is in use by PID %lld", source->side, name,
                        (long long)view.active_pid);
        clock_sleep_ms(DROP_PAUSE_MS);
    }
}
