#include "core/pg_failure.h"

#include <stdio.h>
#include <string.h>

#include "core/sqlstate.h"

/* A message of libpq (always verbose here) taken apart: its SQLSTATE if it shows one, and the sentence behind
 * it. */
typedef struct Report {
    char sqlstate[6];
    char text[500];
} Report;

static void line_copy(Report *out, const char *line) {
    size_t length = strcspn(line, "\n");
    if (length >= sizeof out->text)
        length = sizeof out->text - 1;
    memcpy(out->text, line, length);
    out->text[length] = '\0';
}

static bool is_sqlstate(const char *text) {
    for (int n = 0; n < 5; n++)
        if (!(text[n] >= '0' && text[n] <= '9') && !(text[n] >= 'A' && text[n] <= 'Z'))
            return false;
    return strncmp(text + 5, ": ", 2) == 0;
}

/* Verbose messages read "FATAL:  28P01: password …", the severity in the server's language. The sentence
 * behind the code, or NULL. */
static const char *line_sentence(const char *line, char sqlstate[6]) {
    for (const char *c = line; *c != '\n' && *c != '\0'; c++) {
        if (strncmp(c, ":  ", 3) != 0 || !is_sqlstate(c + 3))
            continue;
        memcpy(sqlstate, c + 3, 5);
        sqlstate[5] = '\0';
        return c + 10;
    }
    return NULL;
}

/* Several hosts, or several tries of one, give several lines: the last one that carries a SQLSTATE counts,
 * else the last try, else the first line. */
static Report report_read(const char *message) {
    Report out = {0};
    line_copy(&out, message);
    for (const char *line = message; *line != '\0'; line++) {
        const char *sentence = line_sentence(line, out.sqlstate);
        if (sentence != NULL)
            line_copy(&out, sentence);
        else if (out.sqlstate[0] == '\0' && strncmp(line, "connection to server", 20) == 0)
            line_copy(&out, line);
        line += strcspn(line, "\n");
        if (*line == '\0')
            break;
    }
    return out;
}

/* libpq gives no code for what it finds out itself. These need somebody to change something; the rest passes.
 */
static bool text_is_config(const char *text) {
    static const char *const signs[] = {"certificate",        "does not support SSL", "no password supplied",
                                        "authentication",     "channel binding",      "definition of service",
                                        "service file",       "private key",          "could not match",
                                        "Too many open files"};
    if (strstr(text, "could not translate host name") != NULL)
        return false;
    /* The host's name stands before " failed: ", and could be anything. */
    const char *behind = strncmp(text, "connection to server", 20) == 0 ? strstr(text, " failed: ") : NULL;
    const char *reason = behind == NULL ? text : behind + 9;
    for (size_t n = 0; n < sizeof signs / sizeof *signs; n++)
        if (strstr(reason, signs[n]) != NULL)
            return true;
    bool tls_refused = strstr(reason, "SSL error") != NULL && strstr(reason, " eof ") == NULL;
    return tls_refused || strncmp(reason, "invalid ", 8) == 0;
}

static void login_hint(Error *e, const char *side) {
    static const struct {
        const char *sqlstate, *sign, *what;
    } hints[] = {
        {SQLSTATE_INVALID_PASSWORD, "", "user and password, PGPASSWORD, ~/.pgpass"},
        {SQLSTATE_INVALID_AUTHORIZATION, "",
         "the user, and whether the server's pg_hba.conf lets it in from here"},
        {SQLSTATE_INVALID_CATALOG_NAME, "", "the name of the database"},
        {SQLSTATE_INSUFFICIENT_PRIVILEGE, "",
         "the user may not connect so; a replication session needs ALTER ROLE … REPLICATION"},
        {"", "no password supplied", "it has no password, nor have PGPASSWORD and ~/.pgpass"},
        {"", "could not translate host name", "the host"},
        {"", "does not support SSL", "sslmode; or switch ssl on at the server"},
        {"", "does not match host name", "the host: the server's certificate is for another name"},
        {"", "root certificate file", "sslrootcert"},
        /* libpq keeps to itself which of the three it is */
        {"", "certificate verify failed",
         "sslrootcert, and the server's certificate: who signed it, and whether its time is over"},
        {"", "Too many open files", "it is right, but this process may open no more: raise ulimit -n"},
        {"", "Connection refused", "host and port; and the server's listen_addresses"},
    };
    if (sqlstate_is(e, SQLSTATE_TOO_MANY_CONNECTIONS))
        fail_hint(e, "the server has no session left: see its max_connections and max_wal_senders");
    for (size_t n = 0; n < sizeof hints / sizeof *hints; n++)
        if (sqlstate_is(e, hints[n].sqlstate) && strstr(e->text, hints[n].sign) != NULL)
            fail_hint(e, "check %s.dsn: %s", side, hints[n].what);
}

/* libpq's own words for a message that this process has no memory for; a server's would have a code. It would come
 * again with the next try. */
static bool text_is_memory(const Report *report) {
    return report->sqlstate[0] == '\0' && (strstr(report->text, "out of memory") != NULL ||
                                           strstr(report->text, "cannot allocate memory") != NULL);
}

static bool memory_failed(const Pg *pg, const Report *report, Error *e) {
    fail(e, ERR_LIMIT, "%s: this process has no memory for a row: %s", pg->side, report->text);
    return fail_hint(e, "give it more (ulimit -v, MemoryMax of the service), several times the largest row");
}

/* A value whose text form, or a row that, is beyond what a server can hold in one piece (F77): it would come again. */
static bool text_is_row_limit(const Report *report) {
    bool limit = strcmp(report->sqlstate, SQLSTATE_PROGRAM_LIMIT_EXCEEDED) == 0;
    return strstr(report->text, "invalid memory alloc request size") != NULL ||
           (limit && (strstr(report->text, "out of memory") != NULL ||
                      strstr(report->text, "string buffer exceeds") != NULL));
}

static bool row_limit_failed(const Pg *pg, const Report *report, Error *e) {
    fail(e, ERR_LIMIT, "%s: a row is larger in text form than the 1 GB that a server can handle: %s",
         pg->side, report->text);
    memcpy(e->sqlstate, report->sqlstate, sizeof e->sqlstate);
    return fail_hint(
        e, "make the value smaller at the source; what is in the stream already cannot be passed over: "
           "\"walferry cleanup\", empty the target, and begin anew");
}

/* F76: of an SQL_ASCII source any bytes may come, and to a target that is not UTF8 not every character may go. */
static void encoding_hint(const char *side, Error *e) {
    if (!sqlstate_is(e, SQLSTATE_CHARACTER_NOT_IN_REPERTOIRE) &&
        !sqlstate_is(e, SQLSTATE_UNTRANSLATABLE_CHARACTER))
        return;
    if (strcmp(side, "target") == 0)
        fail_hint(e, "the encoding of the target database does not know it: make one with ENCODING 'UTF8'");
    else
        fail_hint(
            e, "mend the text at the source; what is in the stream already cannot be passed over: \"walferry "
               "cleanup\", empty the target, and begin anew");
}

bool pg_login_failed(const Pg *pg, Error *e) {
    Report report = report_read(PQerrorMessage(pg->conn));
    bool coded = report.sqlstate[0] != '\0';
    ErrorKind kind = coded                         ? retry_kind(report.sqlstate, RETRY_CONNECTING)
                     : text_is_config(report.text) ? ERR_CONFIG
                                                   : ERR_RETRY;
    fail(e, kind, "%s: %s", pg->side, report.text);
    memcpy(e->sqlstate, report.sqlstate, sizeof e->sqlstate);
    e->connection = kind == ERR_RETRY;
    login_hint(e, pg->side);
    return false;
}

bool pg_failed(Pg *pg, const PGresult *result, Error *e) {
    const char *sqlstate = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *hint = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    bool broken = PQstatus(pg->conn) == CONNECTION_BAD;
    Report report = report_read(PQerrorMessage(pg->conn));
    if (primary != NULL)
        line_copy(&report, primary);
    if (sqlstate != NULL)
        snprintf(report.sqlstate, sizeof report.sqlstate, "%s", sqlstate);
    if (report.text[0] == '\0')
        snprintf(report.text, sizeof report.text, "unexpected answer to a statement");
    if (text_is_memory(&report))
        return memory_failed(pg, &report, e);
    if (text_is_row_limit(&report))
        return row_limit_failed(pg, &report, e);
    bool passes = broken || report.sqlstate[0] == '\0';
    fail(e, passes ? ERR_RETRY : retry_kind(report.sqlstate, pg->when), "%s: %s", pg->side, report.text);
    memcpy(e->sqlstate, report.sqlstate, sizeof e->sqlstate);
    e->connection = broken || retry_is_connection(report.sqlstate);
    encoding_hint(pg->side, e);
    if (hint != NULL)
        fail_hint(e, "%s", hint);
    else if (sqlstate_is(e, SQLSTATE_INSUFFICIENT_PRIVILEGE))
        fail_hint(e, "grant it to the user of %s.dsn, or name another user there", pg->side);
    return false;
}
