#include "sink/postgres/apply_commit.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/sqlstate.h"
#include "sink/postgres/apply_answer.h"
#include "sink/postgres/apply_prepared.h"
#include "sink/postgres/catchup.h"

static const char SQL_PROGRESS[] =
    "INSERT INTO @.progress (job, prev_lsn, lsn, committed, beat, audit) VALUES ($1, $2, $3,"
    " 'epoch'::timestamptz + $4::bigint * '1 microsecond'::interval, $5, $6)";
static const char SQL_WHERE[] =
    "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_flush_lsn()";
/* The newest thousand always stay: they fence a writer that has fallen behind (traps A6, B1). */
static const char SQL_TRIM[] =
    "DELETE FROM @.progress WHERE job = $1 AND prev_lsn < (SELECT prev_lsn FROM @.progress"
    " WHERE job = $1 ORDER BY prev_lsn DESC OFFSET 1000 LIMIT 1)";

#define NAME_COMMIT   "walferry_commit"
#define NAME_PROGRESS "walferry_progress"
#define NAME_WHERE    "walferry_where"

enum { TRIM_EVERY = 1000 /* commits */ };

/* ---- results ---- */

/* The progress row is compare-and-set: a row that is there already was written by somebody else. */
static void check_progress(const PGresult *result, Error *e) {
    if (e->kind != ERR_NONE && sqlstate_is(e, SQLSTATE_UNIQUE_VIOLATION))
        fail(e, ERR_RETRY, "another instance has moved this job's progress");
    else if (e->kind == ERR_NONE && pg_affected(result) != 1)
        fail(e, ERR_RETRY, "the progress was not written");
}

static void take_where(Sink *s, const PGresult *result) {
    s->target_inserted = pg_cell_lsn(result, 0, 0);
    s->target_flushed = pg_cell_lsn(result, 0, 1);
}

void group_check(void *session, const LiveNote *note, const PGresult *result, Error *e) {
    Sink *s = ((ApplySession *)session)->context;
    bool refused = e->kind != ERR_NONE;
    if (note->kind < (int)NOTE_OWNERS) {
        apply_answer(session, note, result, e);
        return;
    }
    switch ((SinkNote)note->kind) {
    case NOTE_PREPARED: prepared_check(note->of, result, e); break;
    case NOTE_PROGRESS: check_progress(result, e); break;
    case NOTE_COMMIT: /* an aborted transaction answers COMMIT with ROLLBACK */
        if (!refused && strcmp(PQcmdStatus((PGresult *)(uintptr_t)result), "COMMIT") != 0)
            fail(e, ERR_RETRY, "the target did not commit");
        break;
    case NOTE_WHERE:
        if (!refused)
            take_where(s, result);
        break;
    }
}

/* ---- the fixed statements ---- */

bool group_prepare_on(Sink *s, ApplySession *session, Error *e) {
    LiveNote note = {NOTE_PREPARE, NULL, NULL};
    if (s->progress_sql == NULL) {
        s->progress_sql = state_sql(s->session.pg, s->options.cfg, SQL_PROGRESS);
        s->trim_sql = state_sql(s->session.pg, s->options.cfg, SQL_TRIM);
    }
    return live_prepare(session->live, note, NAME_COMMIT, "COMMIT", 0, NULL, e) &&
           live_prepare(session->live, note, NAME_PROGRESS, s->progress_sql, 0, NULL, e) &&
           live_prepare(session->live, note, NAME_WHERE, SQL_WHERE, 0, NULL, e) &&
           live_sync(session->live, e);
}

bool group_prepare(Sink *s, Error *e) {
    return group_prepare_on(s, &s->session, e);
}

bool apply_open_beside(Sink *s, ApplySession *session, Error *e) {
    if (!apply_session_open(session, &s->options, &s->tables, e) ||
        !state_share(session->pg, s->options.cfg, e) || !apply_session_start(session, group_check, s, e) ||
        !group_prepare_on(s, session, e))
        return false;
    live_look(session->live, s->look, session);
    return true;
}

static bool send_fixed(ApplySession *session, SinkNote kind, const char *name, Error *e) {
    LiveNote note = {(int)kind, NULL, NULL};
    return live_send(session->live, note, name, 0, NULL, NULL, NULL, e);
}

bool group_send_progress(Sink *s, ApplySession *session, const Group *group, Error *e) {
    char prev[LSN_TEXT_SIZE], end[LSN_TEXT_SIZE], committed[24], beat[24];
    writer_reset(&s->audit_bytes);
    audit_write(&group->audit, group->end, &s->audit_bytes);
    assert(!s->audit_bytes.full);
    snprintf(committed, sizeof committed, "%" PRId64, group->end_us);
    snprintf(beat, sizeof beat, "%" PRId64, group->beat);
    const char *const values[] = {s->options.cfg->name,           lsn_text(s->applied, prev),
                                  lsn_text(group->end, end),      committed,
                                  group->beat == 0 ? NULL : beat, writer_slice(&s->audit_bytes).at};
    int lengths[6] = {[5] = (int)s->audit_bytes.len}, formats[6] = {[5] = 1};
    for (int value = 0; value < 5; value++)
        lengths[value] = values[value] == NULL ? 0 : (int)strlen(values[value]);
    LiveNote note = {NOTE_PROGRESS, NULL, NULL};
    return live_send(session->live, note, NAME_PROGRESS, 6, values, lengths, formats, e);
}

/* ---- durability ---- */

/* Commits are not waited for (synchronous_commit = off): a source position is durable when the destination's
 * WAL is flushed up to a point behind the commit record. */
static void unflushed_add(Sink *s, Lsn source_end) {
    if (s->unflushed_count == UNFLUSHED_MAX) /* the newest takes over the place of the one before it */
        s->unflushed_count--;
    uint32_t at = (s->unflushed_first + s->unflushed_count++) % UNFLUSHED_MAX;
    s->unflushed[at] = (Unflushed){source_end, s->target_inserted};
}

static void unflushed_settle(Sink *s) {
    while (s->unflushed_count > 0 &&
           !lsn_before(s->target_flushed, s->unflushed[s->unflushed_first].target_at)) {
        s->durable = s->unflushed[s->unflushed_first].source_end;
        s->unflushed_first = (s->unflushed_first + 1) % UNFLUSHED_MAX;
        s->unflushed_count--;
    }
}

bool group_ask_flushed(Sink *s, Error *e) {
    if (!send_fixed(&s->session, NOTE_WHERE, NAME_WHERE, e) || !live_sync(s->session.live, e))
        return false;
    unflushed_settle(s);
    return true;
}

/* ---- commit ---- */

/* Every answer of the group is read, and none of another one. */
static void tell_conflicts(Metrics *m, ApplyCounts *counts) {
    atomic_fetch_add(&m->conflicts, (long long)counts->conflicts);
    atomic_fetch_add(&m->dead_letters, (long long)counts->dead_letters);
    counts->conflicts = counts->dead_letters = 0;
}

static void tell_metrics(Sink *s, ApplySession *session, const Group *group) {
    Metrics *m = s->options.metrics;
    tell_conflicts(m, &session->counts);
    atomic_fetch_add(&m->left_out, (long long)group->left_out);
    atomic_fetch_add(&m->transactions, group->counted);
    atomic_fetch_add(&m->changes, (long long)group->changes);
    atomic_store(&m->applied_lsn, group->end.at);
    if (group->beat != 0)
        metrics_beat(m, &(BeatStamps){group->beat, group->beat_received_us, group->beat_decoded_us,
                                      group->beat_queued_us, clock_us()});
}

static bool audit_send(void *sink, const char *sql, int count, const char *const *params, Error *e) {
    Sink *s = sink;
    LiveNote note = {NOTE_PREPARE, NULL, NULL};
    return live_send_text(s->session.live, note, sql, count, params, e);
}

/* One transaction: what is deleted from the progress is in the sums that are written. */
bool group_trim(Sink *s, Error *e) {
    if (++s->commits_since_trim < TRIM_EVERY)
        return true;
    s->commits_since_trim = 0;
    LiveNote note = {NOTE_PREPARE, NULL, NULL};
    const char *const job[] = {s->options.cfg->name};
    return audit_store(&s->audit, s->session.pg, s->options.cfg, audit_send, s, e) &&
           live_send_text(s->session.live, note, s->trim_sql, 1, job, e) && live_sync(s->session.live, e);
}

bool group_commit_sent(Sink *s, ApplySession *session, Group *group, Error *e) {
    if (!live_drain(session->live, e) || !FAULT("apply.before_commit", e) ||
        !send_fixed(session, NOTE_COMMIT, NAME_COMMIT, e) ||
        !send_fixed(session, NOTE_WHERE, NAME_WHERE, e) || !live_sync(session->live, e))
        return false;
    collected_sent_forget(session->collected);
    session->open = false;
    s->applied = group->end;
    if (!FAULT("apply.after_commit", e))
        return false;
    unflushed_add(s, s->applied);
    unflushed_settle(s);
    tell_metrics(s, session, group);
    audit_commit(&s->audit, &group->audit, s->applied);
    return true;
}

bool group_commit_on(Sink *s, ApplySession *session, Group *group, Error *e) {
    group->left_out = session->counts.left_out;
    session->counts.left_out = 0;
    return apply_sent(session, e) && apply_session_begin(session, e) &&
           group_send_progress(s, session, group, e) && group_commit_sent(s, session, group, e);
}

bool group_commit(Sink *s, Error *e) {
    assert(!s->group.inside && !lsn_is_none(s->group.end));
    if (!group_commit_on(s, s->at, &s->group, e))
        return false;
    group_clear(&s->group);
    return group_trim(s, e);
}
