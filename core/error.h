/* error: what went wrong, as a reaction. The kind says what to do about it (core/retry decides it for
 * SQLSTATEs); the text is one lowercase sentence without a full stop, objects quoted; the hint, when there is
 * one, says what mends it. Fixed size, so that it works when memory is gone. Not for programming errors: those
 * are asserted. */
#ifndef WALFERRY_CORE_ERROR_H
#define WALFERRY_CORE_ERROR_H

#include <stdbool.h>

typedef enum ErrorKind {
    ERR_NONE = 0,
    ERR_RETRY, /* passes by itself: back off and begin the session again; exit 6 when the window is used up */
    ERR_CONFIG,   /* options, login, rights: stop; exit 2 */
    ERR_LOST,     /* the position is gone: stop; exit 3 */
    ERR_PROTOCOL, /* impossible bytes: reconnect once from the durable position, then exit 4 */
    ERR_DATA,     /* a row that the sink refuses: by policy, else exit 5 */
    ERR_LIMIT,    /* a row or store above its limit: as ERR_DATA */
    ERR_STOPPED   /* not a failure: somebody asked this thread to end */
} ErrorKind;

typedef struct Error {
    ErrorKind kind;
    char sqlstate[6]; /* "" when it did not come from a server */
    bool connection;  /* the connection itself failed: the longer retry window counts */
    char text[600];
    char hint[400];
} Error;

/* Fills e and returns false, so that a caller can write: return fail(e, ERR_DATA, "…"); */
bool fail(Error *e, ErrorKind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Adds the hint to an error just filled; returns false, too. */
bool fail_hint(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "what: " before the text, for a caller that knows more than the place of the error; returns false. */
bool fail_context(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
void error_clear(Error *e);

/* "retry", "config", … for logs and status. */
const char *error_kind_name(ErrorKind kind);
/* The exit code that README.md documents for a run that ends with this kind. */
int error_exit_code(ErrorKind kind);

#endif
