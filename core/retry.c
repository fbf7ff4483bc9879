#include "core/retry.h"

#include <stddef.h>
#include <string.h>

typedef struct Rule {
    const char *code; /* a whole SQLSTATE or its class; whole ones stand first */
    ErrorKind connecting, applying;
} Rule;

static const Rule RULES[] = {
    {"26000", ERR_RETRY, ERR_RETRY}, /* a prepared statement is gone: the new session prepares again */
    {"42P05", ERR_RETRY, ERR_RETRY}, /* or is there already: never the row's fault */
    {"22021", ERR_DATA, ERR_DATA},   /* a text that is not in its encoding, or has no form in the other one */
    {"22P05", ERR_DATA, ERR_DATA},
    {"42501", ERR_CONFIG, ERR_CONFIG}, /* a missing right refuses every row, not this one */
    {"53400", ERR_CONFIG, ERR_RETRY},  /* no free replication slot: a setting */
    {"08", ERR_RETRY, ERR_RETRY},      /* connection */
    {"0A", ERR_CONFIG, ERR_DATA},      /* feature not supported */
    {"0P", ERR_CONFIG, ERR_CONFIG},    /* no such role */
    {"21", ERR_CONFIG, ERR_DATA},      /* cardinality */
    {"22", ERR_CONFIG, ERR_DATA},      /* a value; while connecting, of a setting */
    {"23", ERR_RETRY, ERR_DATA},       /* constraint; while setting up, somebody was faster */
    {"25", ERR_RETRY, ERR_RETRY},      /* read-only server, transaction state */
    {"27", ERR_CONFIG, ERR_DATA},      /* triggered data change */
    {"28", ERR_CONFIG, ERR_CONFIG},    /* login */
    {"2F", ERR_CONFIG, ERR_DATA},      /* the destination's own routines and triggers */
    {"38", ERR_CONFIG, ERR_DATA},
    {"39", ERR_CONFIG, ERR_DATA},
    {"3D", ERR_CONFIG, ERR_CONFIG}, /* no such database */
    {"3F", ERR_CONFIG, ERR_DATA},   /* no such schema */
    {"40", ERR_RETRY, ERR_RETRY},   /* serialization, deadlock */
    {"42", ERR_CONFIG, ERR_DATA},   /* no such table, column, type */
    {"44", ERR_CONFIG, ERR_DATA},   /* WITH CHECK OPTION */
    {"53", ERR_RETRY, ERR_RETRY},   /* disk, memory, connections */
    {"54", ERR_CONFIG, ERR_DATA},   /* program limit: a row too large for its index */
    {"55", ERR_RETRY, ERR_RETRY},   /* in use, lock not available */
    {"57", ERR_RETRY, ERR_RETRY},   /* cancelled, shutting down, starting */
    {"58", ERR_RETRY, ERR_RETRY},   /* the server's own input and output */
    {"P0", ERR_CONFIG, ERR_DATA},   /* RAISE */
    {"XX", ERR_RETRY, ERR_RETRY},   /* internal */
};

enum { WAIT_FIRST_MS = 100, WAIT_MAX_MS = 30000 };

ErrorKind retry_kind(const char *sqlstate, RetryWhen when) {
    for (size_t rule = 0; rule < sizeof RULES / sizeof *RULES; rule++)
        if (strncmp(sqlstate, RULES[rule].code, strlen(RULES[rule].code)) == 0)
            return when == RETRY_CONNECTING ? RULES[rule].connecting : RULES[rule].applying;
    /* Without a code, or with an unknown one: the window bounds it, and no row is ever given up for it. */
    return ERR_RETRY;
}

bool retry_is_connection(const char *sqlstate) {
    static const char *const GONE[] = {"57P01", "57P02", "57P03", "57P05"};
    if (*sqlstate == '\0' || strncmp(sqlstate, "08", 2) == 0)
        return true;
    for (size_t code = 0; code < sizeof GONE / sizeof *GONE; code++)
        if (strcmp(sqlstate, GONE[code]) == 0)
            return true;
    return false;
}

Retry retry_new(int64_t connection_ms, int64_t other_ms) {
    return (Retry){
        .connection_ms = connection_ms, .other_ms = other_ms, .since_ms = -1, .other_since_ms = -1};
}

void retry_progress(Retry *r) {
    r->since_ms = -1;
    r->other_since_ms = -1;
    r->attempts = 0;
}

bool retry_again(Retry *r, const Error *e, int64_t now_ms, uint64_t random, int64_t *wait_ms) {
    if (r->since_ms < 0)
        r->since_ms = now_ms;
    if (e->connection)
        r->other_since_ms = -1;
    else if (r->other_since_ms < 0)
        r->other_since_ms = now_ms;
    if (e->connection ? now_ms - r->since_ms >= r->connection_ms : now_ms - r->other_since_ms >= r->other_ms)
        return false;
    int64_t longest_ms = WAIT_FIRST_MS;
    for (int doubled = 0; doubled < r->attempts && longest_ms < WAIT_MAX_MS; doubled++)
        longest_ms *= 2;
    if (longest_ms > WAIT_MAX_MS)
        longest_ms = WAIT_MAX_MS;
    r->attempts++;
    *wait_ms = longest_ms / 2 + (int64_t)(random % (uint64_t)(longest_ms / 2 + 1));
    return true;
}
