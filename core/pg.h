/* pg: connections to PostgreSQL and statements on them: the only file that calls libpq's connect and exec.
 * Every session gets the settings of trap C5 and design.md "Apply" (timeouts of its own, UTF8, UTC, pinned output
 * formats, row_security off, empty search_path), also the walsender's. A Pg belongs to one thread at a time.
 * Failures are classified by core/retry. Nothing here retries but pg_open_wait; the server's notices go to the debug log.
 * libpq keeps the SQLSTATE of a failed login to itself: the connection is made by polling with verbose errors, so
 * that the message begins "FATAL:  28P01:" (design "Errors"). */
#ifndef WALFERRY_CORE_PG_H
#define WALFERRY_CORE_PG_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/lsn.h"
#include "core/retry.h"

typedef struct PgAddress {
    const char *dsn;     /* URI or keyword string */
    const char *side;    /* "source" or "target": for messages */
    const char *job;     /* application_name becomes walferry_<job> */
    bool replication;    /* a walsender session (replication=database) */
    const char *options; /* further "SET …;" statements run after the pinned ones, or NULL */
} PgAddress;

typedef struct Pg {
    PGconn *conn;
    int version; /* server_version_num */
    int backend_pid;
    RetryWhen when; /* how errors of statements are classified; begins as RETRY_CONNECTING */
    int silence_ms; /* how long a statement may go without an answer: tcp_user_timeout of the DSN, else 60 s */
    bool patient;   /* see pg_expect_work */
    const atomic_bool *given_up;
    char side[8];
} Pg;

/* Tries once, for at most timeout_ms; NULL and e on failure. */
Pg *pg_open(const PgAddress *to, int timeout_ms, Error *e);
/* Tries again for wait_ms on errors that pass by themselves; the last error when it is over. */
Pg *pg_open_wait(const PgAddress *to, int64_t wait_ms, Error *e);
void pg_close(Pg *pg); /* NULL is fine */

/* A statement without an answer within silence_ms is a lost connection: the kernels between may keep one up whose
 * other end is silent (F92), and of a damaged answer libpq waits for the rest (F66). Sessions whose statements may
 * work for hours are told apart by this. */
void pg_expect_work(Pg *pg);
/* From now on nothing is waited for any more once another thread sets *given_up. */
void pg_give_up_when(Pg *pg, const atomic_bool *given_up);
bool pg_given_up(const Pg *pg);

/* One or several statements by the simple protocol; rows are thrown away. */
bool pg_run(Pg *pg, const char *sql, Error *e);
/* One statement with text parameters (NULL: SQL NULL) and text results; NULL and e on failure; PQclear is the caller's. */
PGresult *pg_query(Pg *pg, const char *sql, int count, const char *const *params, Error *e);
/* As pg_query, exactly one row and column expected, copied into out (cut to size); NULL value: "". */
bool pg_value(Pg *pg, const char *sql, int count, const char *const *params, char *out, size_t size,
              Error *e);
/* One statement by the simple protocol as a walsender knows it (IDENTIFY_SYSTEM, CREATE_REPLICATION_SLOT, …). */
PGresult *pg_command(Pg *pg, const char *command, Error *e);
/* Rows touched by the last command of this result. */
int64_t pg_affected(const PGresult *result);

/* Fills e from a failed result (or, when result is NULL, from the connection) and returns false. */
bool pg_failed(Pg *pg, const PGresult *result, Error *e);

/* Typed cells of a text result. */
const char *pg_cell(const PGresult *result, int row, int column); /* "" for NULL, and where there is none */
bool pg_cell_null(const PGresult *result, int row, int column);
int64_t pg_cell_int(const PGresult *result, int row, int column); /* 0 for NULL */
bool pg_cell_bool(const PGresult *result, int row, int column);
Lsn pg_cell_lsn(const PGresult *result, int row, int column); /* LSN_NONE for NULL */
/* Of rows that are ordered by their first two cells, COLLATE "C": the first of this name; -1: there is none. */
int pg_row_of_name(const PGresult *result, const char *schema, const char *name);

/* One statement in the caller's transaction, behind a savepoint: refused->kind stays ERR_NONE, or it was undone. False
 * and e when the transaction is of no use any more. */
bool pg_attempt(Pg *pg, const char *sql, Error *refused, Error *e);

/* Quoting, by libpq's functions. */
void pg_write_name(Writer *w, Pg *pg, const char *name);
void pg_write_table(Writer *w, Pg *pg, const char *schema, const char *name);
void pg_write_literal(Writer *w, Pg *pg, const char *text);
/* One more item of an array's text, which begins with "{" and which the caller ends with "}". */
void pg_write_item(Writer *w, const char *text);

/* A DSN taken apart: "host=db1 port=5432 dbname=shop user=reader", never a secret. */
bool pg_describe(const char *dsn, char *out, size_t size, Error *e);
/* True when the DSN can be parsed; e says where not. */
bool pg_dsn_valid(const char *dsn, Error *e);
/* The database's name in the DSN, "" when it has none. */
void pg_dsn_database(const char *dsn, char *out, size_t size);
/* For a child process (pg_dump): the DSN without its secrets as a keyword string, and the secret for PGPASSWORD
 * ("" when there is none). Both of malloc; the caller frees them (the secret through pg_forget). */
bool pg_dsn_split(const char *dsn, char **without_secret, char **password, Error *e);
void pg_forget(char *secret); /* overwritten, then freed */
/* The DSN, secrets included, with the one server that `pg` is connected to instead of its list of hosts; the second with
 * another database, too. Of malloc, for pg_forget. */
char *pg_dsn_pin(const char *dsn, const Pg *pg);
char *pg_dsn_beside(const char *dsn, const Pg *pg, const char *database);

#endif
