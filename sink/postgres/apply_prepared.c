#include "sink/postgres/apply_prepared.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sqlstate.h"

static const char SQL_LIST[] =
    "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()"
    " AND pg_catalog.left(gid, pg_catalog.length($1)) = $1 ORDER BY prepared";

/* `here`: the destination's number of the prepared transaction, counted over wraparounds. */
static const char SQL_NOTE[] =
    "INSERT INTO @.prepared (job, xid, lsn, here)"
    " SELECT $1, $2, $3, now.xid - ((now.xid - p.transaction::text::bigint) & 4294967295)"
    " FROM pg_catalog.pg_prepared_xacts p, (SELECT pg_catalog.txid_current()) now (xid)"
    " WHERE p.gid = $4 AND p.database = pg_catalog.current_database()";
static const char SQL_FORGET[] = "DELETE FROM @.prepared WHERE job = $1 AND xid = $2";
static const char SQL_NOTED[] = "SELECT xid, lsn FROM @.prepared WHERE job = $1";
static const char SQL_OUTCOME[] =
    "SELECT pg_catalog.txid_status(here) FROM @.prepared WHERE job = $1 AND xid = $2";

#define OURS "walferry_%s_"

static void name_write(char out[PREPARED_NAME_SIZE], const char *job, uint32_t xid, Lsn end) {
    int length = snprintf(out, PREPARED_NAME_SIZE, OURS "%" PRIu32 "_" LSN_FMT, job, xid, LSN_ARGS(end));
    assert(length > 0 && length < PREPARED_NAME_SIZE);
}

bool prepared_parse(const char *name, const char *job, uint32_t *xid, Lsn *end) {
    char again[PREPARED_NAME_SIZE];
    const char *lsn = strrchr(name, '_');
    size_t prefix = strlen("walferry_") + strlen(job) + 1;
    if (lsn == NULL || strlen(name) <= prefix || !lsn_parse(lsn + 1, end))
        return false;
    *xid = (uint32_t)strtoul(name + prefix, NULL, 10);
    name_write(again, job, *xid, *end);
    return strcmp(again, name) == 0;
}

/* The two-phase commands take no parameters. */
static bool command_run(Pg *pg, const char *command, const char *name, Error *e) {
    Writer sql = writer_new(2 * PREPARED_NAME_SIZE + 64);
    writer_text(&sql, command);
    writer_u8(&sql, ' ');
    pg_write_literal(&sql, pg, name);
    bool ok = pg_run(pg, writer_string(&sql), e);
    writer_free(&sql);
    return ok;
}

bool prepared_roll_back(Pg *pg, const char *name, Error *e) {
    return command_run(pg, "ROLLBACK PREPARED", name, e) || sqlstate_is(e, SQLSTATE_UNDEFINED_OBJECT);
}

bool prepared_each(Pg *pg, const char *job, bool (*visit)(void *context, Pg *pg, const char *name, Error *e),
                   void *context, Error *e) {
    char prefix[PREPARED_NAME_SIZE];
    snprintf(prefix, sizeof prefix, OURS, job);
    PGresult *names = pg_query(pg, SQL_LIST, 1, (const char *const[]){prefix}, e);
    if (names == NULL)
        return false;
    bool ok = true;
    for (int row = 0; ok && row < PQntuples(names); row++) {
        uint32_t xid;
        Lsn end;
        if (prepared_parse(pg_cell(names, row, 0), job, &xid, &end))
            ok = visit(context, pg, pg_cell(names, row, 0), e);
    }
    PQclear(names);
    return ok;
}

static void prepared_note(Sink *s, uint32_t xid, Lsn end) {
    s->prepared = memory_grow(s->prepared, (s->prepared_count + 1) * sizeof *s->prepared);
    s->prepared[s->prepared_count++] = (Prepared){xid, end};
}

static bool roll_back_beyond(void *sink, Pg *pg, const char *name, Error *e) {
    const Sink *s = sink;
    uint32_t xid;
    Lsn end;
    bool ours = prepared_parse(name, s->options.cfg->name, &xid, &end);
    assert(ours);
    if (!lsn_before(s->applied, end))
        return true;
    log_info("prepared transaction \"%s\" is not in the progress: rolled back, it is sent again", name);
    return prepared_roll_back(pg, name, e);
}

bool prepared_recover(Sink *s, Error *e) {
    const char *const job[] = {s->options.cfg->name};
    if (!prepared_each(s->session.pg, job[0], roll_back_beyond, s, e))
        return false;
    char *sql = state_sql(s->session.pg, s->options.cfg, SQL_NOTED);
    PGresult *noted = pg_query(s->session.pg, sql, 1, job, e);
    free(sql);
    for (int row = 0; noted != NULL && row < PQntuples(noted); row++)
        prepared_note(s, (uint32_t)pg_cell_int(noted, row, 0), pg_cell_lsn(noted, row, 1));
    PQclear(noted);
    return noted != NULL;
}

void prepared_forget(Sink *s) {
    free(s->prepared);
    s->prepared = NULL;
    s->prepared_count = 0;
}

/* Plain statements on the sink's connection, between two pipelines. */
static bool command_between(Sink *s, const char *command, const char *name, Error *e) {
    if (!live_sync(s->session.live, e))
        return false;
    live_pause(s->session.live);
    bool ok = command_run(s->session.pg, command, name, e);
    live_resume(s->session.live);
    return ok;
}

bool prepared_make(Sink *s, const Transaction *tx, Error *e) {
    char name[PREPARED_NAME_SIZE];
    name_write(name, s->options.cfg->name, tx->xid, tx->end);
    if (command_between(s, "PREPARE TRANSACTION", name, e)) {
        prepared_note(s, tx->xid, tx->end);
        return FAULT("apply.after_prepare", e);
    }
    if (sqlstate_is(e, SQLSTATE_OBJECT_NOT_IN_PREREQUISITE_STATE))
        e->kind = ERR_CONFIG;
    if (sqlstate_is(e, SQLSTATE_OBJECT_NOT_IN_PREREQUISITE_STATE) || sqlstate_is(e, SQLSTATE_OUT_OF_MEMORY))
        fail_hint(e, "raise max_prepared_transactions at the target, and restart it");
    return false;
}

static Prepared *prepared_find(Sink *s, uint32_t xid) {
    for (uint32_t at = 0; at < s->prepared_count; at++)
        if (s->prepared[at].xid == xid)
            return &s->prepared[at];
    return NULL;
}

/* Nothing of that name is there: the destination knows how its own transaction has ended. */
static bool finished_alike(Sink *s, const Transaction *tx, bool commits, Error *e) {
    char xid[16], outcome[16];
    const char *const params[] = {s->options.cfg->name, xid};
    snprintf(xid, sizeof xid, "%" PRIu32, tx->xid);
    live_pause(s->session.live);
    char *sql = state_sql(s->session.pg, s->options.cfg, SQL_OUTCOME);
    bool ok = pg_value(s->session.pg, sql, 2, params, outcome, sizeof outcome, e);
    free(sql);
    live_resume(s->session.live);
    if (!ok)
        return false;
    if (strcmp(outcome, commits ? "committed" : "aborted") == 0)
        return true;
    fail(e, ERR_DATA,
         "transaction %" PRIu32
         " of the source is %s there; at the target, where it was prepared, somebody %s",
         tx->xid, commits ? "committed" : "rolled back",
         strcmp(outcome, "committed") == 0 ? "committed it"
         : strcmp(outcome, "aborted") == 0 ? "rolled it back"
                                           : "finished it, nobody knows how");
    return fail_hint(e, "both sides differ in its rows: run walferry cleanup and begin with a new load");
}

bool prepared_finish(Sink *s, const Transaction *tx, Error *e) {
    char name[PREPARED_NAME_SIZE];
    bool commits = tx->ending == TRANSACTION_COMMITS_PREPARED;
    Prepared *known = prepared_find(s, tx->xid);
    if (known == NULL)
        return true;
    name_write(name, s->options.cfg->name, tx->xid, known->end);
    *known = s->prepared[--s->prepared_count];
    if (!command_between(s, commits ? "COMMIT PREPARED" : "ROLLBACK PREPARED", name, e))
        return sqlstate_is(e, SQLSTATE_UNDEFINED_OBJECT) && finished_alike(s, tx, commits, e);
    return FAULT("apply.after_finish", e);
}

bool prepared_record(Sink *s, const Transaction *tx, Error *e) {
    char xid[16], end[LSN_TEXT_SIZE], name[PREPARED_NAME_SIZE];
    const char *const params[] = {s->options.cfg->name, xid, lsn_text(tx->end, end), name};
    bool prepares = tx->ending == TRANSACTION_PREPARES;
    LiveNote note = {NOTE_PREPARED, tx, NULL};
    snprintf(xid, sizeof xid, "%" PRIu32, tx->xid);
    name_write(name, s->options.cfg->name, tx->xid, tx->end);
    char *sql = state_sql(s->session.pg, s->options.cfg, prepares ? SQL_NOTE : SQL_FORGET);
    bool ok = live_send_text(s->session.live, note, sql, prepares ? 4 : 2, params, e);
    free(sql);
    return ok;
}

void prepared_check(const Transaction *tx, const PGresult *result, Error *e) {
    if (e->kind != ERR_NONE || tx->ending != TRANSACTION_PREPARES || pg_affected(result) == 1)
        return;
    fail(e, ERR_DATA, "transaction %" PRIu32 " of the source was prepared at the target and is gone there",
         tx->xid);
    fail_hint(e,
              "prepared transactions whose names begin with \"walferry_\" are this job's: leave them alone");
}
