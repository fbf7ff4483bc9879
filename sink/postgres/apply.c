#include <assert.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/dead_letter.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "sink/postgres/apply_commit.h"
#include "sink/postgres/apply_group.h"
#include "sink/postgres/apply_prepared.h"
#include "sink/postgres/early.h"
#include "sink/postgres/in_the_way.h"
#include "sink/postgres/runs.h"

/* While a session recovers, nobody reads from the source: a server that wants to stop must not wait for that (A13). */
static const char SQL_RECOVER_WAITS[] = "SET lock_timeout = '5s'; SET statement_timeout = '10s'";
static const char SQL_NO_WAITS[] = "SET lock_timeout = 0; SET statement_timeout = 0";

enum {
    TAKE_LOCK_MS = 5000,
    AUDIT_BYTES_MAX = 64 << 20,
    ASK_FLUSHED_EVERY_MS = 50,
    STALLED_FLUSH_MS = 1000 /* nobody else writes there: the destination flushes only what we make it flush */
};

static void apply_close(Sink *s) {
    if (s == NULL)
        return;
    group_forget(s);
    early_free(s);
    runs_free(s);
    in_the_way_free(s);
    apply_session_close(&s->session);
    audit_end(&s->audit);
    writer_free(&s->audit_bytes);
    state_tables_free(&s->tables);
    prepared_forget(s);
    free(s->progress_sql);
    free(s->trim_sql);
    free(s);
}

static Sink *apply_open(const SinkOptions *options, Error *e) {
    Sink *s = memory_new(sizeof *s);
    s->options = *options;
    s->look = in_the_way_look;
    s->settles = options->cfg->conflicts != CONFLICTS_STOP || options->cfg->objects.table_conflicts.count > 0;
    s->audit_bytes = writer_new(AUDIT_BYTES_MAX);
    if (!apply_session_open(&s->session, &s->options, &s->tables, e)) {
        apply_close(s);
        return NULL;
    }
    return s;
}

static void position_of(const JobRecord *record, Position *out) {
    *out = (Position){.applied = record->applied,
                      .bound = record->bound,
                      .system_id = record->system_id,
                      .timeline = record->timeline};
}

static bool read_record(Sink *s, Position *out, Error *e) {
    JobRecord record;
    if (!state_read(s->session.pg, s->options.cfg, &record, e))
        return false;
    if (!record.exists)
        return fail(e, ERR_LOST, "the record of job \"%s\" is gone from the target", s->options.cfg->name);
    position_of(&record, out);
    return true;
}

/* Where the server is first asked for prepared transactions, the slot keeps that position for ever: what is prepared
 * before it comes whole when it is committed. So it must be on the disk before it is asked for: a destination that fell
 * back behind it would get such a transaction twice. */
static bool apply_peek(Sink *s, Position *out, Error *e) {
    return read_record(s, out, e) &&
           (!s->options.cfg->source.two_phase || state_bound(s->session.pg, s->options.cfg, out->applied, e));
}

static bool audit_send_plain(void *pg, const char *sql, int count, const char *const *params, Error *e) {
    PGresult *result = pg_query(pg, sql, count, params, e);
    PQclear(result);
    return result != NULL;
}

/* Written once a session, so that progress that is taken back between two sessions is seen. */
static bool audit_recover(Sink *s, Error *e) {
    Pg *pg = s->session.pg;
    const Config *cfg = s->options.cfg;
    audit_end(&s->audit);
    audit_begin(&s->audit, &s->tables, s->options.metrics);
    if (!audit_load(&s->audit, pg, cfg, s->applied, e) || !pg_run(pg, "BEGIN", e))
        return false;
    if (s->audit.broken[0] != '\0')
        log_warn("the count of changes is no proof any more: %s", s->audit.broken);
    return audit_store(&s->audit, pg, cfg, audit_send_plain, pg, e) && pg_run(pg, "COMMIT", e);
}

static bool apply_recover(Sink *s, Position *out, Error *e) {
    if (!pg_run(s->session.pg, SQL_RECOVER_WAITS, e) ||
        !state_take(s->session.pg, s->options.cfg, TAKE_LOCK_MS, true, e))
        return false;
    if (!FAULT("apply.before_progress_read", e) || !read_record(s, out, e) ||
        !state_tables(s->session.pg, s->options.cfg, &s->tables, e) ||
        !state_tables_kept(s->session.pg, s->options.cfg, &s->tables, e))
        return false;
    s->applied = s->durable = out->applied;
    if (!audit_recover(s, e))
        return false;
    /* The newest progress may not be flushed yet when its writer was killed a moment ago; this commit waits
     * for its flush and takes it with it. */
    if (!state_bound(s->session.pg, s->options.cfg, out->applied, e) ||
        !pg_run(s->session.pg, SQL_NO_WAITS, e))
        return false;
    if (s->options.cfg->source.two_phase && !prepared_recover(s, e))
        return false;
    int64_t letters;
    if (!dead_letter_count(s->session.pg, s->options.cfg, &letters, e))
        return false;
    atomic_store(&s->options.metrics->dead_letters, letters);
    out->loaded = s->tables.highest_start;
    if (!apply_session_start(&s->session, group_check, s, e))
        return false;
    apply_tell_who_works(&s->session);
    live_look(s->session.live, s->look, &s->session);
    s->at = &s->session;
    s->run_changes = group_run_changes();
    runs_new(s);
    return group_prepare(s, e);
}

static bool apply_follow(Sink *s, const Position *now, Error *e) {
    live_pause(s->session.live);
    bool ok = state_timeline(s->session.pg, s->options.cfg, now->timeline, now->bound, e);
    live_resume(s->session.live);
    return ok;
}

/* `ddl: pause-table`: everything before the change is applied, and the table is noted as one that has to be loaded again,
 * which the next session finds (job/phases: again); the transaction that was refused comes again, and its rows of that table are not due
 * then. Killed before the note, the next session is refused again. A kept table has rows
 * of its own, which a load would have to take: there the job ends. */
static bool altered_aside(Sink *s, Error *e) {
    TableRecord *record = s->session.altered;
    if (record == NULL || record->kept || e->kind != ERR_DATA || s->options.cfg->ddl == DDL_STOP)
        return false;
    log_warn("%s", e->text);
    if (!apply_session_idle(&s->session, e))
        return false;
    group_forget(s);
    if (!FAULT("ddl.before_aside", e) || !apply_session_reset(&s->session, e) ||
        !live_sync(s->session.live, e))
        return false;
    live_pause(s->session.live);
    bool ok = state_table_aside(s->session.pg, s->options.cfg, record, e);
    live_resume(s->session.live);
    return ok && FAULT("ddl.after_aside", e) &&
           fail(e, ERR_RETRY, "table \"%s.%s\" is set aside and loaded again", record->schema, record->name);
}

static bool apply_write(Sink *s, Batch *b, Error *e) {
    bool ok = b->kind == BATCH_WHOLE ? early_rest(s, e) && group_add(s, b, e) : early_write(s, b, e);
    return ok || altered_aside(s, e);
}

/* Between groups only: plain statements on the same connection. */
static bool bound_note(Sink *s, Lsn upto, Error *e) {
    live_pause(s->session.live);
    bool ok = state_bound(s->session.pg, s->options.cfg, upto, e);
    live_resume(s->session.live);
    return ok;
}

/* A commit that waits for its flush takes every earlier one with it. */
static bool flush_now(Sink *s, Error *e) {
    if (!bound_note(s, s->applied, e))
        return false;
    s->unflushed_count = 0;
    s->durable = s->applied;
    return true;
}

static bool apply_settle(Sink *s, bool flush, int wait_ms, Lsn *durable, Error *e) {
    if (flush && (!early_rest(s, e) || !group_flush(s, wait_ms > 0, e)))
        return altered_aside(s, e);
    int64_t now_ms = clock_ms();
    if (s->unflushed_count > 0 && !s->session.open) {
        if (s->unflushed_since_ms == 0)
            s->unflushed_since_ms = now_ms;
        bool stalled = now_ms - s->unflushed_since_ms >= STALLED_FLUSH_MS;
        if (wait_ms > 0 || (stalled && flush)) {
            if (!flush_now(s, e))
                return false;
        } else if (now_ms - s->flush_asked_ms >= ASK_FLUSHED_EVERY_MS) {
            s->flush_asked_ms = now_ms;
            if (!group_ask_flushed(s, e))
                return false;
        }
    }
    if (s->unflushed_count == 0 || !lsn_equal(s->durable, s->durable_before))
        s->unflushed_since_ms = 0;
    s->durable_before = s->durable;
    *durable = s->durable;
    return true;
}

static bool apply_promise(Sink *s, Lsn upto, Error *e) {
    assert(!s->group.inside); /* nothing is promised while a transaction is in flight */
    return early_rest(s, e) && group_flush(s, true, e) && bound_note(s, upto, e);
}

const SinkOps sink_apply = {
    .name = "apply",
    .parts = true,
    .open = apply_open,
    .peek = apply_peek,
    .recover = apply_recover,
    .follow = apply_follow,
    .write = apply_write,
    .settle = apply_settle,
    .promise = apply_promise,
    .close = apply_close,
};
