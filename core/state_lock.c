#include "core/state.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include <xxhash.h>

#include "core/clock.h"

static const char SQL_TRY_EXCLUSIVE[] = "SELECT pg_catalog.pg_try_advisory_lock($1::bigint)";
static const char SQL_TRY_SHARED[] = "SELECT pg_catalog.pg_try_advisory_lock_shared($1::bigint)";
static const char SQL_UNLOCK[] = "SELECT pg_catalog.pg_advisory_unlock($1::bigint)";
/* pg_locks shows a bigint key as classid (high half), objid (low half), objsubid 1. */
static const char SQL_HOLDERS[] =
    "SELECT l.pid, a.application_name, pg_catalog.host(a.client_addr), a.backend_start"
    " FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_catalog.pg_backend_pid()"
    " AND l.database = (SELECT oid FROM pg_catalog.pg_database"
    "                   WHERE datname = pg_catalog.current_database())"
    " AND l.classid::bigint = ($1::bigint >> 32) & 4294967295 AND l.objid::bigint = $1::bigint & 4294967295";
static const char SQL_END_HOLDER[] = "SELECT pg_catalog.pg_terminate_backend($1::int)";

enum { KEY_SIZE = 24, LOOK_EVERY_MS = 100 };

/* The lock's key: state schema and job; the database is part of every advisory lock. */
static const char *lock_key(const Config *cfg, char key[KEY_SIZE]) {
    char text[200];
    int length = snprintf(text, sizeof text, "walferry/%s/%s", cfg->target.state_schema, cfg->name);
    assert(length > 0 && (size_t)length < sizeof text);
    snprintf(key, KEY_SIZE, "%" PRId64, (int64_t)XXH64(text, (size_t)length, 0));
    return key;
}

static bool ask_bool(Pg *pg, const char *sql, const char *key, bool *out, Error *e) {
    char answer[8];
    if (!pg_value(pg, sql, 1, &key, answer, sizeof answer, e))
        return false;
    *out = answer[0] == 't';
    return true;
}

static bool end_holders(Pg *pg, const char *key, Error *e) {
    PGresult *holders = pg_query(pg, SQL_HOLDERS, 1, &key, e);
    bool ok = holders != NULL;
    for (int row = 0; ok && row < PQntuples(holders); row++) {
        const char *pid = pg_cell(holders, row, 0);
        bool ended;
        ok = ask_bool(pg, SQL_END_HOLDER, pid, &ended, e);
    }
    PQclear(holders);
    return ok;
}

/* Nobody may be ended and waiting was in vain: say who it is. */
static bool held_by_another(Pg *pg, const Config *cfg, const char *key, Error *e) {
    JobRecord record = {0};
    Error ignored;
    PGresult *holders = pg_query(pg, SQL_HOLDERS, 1, &key, e);
    if (holders == NULL)
        return false;
    state_read(pg, cfg, &record, &ignored);
    fail(e, ERR_CONFIG, "job \"%s\" is run by another instance (%s), whose session on the target has pid %s",
         cfg->name, record.exists ? record.instance : "unknown",
         PQntuples(holders) > 0 ? pg_cell(holders, 0, 0) : "unknown");
    PQclear(holders);
    return fail_hint(e, "stop that one first: walferry stop");
}

bool state_take(Pg *pg, const Config *cfg, int64_t wait_ms, bool end_others, Error *e) {
    char key[KEY_SIZE];
    bool got = false;
    int64_t deadline = clock_ms() + wait_ms;
    lock_key(cfg, key);
    for (;;) {
        if (!ask_bool(pg, SQL_TRY_EXCLUSIVE, key, &got, e))
            return false;
        if (got)
            break;
        if (clock_ms() >= deadline)
            return held_by_another(pg, cfg, key, e);
        if (end_others && !end_holders(pg, key, e))
            return false;
        clock_sleep_ms(LOOK_EVERY_MS);
    }
    bool shared, unlocked;
    if (!ask_bool(pg, SQL_TRY_SHARED, key, &shared, e) || !ask_bool(pg, SQL_UNLOCK, key, &unlocked, e))
        return false;
    return (shared && unlocked) ||
           fail(e, ERR_PROTOCOL, "%s: a lock of this session's own is refused", pg->side);
}

bool state_share(Pg *pg, const Config *cfg, Error *e) {
    char key[KEY_SIZE];
    bool got;
    if (!ask_bool(pg, SQL_TRY_SHARED, lock_key(cfg, key), &got, e))
        return false;
    return got || fail(e, ERR_RETRY, "another instance is taking over job \"%s\"", cfg->name);
}
