#include "core/pg.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/pg_failure.h"
#include "core/sqlstate.h"

/* Trap C5 and design "Apply": what every session of ours begins with, whatever the role, the database or the
 * server have as defaults. Since: the first server version that knows the setting. */
typedef struct Setting {
    int since;
    const char *name, *value;
} Setting;
static const Setting SETTINGS[] = {
    {0, "statement_timeout", "0"},
    {90300, "lock_timeout", "0"},
    {90600, "idle_in_transaction_session_timeout", "0"},
    {140000, "idle_session_timeout", "0"},
    /* a machine that is gone must not keep its locks for hours: its sessions end within half a minute */
    {0, "tcp_keepalives_idle", "10"},
    {0, "tcp_keepalives_interval", "5"},
    {0, "tcp_keepalives_count", "4"},
    {170000, "transaction_timeout", "0"},
    {0, "TimeZone", "UTC"},
    {0, "DateStyle", "ISO"},
    {0, "IntervalStyle", "postgres"},
    {0, "extra_float_digits", "3"},
    {0, "bytea_output", "hex"},
    {0, "xmloption", "content"},
    {0, "standard_conforming_strings", "on"},
    {0, "array_nulls", "on"},
    {0, "transform_null_equals", "off"},
    {0, "lc_monetary", "C"},
    {110000, "jit", "off"},
    {0, "default_transaction_isolation", "read committed"},
    {0, "default_transaction_read_only", "off"},
    {90500, "row_security", "off"},
    {0, "search_path", ""},
};
enum { SETTINGS_COUNT = sizeof SETTINGS / sizeof *SETTINGS };

/* How long sent bytes may stay without an answer of the other kernel. It counts a full receive window, too:
 * the target may be slow to take rows for as long as somebody else holds a lock there, so it is given more.
 */
enum { SOURCE_SILENCE_MS = 30000, TARGET_SILENCE_MS = 300000 };
/* How long a statement that needs no time may go without an answer, where the user did not choose. */
enum { ANSWER_MS = 60000, STEP_MS = 100, WAIT_MOST_MS = 60000 };
/* One try of pg_open_wait, and the pauses between two. */
enum { TRY_MS = 10000, TRY_LEAST_MS = 1000, PAUSE_FIRST_MS = 100, PAUSE_MOST_MS = 1000 };

bool pg_given_up(const Pg *pg) {
    return pg->given_up != NULL && atomic_load(pg->given_up);
}

/* False when the deadline passes first, or nobody waits any more. */
static bool socket_wait(const Pg *pg, short events, int64_t deadline_ms) {
    for (;;) {
        int64_t left_ms = deadline_ms - clock_ms();
        int64_t most_ms = pg->given_up != NULL ? STEP_MS : WAIT_MOST_MS;
        int wait_ms = (int)(left_ms > most_ms ? most_ms : left_ms);
        struct pollfd one = {.fd = PQsocket(pg->conn), .events = events};
        int ready = poll(&one, 1, wait_ms < 0 ? 0 : wait_ms);
        if (ready != 0 && !(ready < 0 && errno == EINTR))
            return true;
        if (left_ms <= 0 || pg_given_up(pg))
            return false;
    }
}

static bool too_slow(const Pg *pg, Error *e) {
    fail(e, ERR_RETRY, "%s: no answer in time from \"%s\" port %s", pg->side, PQhost(pg->conn),
         PQport(pg->conn));
    e->connection = true;
    return fail_hint(e, "check host and port in %s.dsn, and that no firewall swallows the packets", pg->side);
}

static void notice_take(void *context, const char *message) {
    const Pg *pg = context;
    log_debug("%s: %.*s", pg->side, (int)strcspn(message, "\n"), message);
}

static void silence_set(const Pg *pg, int silence_ms) {
    /* Fails on a unix socket, which has no silence. */
    setsockopt(PQsocket(pg->conn), IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
}

/* libpq gives each host of a list as much time as the kernel does; a dead first host must leave time for the
 * second. True when the user did not choose the timeout; else *chosen_ms. */
static bool silence_is_ours(const char *dsn, int *hosts, int *chosen_ms) {
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    bool ours = true;
    *hosts = 1;
    *chosen_ms = 0;
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (o->val == NULL)
            continue;
        if (strcmp(o->keyword, "tcp_user_timeout") == 0) {
            ours = false;
            *chosen_ms = (int)strtol(o->val, NULL, 10);
        }
        int commas = 0;
        for (const char *c = o->val; strncmp(o->keyword, "host", 4) == 0 && *c != '\0'; c++)
            commas += *c == ',';
        *hosts = commas + 1 > *hosts ? commas + 1 : *hosts;
    }
    PQconninfoFree(options);
    return ours;
}

static Pg *start(const PgAddress *to, int silence_ms) {
    char name[64] = "walferry", silence[16];
    if (to->job != NULL)
        snprintf(name, sizeof name, "walferry_%s", to->job);
    snprintf(silence, sizeof silence, "%d", silence_ms);
    /* What stands before dbname gives way to the DSN, what stands behind it does not. */
    const char *const keys[] = {"keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "tcp_user_timeout",
                                "dbname",
                                "application_name",
                                "client_encoding",
                                "replication",
                                NULL};
    const char *const values[] = {
        "10", "5", "4", silence, to->dsn, name, "UTF8", to->replication ? "database" : NULL, NULL};
    Pg *pg = memory_new(sizeof *pg);
    snprintf(pg->side, sizeof pg->side, "%s", to->side);
    pg->conn = PQconnectStartParams(keys, values, 1);
    if (pg->conn == NULL)
        memory_refused(0);
    PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE);
    PQsetNoticeProcessor(pg->conn, notice_take, pg);
    return pg;
}

static bool login(Pg *pg, int64_t deadline_ms, Error *e) {
    PostgresPollingStatusType want =
        PQstatus(pg->conn) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (want != PGRES_POLLING_OK) {
        if (want == PGRES_POLLING_FAILED)
            return pg_login_failed(pg, e);
        if (!socket_wait(pg, want == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms))
            return too_slow(pg, e);
        want = PQconnectPoll(pg->conn);
    }
    pg->version = PQserverVersion(pg->conn);
    pg->backend_pid = PQbackendPID(pg->conn);
    return true;
}

static bool result_good(const PGresult *result) {
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY:
    case PGRES_COPY_BOTH: return true;
    default: return false;
    }
}

/* NULL and e, or the result when it is good. */
static PGresult *result_checked(Pg *pg, PGresult *result, Error *e) {
    if (result_good(result))
        return result;
    pg_failed(pg, result, e);
    PQclear(result);
    return NULL;
}

/* A connection whose answer was not waited for is of no use any more, and shall say so. */
static bool give_up(Pg *pg, Error *e) {
    too_slow(pg, e);
    shutdown(PQsocket(pg->conn), SHUT_RDWR);
    while (PQconsumeInput(pg->conn) == 1 && PQstatus(pg->conn) == CONNECTION_OK)
        ;
    return false;
}

static bool input_wait(Pg *pg, int64_t deadline_ms, Error *e) {
    while (PQisBusy(pg->conn)) {
        if (!socket_wait(pg, POLLIN, deadline_ms))
            return give_up(pg, e);
        if (PQconsumeInput(pg->conn) == 0)
            return pg_failed(pg, NULL, e);
    }
    return true;
}

/* The last result of what was sent, or the first bad one; NULL and e when none comes until then. */
static PGresult *result_until(Pg *pg, int sent, int64_t deadline_ms, Error *e) {
    PGresult *last = NULL;
    bool more = sent != 0;
    while (more) {
        if (!input_wait(pg, deadline_ms, e)) {
            PQclear(last);
            return NULL;
        }
        PGresult *next = PQgetResult(pg->conn);
        bool counts = next != NULL && (last == NULL || result_good(last));
        PQclear(counts ? last : next);
        last = counts ? next : last;
        more = next != NULL && PQresultStatus(last) != PGRES_COPY_BOTH;
    }
    return result_checked(pg, last, e);
}

/* As pg_run, for the first statements of a session: the server may have stopped answering since the login. */
static bool run_until(Pg *pg, const char *sql, int64_t deadline_ms, Error *e) {
    PGresult *result = result_until(pg, PQsendQuery(pg->conn, sql), deadline_ms, e);
    PQclear(result);
    return result != NULL;
}

/* One SELECT without a semicolon: the walsenders of early minors take no second statement, and it is one
 * round trip. */
static bool settings_pin(Pg *pg, bool watch_client, int64_t deadline_ms, Error *e) {
    Writer sql = writer_new(1 << 14);
    writer_text(&sql, "SELECT pg_catalog.set_config('application_name', "
                      "pg_catalog.current_setting('application_name'), false)");
    for (int n = 0; n < SETTINGS_COUNT; n++)
        if (pg->version >= SETTINGS[n].since)
            writer_format(&sql, ", pg_catalog.set_config('%s', '%s', false)", SETTINGS[n].name,
                          SETTINGS[n].value);
    if (watch_client)
        writer_text(&sql, ", pg_catalog.set_config('client_connection_check_interval', '1s', false)");
    assert(!sql.full);
    bool good = run_until(pg, writer_string(&sql), deadline_ms, e);
    writer_free(&sql);
    return good;
}

/* Servers on systems that cannot watch their clients' sockets refuse the interval (22023). */
static bool session_begin(Pg *pg, const char *options, int64_t deadline_ms, Error *e) {
    bool watch_client = pg->version >= 140000;
    if (!settings_pin(pg, watch_client, deadline_ms, e)) {
        if (!watch_client || !sqlstate_is(e, SQLSTATE_INVALID_PARAMETER_VALUE) ||
            !settings_pin(pg, false, deadline_ms, e))
            return false;
    }
    return options == NULL || run_until(pg, options, deadline_ms, e);
}

Pg *pg_open(const PgAddress *to, int timeout_ms, Error *e) {
    assert(timeout_ms > 0);
    if (!pg_dsn_valid(to->dsn, e)) {
        fail_context(e, "%s", to->side);
        return NULL;
    }
    int64_t deadline_ms = clock_ms() + timeout_ms;
    int hosts, chosen_ms;
    bool ours = silence_is_ours(to->dsn, &hosts, &chosen_ms);
    Pg *pg = start(to, timeout_ms / hosts);
    pg->silence_ms = chosen_ms > 0 ? chosen_ms : ANSWER_MS;
    if (!login(pg, deadline_ms, e) || !session_begin(pg, to->options, deadline_ms, e)) {
        pg_close(pg);
        return NULL;
    }
    if (ours)
        silence_set(pg, strcmp(pg->side, "target") == 0 ? TARGET_SILENCE_MS : SOURCE_SILENCE_MS);
    return pg;
}

Pg *pg_open_wait(const PgAddress *to, int64_t wait_ms, Error *e) {
    int64_t deadline_ms = clock_ms() + wait_ms;
    int64_t pause_ms = PAUSE_FIRST_MS;
    for (;;) {
        int64_t left_ms = deadline_ms - clock_ms();
        int64_t try_ms = left_ms < TRY_LEAST_MS ? TRY_LEAST_MS : left_ms > TRY_MS ? TRY_MS : left_ms;
        Pg *pg = pg_open(to, (int)try_ms, e);
        if (pg != NULL || e->kind != ERR_RETRY || clock_ms() + pause_ms >= deadline_ms)
            return pg;
        clock_sleep_ms(pause_ms);
        pause_ms = pause_ms * 2 > PAUSE_MOST_MS ? PAUSE_MOST_MS : pause_ms * 2;
    }
}

void pg_close(Pg *pg) {
    if (pg == NULL)
        return;
    PQfinish(pg->conn);
    free(pg);
}

void pg_expect_work(Pg *pg) {
    pg->patient = true;
}

void pg_give_up_when(Pg *pg, const atomic_bool *given_up) {
    pg->given_up = given_up;
}

static int64_t answer_deadline(const Pg *pg) {
    return pg->patient ? INT64_MAX : clock_ms() + pg->silence_ms;
}

bool pg_run(Pg *pg, const char *sql, Error *e) {
    PGresult *result = pg_command(pg, sql, e);
    PQclear(result);
    return result != NULL;
}

PGresult *pg_query(Pg *pg, const char *sql, int count, const char *const *params, Error *e) {
    return result_until(pg, PQsendQueryParams(pg->conn, sql, count, NULL, params, NULL, NULL, 0),
                        answer_deadline(pg), e);
}

bool pg_value(Pg *pg, const char *sql, int count, const char *const *params, char *out, size_t size,
              Error *e) {
    PGresult *result = pg_query(pg, sql, count, params, e);
    if (result == NULL)
        return false;
    int rows = PQntuples(result), columns = PQnfields(result);
    if (rows == 1 && columns == 1)
        snprintf(out, size, "%s", pg_cell(result, 0, 0));
    PQclear(result);
    if (rows == 1 && columns == 1)
        return true;
    return fail(e, ERR_PROTOCOL, "%s: one value expected, the answer has %d rows and %d columns", pg->side,
                rows, columns);
}

PGresult *pg_command(Pg *pg, const char *command, Error *e) {
    return result_until(pg, PQsendQuery(pg->conn, command), answer_deadline(pg), e);
}

int64_t pg_affected(const PGresult *result) {
    /* PQcmdTuples only reads, but its parameter is not const. */
    const union {
        const PGresult *lent;
        PGresult *passed;
    } both = {.lent = result};
    return strtoll(PQcmdTuples(both.passed), NULL, 10);
}

const char *pg_cell(const PGresult *result, int row, int column) {
    const char *cell = PQgetvalue(result, row, column);
    /* NULL: outside of what was sent, by bytes that were damaged on the way (F66) */
    return cell == NULL ? "" : cell;
}

bool pg_cell_null(const PGresult *result, int row, int column) {
    return PQgetisnull(result, row, column) != 0;
}

int64_t pg_cell_int(const PGresult *result, int row, int column) {
    return strtoll(pg_cell(result, row, column), NULL, 10);
}

bool pg_cell_bool(const PGresult *result, int row, int column) {
    return pg_cell(result, row, column)[0] == 't';
}

Lsn pg_cell_lsn(const PGresult *result, int row, int column) {
    Lsn lsn = LSN_NONE;
    lsn_parse(pg_cell(result, row, column), &lsn);
    return lsn;
}

static int row_compare(const PGresult *result, int row, const char *schema, const char *name) {
    int by_schema = strcmp(pg_cell(result, row, 0), schema);
    return by_schema != 0 ? by_schema : strcmp(pg_cell(result, row, 1), name);
}

int pg_row_of_name(const PGresult *result, const char *schema, const char *name) {
    int low = 0, high = PQntuples(result), count = high;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (row_compare(result, middle, schema, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && row_compare(result, low, schema, name) == 0 ? low : -1;
}

/* libpq refuses text that is not valid UTF-8, as an SQL_ASCII database may hold it. It is quoted byte by
 * byte, and the server decides: each ASCII byte stands for itself in every encoding that a server can have.
 */
static void quoted_write(Writer *w, char *quoted, char quote, const char *text) {
    if (quoted != NULL) {
        writer_text(w, quoted);
        PQfreemem(quoted);
        return;
    }
    writer_u8(w, (uint8_t)quote);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == quote)
            writer_u8(w, (uint8_t)quote);
        writer_u8(w, (uint8_t)*c);
    }
    writer_u8(w, (uint8_t)quote);
}

void pg_write_name(Writer *w, Pg *pg, const char *name) {
    quoted_write(w, PQescapeIdentifier(pg->conn, name, strlen(name)), '"', name);
}

void pg_write_table(Writer *w, Pg *pg, const char *schema, const char *name) {
    pg_write_name(w, pg, schema);
    writer_u8(w, '.');
    pg_write_name(w, pg, name);
}

bool pg_attempt(Pg *pg, const char *sql, Error *refused, Error *e) {
    error_clear(refused);
    if (!pg_run(pg, "SAVEPOINT walferry_attempt", e))
        return false;
    bool done = pg_run(pg, sql, refused);
    return pg_run(pg,
                  done ? "RELEASE SAVEPOINT walferry_attempt"
                       : "ROLLBACK TO SAVEPOINT walferry_attempt; RELEASE SAVEPOINT walferry_attempt",
                  e);
}

void pg_write_item(Writer *w, const char *text) {
    writer_text(w, w->len > 0 && w->at[w->len - 1] == '{' ? "\"" : ",\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            writer_u8(w, '\\');
        writer_u8(w, (uint8_t)*text);
    }
    writer_u8(w, '"');
}

void pg_write_literal(Writer *w, Pg *pg, const char *text) {
    quoted_write(w, PQescapeLiteral(pg->conn, text, strlen(text)), '\'', text);
}
