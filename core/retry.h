/* retry: what an SQLSTATE means for us, and how long to wait before the next attempt. Pure: time and randomness are
 * arguments. The one table that decides reactions (design "Errors", traps C4). */
#ifndef WALFERRY_CORE_RETRY_H
#define WALFERRY_CORE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* The same code means different things: a table missing at check time is a wrong option (exit 2), while applying it
 * is a refused row (exit 5). */
typedef enum RetryWhen { RETRY_CONNECTING, RETRY_APPLYING } RetryWhen;

ErrorKind retry_kind(const char *sqlstate, RetryWhen when);
/* True for codes that say the connection or the server went away, not the statement. */
bool retry_is_connection(const char *sqlstate);

/* The windows of the job file: how long errors may go on without any progress between them. The shorter one counts
 * from the first of a run of other errors: a deadlock after an hour without a server is the first, not the last. */
typedef struct Retry {
    int64_t connection_ms, other_ms; /* windows */
    int64_t since_ms;                /* monotonic time of the first failure since progress; -1: none */
    int64_t other_since_ms;          /* of the first since the last connection failure; -1: none */
    int attempts;                    /* since progress */
} Retry;

Retry retry_new(int64_t connection_ms, int64_t other_ms);
void retry_progress(Retry *r); /* something was applied: windows begin anew */
/* True: wait *wait_ms (100 ms growing to 30 s, half of it jitter) and try again. False: the window is used up. */
bool retry_again(Retry *r, const Error *e, int64_t now_ms, uint64_t random, int64_t *wait_ms);

#endif
