#include "decoder/stream.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/sqlstate.h"

/* Every third of the server's patience, so that two may be lost (L15). */
enum { STATUS_MOST_MS = 10000, STATUS_LEAST_MS = 10, STATUS_SHARE = 3 };
/* How long a status may wait for a socket that takes nothing, and how often decrypted bytes are looked for.
 */
enum { WRITE_WAIT_MS = 1000, TLS_LOOK_MS = 20 };
/* A server sends each change by itself, and whoever waits for each is woken, and makes the server wake him, for each: a
 * tenth of both sides' work. While more than so many come in a millisecond, the reader lets some gather. */
enum { MANY_FRAMES = 50, LINGER_US = 300, LINGER_BYTES = 64 * 1024 };
/* A server that was asked and says nothing for this many times its own patience has gone, whatever the kernels
 * between us believe (F92). */
enum { SILENCE_TIMES = 2, SILENCE_LEAST_MS = 6000, SILENCE_UNTIMED_MS = 120000 };
enum {
    COMMAND_LIMIT_BYTES = 1 << 16,
    STATUS_BYTES = 34,
    SERVER_14 = 140000,
    SERVER_15 = 150000,
    SERVER_16 = 160000
};

/* A large transaction is on its way once it takes this much of the source's memory; a smaller limit of theirs stays. The
 * server's default of 64 MB makes the destination wait for nothing while a third of a second's changes are decoded. The
 * unit of pg_settings is kB. */
static const char SQL_SOONER[] =
    "SELECT pg_catalog.set_config(name, '16MB', false) FROM pg_catalog.pg_settings"
    " WHERE name = 'logical_decoding_work_mem' AND setting::pg_catalog.int4 > 16384";

struct Stream {
    Pg *pg;
    int status_every_ms;
    int64_t silence_ms;
    int64_t read_us;  /* when bytes were taken in last */
    int64_t asked_ms; /* when it was asked for a sign of life that has not come yet; 0: no question is open */
    bool quiet;       /* no frame has come since the last status */
    bool tls;
    bool aborts_have_lsn;
    bool ended; /* the server sent its last byte */
    bool many;  /* frames came in the last millisecond or more, counted since: */
    int64_t counted_us;
    uint32_t counted;
};

/* The replication grammar knows no escapes but the doubled quote. */
static void option_write(Writer *w, const char *name, const char *value) {
    writer_format(w, "%s\"%s\" '", w->at[w->len - 1] == '(' ? "" : ", ", name);
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\'')
            writer_u8(w, '\'');
        writer_u8(w, (uint8_t)*c);
    }
    writer_u8(w, '\'');
}

static void start_write(Writer *w, Pg *pg, const StreamOptions *o) {
    int version = pg->version;
    writer_text(w, "START_REPLICATION SLOT ");
    pg_write_name(w, pg, o->slot);
    writer_format(w, " LOGICAL " LSN_FMT " (", LSN_ARGS(o->start));
    option_write(w, "proto_version",
                 version >= SERVER_16   ? "4"
                 : version >= SERVER_15 ? "3"
                 : version >= SERVER_14 ? "2"
                                        : "1");
    option_write(w, "publication_names", o->publications);
    if (version >= SERVER_14) {
        if (!o->whole)
            option_write(w, "streaming", version >= SERVER_16 ? "parallel" : "on");
        if (o->binary)
            option_write(w, "binary", "true");
        if (o->messages)
            option_write(w, "messages", "true");
        if (o->two_phase)
            option_write(w, "two_phase", "true");
    }
    if (version >= SERVER_16)
        option_write(w, "origin", "any");
    writer_u8(w, ')');
}

/* What was confirmed cannot be had again without these: slot or publication (42704), WAL (58P01), and a slot
 * that the server gave up, which says so only in words (55000). */
static bool loss_look(Error *e) {
    bool state = sqlstate_is(e, SQLSTATE_OBJECT_NOT_IN_PREREQUISITE_STATE);
    bool given_up =
        state && (strstr(e->text, "an no longer ") != NULL || strstr(e->text, "annot read from ") != NULL);
    if (given_up || sqlstate_is(e, SQLSTATE_UNDEFINED_OBJECT) || sqlstate_is(e, SQLSTATE_UNDEFINED_FILE))
        e->kind = ERR_LOST;
    else if (state)
        e->kind = ERR_CONFIG;
    return false;
}

/* A server that does not know what we ask for (F25) says so without a code of its own, and always in English. */
static void start_failed(Error *e) {
    loss_look(e);
    bool unknown = sqlstate_is(e, SQLSTATE_INTERNAL_ERROR) && strstr(e->text, "pgoutput option") != NULL;
    if (!unknown && !sqlstate_is(e, SQLSTATE_FEATURE_NOT_SUPPORTED))
        return;
    e->kind = ERR_CONFIG;
    fail_hint(e, "its pgoutput is not one that this walferry knows: see source-version of walferry check");
}

static bool stream_failed(const Stream *s, const PGresult *result, Error *e) {
    pg_failed(s->pg, result, e);
    return loss_look(e);
}

/* Sent before the stream begins, on its own connection. */
static bool sooner(Pg *walsender, const StreamOptions *o, Error *e) {
    if (walsender->version < SERVER_14 || o->whole)
        return true;
    PGresult *result = pg_command(walsender, SQL_SOONER, e);
    PQclear(result);
    return result != NULL;
}

static bool start(Pg *walsender, const StreamOptions *o, Error *e) {
    Writer command = writer_new(COMMAND_LIMIT_BYTES);
    start_write(&command, walsender, o);
    assert(!command.full);
    PGresult *result = pg_command(walsender, writer_string(&command), e);
    ExecStatusType status = PQresultStatus(result);
    writer_free(&command);
    PQclear(result);
    if (result == NULL)
        start_failed(e);
    else if (status != PGRES_COPY_BOTH)
        fail(e, ERR_PROTOCOL, "%s: START_REPLICATION does not begin a stream", walsender->side);
    else
        return PQsetnonblocking(walsender->conn, 1) == 0 || pg_failed(walsender, NULL, e);
    return false;
}

static int status_interval(int64_t sender_timeout_ms) {
    int64_t every_ms = sender_timeout_ms / STATUS_SHARE;
    if (sender_timeout_ms == 0 || every_ms > STATUS_MOST_MS)
        return STATUS_MOST_MS;
    return every_ms < STATUS_LEAST_MS ? STATUS_LEAST_MS : (int)every_ms;
}

static int64_t silence_limit(int64_t sender_timeout_ms) {
    int64_t limit_ms = sender_timeout_ms == 0 ? SILENCE_UNTIMED_MS : sender_timeout_ms * SILENCE_TIMES;
    return limit_ms < SILENCE_LEAST_MS ? SILENCE_LEAST_MS : limit_ms;
}

Stream *stream_open(Pg *walsender, const StreamOptions *options, Error *e) {
    assert(!lsn_is_none(options->start));
    Stream *s = memory_new(sizeof *s);
    *s = (Stream){.pg = walsender,
                  .status_every_ms = status_interval(options->sender_timeout_ms),
                  .silence_ms = silence_limit(options->sender_timeout_ms),
                  .tls = PQsslInUse(walsender->conn) != 0,
                  .aborts_have_lsn = walsender->version >= SERVER_16 && !options->whole};
    if (sooner(walsender, options, e) && start(walsender, options, e))
        return s;
    stream_close(s);
    return NULL;
}

/* ---- reading ---- */

/* "w start i64 end i64 time i64 message" or "k end i64 time i64 reply u8". */
static bool frame_read(const Stream *s, char *buffer, int size, Frame *out, Error *e) {
    Reader r = reader_new((Slice){buffer, (size_t)size});
    uint8_t kind = reader_u8(&r);
    Lsn at = {kind == 'w' ? reader_u64(&r) : 0};
    Lsn wal_end = {reader_u64(&r)};
    reader_u64(&r);
    if (kind == 'w' && !r.bad) {
        *out = (Frame){.kind = FRAME_DATA,
                       .bytes = reader_bytes(&r, reader_left(&r)),
                       .memory = buffer,
                       .memory_bytes = (size_t)size + 1,
                       .at = at,
                       .wal_end = wal_end,
                       .read_us = s->read_us};
        return true;
    }
    bool reply_wanted = reader_u8(&r) != 0;
    bool whole = kind == 'k' && !r.bad && reader_left(&r) == 0;
    PQfreemem(buffer);
    if (!whole)
        return fail(e, ERR_PROTOCOL, "%s: unknown frame \"%c\" of %d bytes in the stream", s->pg->side,
                    kind >= ' ' && kind < 127 ? kind : '?', size);
    *out = (Frame){.kind = FRAME_KEEPALIVE, .wal_end = wal_end, .reply_wanted = reply_wanted};
    return true;
}

/* The server ended the copy: orderly, or by an error that stands behind it. */
static bool end_read(Stream *s, Frame *out, Error *e) {
    PGresult *result = PQgetResult(s->pg->conn);
    bool orderly = result == NULL || PQresultStatus(result) == PGRES_COMMAND_OK ||
                   PQresultStatus(result) == PGRES_COPY_IN;
    if (!orderly)
        stream_failed(s, result, e);
    PQclear(result);
    s->ended = true;
    out->kind = FRAME_END;
    return orderly;
}

/* Any byte is a sign of life, also of a message that is not whole yet. */
static bool input_take(Stream *s) {
    struct pollfd one = {.fd = PQsocket(s->pg->conn), .events = POLLIN};
    if (s->asked_ms != 0 && poll(&one, 1, 0) > 0)
        s->asked_ms = 0;
    s->read_us = clock_us();
    return PQconsumeInput(s->pg->conn) != 0;
}

/* Before bytes are looked for. What is in the socket already need not be waited for. */
static void linger(Stream *s) {
    int64_t now_us = clock_us(), passed_us = now_us - s->counted_us;
    int there = 0;
    if (passed_us >= 1000) {
        s->many = s->counted > passed_us * MANY_FRAMES / 1000;
        s->counted_us = now_us;
        s->counted = 0;
    }
    if (s->many && ioctl(PQsocket(s->pg->conn), FIONREAD, &there) == 0 && there < LINGER_BYTES)
        clock_sleep_us(LINGER_US);
}

/* Waits for bytes until then, and takes them in. False: the connection is broken. *late: none came in time.
 * Bytes that TLS has already decrypted do not show on the socket, so it is not trusted for long. */
static bool input_wait(Stream *s, int64_t until_ms, bool *late) {
    int64_t left_ms = until_ms - clock_ms();
    *late = left_ms <= 0;
    if (*late)
        return true;
    int wait_ms = s->tls && left_ms > TLS_LOOK_MS ? TLS_LOOK_MS : (int)left_ms;
    struct pollfd one = {.fd = PQsocket(s->pg->conn), .events = POLLIN};
    poll(&one, 1, wait_ms);
    return input_take(s);
}

/* Nothing has come. Asked for only behind a look at the socket: the answer may have lain there while the caller was
 * busy elsewhere. */
static bool still_there(const Stream *s, Error *e) {
    if (s->asked_ms == 0 || clock_ms() - s->asked_ms < s->silence_ms)
        return true;
    fail(e, ERR_RETRY, "%s: no sign of life for %lld s", s->pg->side, (long long)s->silence_ms / 1000);
    e->connection = true;
    return false;
}

static bool frame_take(Stream *s, char *buffer, int size, Frame *out, Error *e) {
    s->asked_ms = 0;
    s->quiet = false;
    s->counted++;
    return frame_read(s, buffer, size, out, e);
}

bool stream_read(Stream *s, int wait_ms, Frame *out, Error *e) {
    *out = (Frame){.kind = s->ended ? FRAME_END : FRAME_NONE};
    int64_t until_ms = 0;
    for (bool looked = false; !s->ended;) {
        char *buffer = NULL;
        int size = PQgetCopyData(s->pg->conn, &buffer, 1);
        if (size > 0)
            return frame_take(s, buffer, size, out, e);
        if (size == -1)
            return end_read(s, out, e);
        bool late = false;
        if (!looked)
            linger(s);
        else if (until_ms == 0)
            until_ms = clock_ms() + wait_ms;
        if (size < 0 || !(looked ? input_wait(s, until_ms, &late) : input_take(s)))
            return stream_failed(s, NULL, e);
        if (late)
            return still_there(s, e);
        looked = true;
    }
    return true;
}

/* ---- writing ---- */

/* *left: the socket took not everything until then; the rest goes with the next call. */
static bool output_flush(const Stream *s, int64_t until_ms, bool *left, Error *e) {
    for (;;) {
        int rest = PQflush(s->pg->conn);
        if (rest < 0)
            return stream_failed(s, NULL, e);
        *left = rest > 0;
        int64_t wait_ms = until_ms - clock_ms();
        if (!*left || wait_ms <= 0)
            return true;
        struct pollfd one = {.fd = PQsocket(s->pg->conn), .events = POLLOUT};
        poll(&one, 1, (int)wait_ms);
    }
}

static bool status_send(const Stream *s, Lsn received, Lsn confirmed, bool reply_wanted, int64_t until_ms,
                        Error *e) {
    bool left;
    if (s->ended)
        return true;
    /* While an older one waits for the socket there is no use in another behind it. */
    if (!output_flush(s, until_ms, &left, e))
        return false;
    if (left)
        return true;
    Writer w = writer_new(STATUS_BYTES);
    writer_u8(&w, 'r');
    writer_u64(&w, received.at);
    writer_u64(&w, confirmed.at);
    writer_u64(&w, confirmed.at);
    writer_u64(&w, (uint64_t)(clock_wall_us() - CLOCK_PG_EPOCH_US));
    writer_u8(&w, reply_wanted ? 1 : 0);
    assert(w.len == STATUS_BYTES);
    int taken = PQputCopyData(s->pg->conn, w.at, STATUS_BYTES);
    writer_free(&w);
    if (taken < 0)
        return stream_failed(s, NULL, e);
    return output_flush(s, until_ms, &left, e);
}

bool stream_status(Stream *s, Lsn received, Lsn confirmed, bool reply_wanted, Error *e) {
    bool ask = reply_wanted || s->quiet;
    if (ask && s->asked_ms == 0)
        s->asked_ms = clock_ms();
    s->quiet = true;
    return status_send(s, received, confirmed, ask, clock_ms() + WRITE_WAIT_MS, e);
}

/* ---- the rest ---- */

int stream_status_every_ms(const Stream *s) {
    return s->status_every_ms;
}

bool stream_aborts_have_lsn(const Stream *s) {
    return s->aborts_have_lsn;
}

int stream_socket(const Stream *s) {
    return PQsocket(s->pg->conn);
}

/* What is still on its way is thrown away, until the server says that it has seen our end. */
static void drain(Stream *s, int64_t until_ms) {
    char *buffer = NULL;
    bool late = false;
    for (int size; !late && (size = PQgetCopyData(s->pg->conn, &buffer, 1)) >= 0;) {
        if (size > 0) {
            PQfreemem(buffer);
            late = clock_ms() >= until_ms;
        } else if (!input_wait(s, until_ms, &late)) {
            return;
        }
    }
    while (!late && PQisBusy(s->pg->conn))
        if (!input_wait(s, until_ms, &late))
            return;
}

void stream_finish(Stream *s, Lsn received, Lsn confirmed, int wait_ms) {
    int64_t until_ms = clock_ms() + wait_ms;
    Error ignored;
    bool left;
    if (!s->ended && status_send(s, received, confirmed, false, until_ms, &ignored) &&
        PQputCopyEnd(s->pg->conn, NULL) == 1 && output_flush(s, until_ms, &left, &ignored))
        drain(s, until_ms);
    stream_close(s);
}

void stream_close(Stream *s) {
    if (s == NULL)
        return;
    pg_close(s->pg);
    free(s);
}
