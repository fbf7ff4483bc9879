#include "sink/postgres/in_the_way.h"

#include <stdio.h>

#include "sink/postgres/early.h"
#include "sink/postgres/runs.h"

/* Who of ours ($2) is in the way of $1, or of somebody who is in the way. Whoever has a relation extended or a page
 * cleaned waits for nobody, and is done at once. */
static const char SQL_IN_THE_WAY[] =
    "WITH RECURSIVE blocker (pid) AS (SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::int))"
    " UNION SELECT further.pid FROM blocker,"
    "  pg_catalog.unnest(pg_catalog.pg_blocking_pids(blocker.pid)) AS further (pid))"
    " SELECT pid FROM blocker WHERE pid = ANY ($2::int[]) AND EXISTS (SELECT FROM pg_catalog.pg_locks"
    "  WHERE pg_locks.pid = $1::int AND NOT granted AND locktype NOT IN ('extend', 'page'))";

enum { CONNECT_MS = 10000, PID_BYTES = 12, OURS_MOST = EARLY_MOST + WORKERS_MOST };

static Pg *eye_open(Sink *s, Error *e) {
    PgAddress to = {.dsn = s->options.cfg->target.dsn, .side = "target", .job = s->options.cfg->name};
    return pg_open(&to, CONNECT_MS, e);
}

/* NULL without an error: there is nobody to ask for. */
static PGresult *ask(Sink *s, const ApplySession *waiter, Error *e) {
    int ours[OURS_MOST];
    char pid[PID_BYTES], list[2 + OURS_MOST * PID_BYTES];
    const char *const params[] = {pid, list};
    size_t length = 0;
    int count = early_open(s, waiter, ours);
    count += runs_open(s, waiter, ours + count);
    if (count == 0)
        return NULL;
    for (int at = 0; at < count; at++)
        length +=
            (size_t)snprintf(list + length, sizeof list - length, "%c%d", at == 0 ? '{' : ',', ours[at]);
    snprintf(list + length, sizeof list - length, "}");
    snprintf(pid, sizeof pid, "%d", waiter->pg->backend_pid);
    if (s->eye == NULL && (s->eye = eye_open(s, e)) == NULL)
        return NULL;
    return pg_query(s->eye, SQL_IN_THE_WAY, 2, params, e);
}

bool in_the_way_look(void *waiter, Error *e) {
    const ApplySession *session = waiter;
    Sink *s = session->context;
    if (s->looking) /* giving back waits for answers, too */
        return true;
    s->looking = true;
    error_clear(e);
    PGresult *found = ask(s, session, e);
    bool ok = e->kind == ERR_NONE;
    for (int row = 0; ok && row < PQntuples(found); row++) {
        int pid = (int)pg_cell_int(found, row, 0);
        ok = early_give_way(s, pid, e) && runs_give_way(s, session, pid, e);
    }
    PQclear(found);
    s->looking = false;
    return ok;
}

void in_the_way_free(Sink *s) {
    pg_close(s->eye);
    s->eye = NULL;
}
