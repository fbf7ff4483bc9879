#include "job/target_wait.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "sink/postgres/apply_prepared.h"

/* Of several sessions the one whose transaction is the oldest; a prepared transaction has pid 0. Since when another
 * user's transaction goes on is not shown to everybody. The locks of prepared transactions are shown without a pid: `h`
 * is the one that is in the way, `x` the one that every transaction holds on its own number. */
static const char SQL_BLOCKER[] =
    "SELECT b.pid, a.usename, a.application_name,"
    " COALESCE(pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS \"UTC\"'), 'an unknown time'),"
    " (SELECT p.gid FROM pg_catalog.pg_locks w JOIN pg_catalog.pg_locks h"
    "   ON (w.locktype, w.database, w.relation, w.page, w.tuple, w.transactionid) IS NOT DISTINCT FROM"
    "     (h.locktype, h.database, h.relation, h.page, h.tuple, h.transactionid)"
    "   JOIN pg_catalog.pg_locks x"
    "   ON x.virtualtransaction = h.virtualtransaction AND x.locktype = 'transactionid'"
    "   JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid"
    "   WHERE b.pid = 0 AND w.pid = $1::int AND NOT w.granted AND h.granted AND h.pid IS NULL AND x.pid IS "
    "NULL"
    "   LIMIT 1)"
    " FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::int)) AS b (pid)"
    " LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid ORDER BY a.xact_start LIMIT 1";

enum { LOOK_EVERY_MS = 1000 };

/* The outcome of one of our own comes behind what waits for it: something at the target is stricter than at the source,
 * and only a hand can help. */
static void prepared_describe(const char *job, const char *name, char *out, size_t size) {
    uint32_t xid;
    Lsn end;
    bool ours = prepared_parse(name, job, &xid, &end);
    int length =
        snprintf(out, size, "the target waits for a lock that prepared transaction \"%s\" there holds", name);
    if (!ours)
        return;
    assert(length > 0 && (size_t)length < size);
    snprintf(out + length, size - (size_t)length,
             ", transaction %" PRIu32
             " of the source: its outcome is behind what waits; once the source has decided,"
             " do the same at the target by hand (COMMIT PREPARED or ROLLBACK PREPARED), and the job goes on",
             xid);
}

static void blocker_describe(const char *job, const PGresult *result, char *out, size_t size) {
    *out = '\0';
    if (PQntuples(result) == 0)
        return;
    if (!pg_cell_null(result, 0, 4))
        prepared_describe(job, pg_cell(result, 0, 4), out, size);
    else if (strcmp(pg_cell(result, 0, 0), "0") == 0)
        snprintf(out, size, "the target waits for a lock that a prepared transaction there holds");
    else
        snprintf(out, size,
                 "the target waits for a lock that pid %s there holds (user \"%s\", application \"%s\", in a "
                 "transaction since %s)",
                 pg_cell(result, 0, 0), pg_cell(result, 0, 1), pg_cell(result, 0, 2), pg_cell(result, 0, 3));
}

static bool blocker_find(const Pipeline *p, Pg *record, char *out, size_t size, Error *e) {
    char pid[16];
    const char *const params[] = {pid};
    snprintf(pid, sizeof pid, "%d", atomic_load(&p->target_wait.backend_pid));
    PGresult *result = pg_query(record, SQL_BLOCKER, 1, params, e);
    if (result == NULL)
        return false;
    blocker_describe(p->job->cfg->name, result, out, size);
    PQclear(result);
    return true;
}

bool target_wait_tell(Pipeline *p, Pg *record, WaitTold *told, Error *e) {
    char why[sizeof told->why] = "";
    int64_t now_ms = clock_ms();
    bool waits = record != NULL && atomic_load(&p->target_wait.since_ms) != 0;
    if (waits && now_ms - told->looked_ms < LOOK_EVERY_MS)
        return true;
    told->looked_ms = waits ? now_ms : 0;
    if (waits && !blocker_find(p, record, why, sizeof why, e))
        return false;
    if (strcmp(why, told->why) == 0)
        return true;
    if (why[0] != '\0')
        log_warn("%s", why);
    else
        log_info("the target goes on");
    memcpy(told->why, why, sizeof why);
    metrics_state(p->job->metrics, RUN_RUNNING, why);
    return true;
}
