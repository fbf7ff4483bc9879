#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/budget.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "sink/apply_prepared.h"
#include "sink/catchup.h"
#include "sink/conflict.h"
#include "sink/pace.h"

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

enum {
    GROUP_CHANGES = 2000,     /* a destination transaction is closed at this many changes, */
    GROUP_TRANSACTIONS = 200, /* this many source transactions, */
    GROUP_MS = 200,           /* or this age, whichever comes first */
    GROUP_BYTES = 8 << 20,
    RUN_CHANGES = 20000, /* the same for what is collected into sets */
    RUN_TRANSACTIONS = 20000,
    RUN_MS = 1000,
    RUN_BYTES = 12 << 20,
    PRESSURE_MAX = 4, /* full groups, less the times when nothing more was there */
    PRESSURE_CATCH_UP = 2,
    EMPTY_MS = 1000,  /* progress over empty transactions alone is written this often */
    TRIM_EVERY = 1000 /* commits */
};

/* ---- results ---- */

/* The progress row is compare-and-set: a row that is there already was written by somebody else. */
static void check_progress(const PGresult *result, Error *e) {
    if (e->kind != ERR_NONE && strcmp(e->sqlstate, "23505") == 0)
        fail(e, ERR_RETRY, "another instance has moved this job's progress");
    else if (e->kind == ERR_NONE && pg_affected(result) != 1)
        fail(e, ERR_RETRY, "the progress was not written");
}

static void take_where(Sink *s, const PGresult *result) {
    s->target_inserted = pg_cell_lsn(result, 0, 0);
    s->target_flushed = pg_cell_lsn(result, 0, 1);
}

void group_check(void *sink, const LiveNote *note, const PGresult *result, Error *e) {
    Sink *s = sink;
    bool refused = e->kind != ERR_NONE;
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

static bool send_fixed(ApplySession *session, SinkNote kind, const char *name, Error *e) {
    LiveNote note = {(int)kind, NULL, NULL};
    return live_send(session->live, note, name, 0, NULL, NULL, NULL, e);
}

static bool send_progress(Sink *s, ApplySession *session, const Group *group, Error *e) {
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

static void group_clear(Group *group) {
    for (uint32_t at = 0; at < group->batch_count; at++)
        batch_drop(group->batches[at]);
    audit_cut(&group->audit, 0);
    *group =
        (Group){.batches = group->batches, .batch_capacity = group->batch_capacity, .audit = group->audit};
}

static void group_free(Group *group) {
    group_clear(group);
    free(group->batches);
    audit_delta_free(&group->audit);
    *group = (Group){0};
}

void group_forget(Sink *s) {
    group_free(&s->group);
    group_free(&s->sent);
}

static bool is_sent(const Sink *s) {
    return !lsn_is_none(s->sent.end);
}

bool group_under_way(const Sink *s) {
    return s->session.open || is_sent(s);
}

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
static bool trim(Sink *s, Error *e) {
    if (++s->commits_since_trim < TRIM_EVERY)
        return true;
    s->commits_since_trim = 0;
    LiveNote note = {NOTE_PREPARE, NULL, NULL};
    const char *const job[] = {s->options.cfg->name};
    return audit_store(&s->audit, s->session.pg, s->options.cfg, audit_send, s, e) &&
           live_send_text(s->session.live, note, s->trim_sql, 1, job, e) && live_sync(s->session.live, e);
}

/* Everything is sent, the progress last: what is left is to read the answers. */
static bool commit(Sink *s, ApplySession *session, Group *group, Error *e) {
    if (!live_drain(session->live, e) || !FAULT("apply.before_commit", e) ||
        !send_fixed(session, NOTE_COMMIT, NAME_COMMIT, e) ||
        !send_fixed(session, NOTE_WHERE, NAME_WHERE, e) || !live_sync(session->live, e))
        return false;
    catchup_sent_forget(session);
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
    return apply_sent(session, e) && apply_session_begin(session, e) && send_progress(s, session, group, e) &&
           commit(s, session, group, e);
}

static bool sent_end(void *sink, Error *e);

/* Everything up to group.end becomes visible together with the progress, or nothing of it. From here on it is `sent`, also
 * after a failure. */
static bool group_send(Sink *s, Error *e) {
    assert(!s->group.inside && !lsn_is_none(s->group.end) && !is_sent(s));
    bool ok = apply_sent(&s->session, e) && apply_session_begin(&s->session, e) &&
              send_progress(s, &s->session, &s->group, e);
    Group empty = {
        .batches = s->sent.batches, .batch_capacity = s->sent.batch_capacity, .audit = s->sent.audit};
    s->sent = s->group;
    s->sent.left_out = s->session.counts.left_out;
    s->session.counts.left_out = 0;
    s->group = empty;
    s->session.end_other = sent_end;
    return ok && live_push(s->session.live, e);
}

static bool sent_commit(Sink *s, Error *e) {
    s->session.end_other = NULL;
    if (!commit(s, &s->session, &s->sent, e))
        return false;
    group_clear(&s->sent);
    return trim(s, e);
}

static bool group_commit(Sink *s, Error *e) {
    return sent_end(s, e) && group_send(s, e) && sent_commit(s, e);
}

/* ---- one transaction after the other ---- */

static void note_beat(Group *group, const Batch *b, int64_t number) {
    group->beat = number;
    group->beat_received_us = b->received_us;
    group->beat_decoded_us = b->decoded_us;
    group->beat_queued_us = clock_us();
}

typedef bool ApplyOne(ApplySession *s, const Transaction *tx, const Change *change, Error *e);

/* A TRUNCATE was cut down to the tables that take it. */
static void count_applied(Sink *s, const ApplySession *session, Group *group, const Transaction *tx,
                          const Change *change) {
    if (change->kind < CHANGE_TRUNCATE)
        audit_apply(&s->audit, &group->audit, tx, change->rel, change->kind, session->left_out);
    if (change->kind != CHANGE_TRUNCATE)
        return;
    for (uint32_t table = 0; table < change->truncate.count; table++) {
        const Relation *rel = change->truncate.rels[table];
        const Plan *plan = session->plans[rel->number];
        bool left_out = plan != NULL && !plan_takes(plan, CHANGE_TRUNCATE);
        audit_apply(&s->audit, &group->audit, tx, rel, CHANGE_TRUNCATE, left_out);
    }
}

static bool changes_apply(Sink *s, ApplySession *session, Group *group, const Batch *b, const Transaction *tx,
                          ApplyOne *apply_one, Error *e) {
    for (uint32_t at = 0; at < tx->count; at++) {
        const Change *change = &tx->changes[at];
        if (change->kind == CHANGE_BEAT) {
            note_beat(group, b, change->beat.number);
            continue;
        }
        session->left_out = false;
        if (!apply_one(session, tx, change, e)) {
            if (!live_has_failed(session->live))
                apply_describe(tx, change, e);
            return false;
        }
        count_applied(s, session, group, tx, change);
        group->changes++;
        group->touched = true;
    }
    return true;
}

bool group_apply_on(Sink *s, ApplySession *session, Group *group, const Batch *b, const Transaction *tx,
                    Error *e) {
    return changes_apply(s, session, group, b, tx, apply_any, e);
}

static bool apply_piece(Sink *s, const Batch *b, const Transaction *tx, ApplyOne *apply_one, Error *e) {
    return changes_apply(s, &s->session, &s->group, b, tx, apply_one, e);
}

void group_note_end(Group *group, const Transaction *tx) {
    group->inside = false;
    group->end = tx->end;
    group->end_us = tx->committed_us;
    group->transactions++;
    group->counted += group->touched ? 1 : 0;
    group->touched = false;
}

/* A transaction that is prepared, or the outcome of one: alone in its group, because each is a transaction of its own at
 * the destination, and the progress moves in another one behind it. */
static bool prepared_settled(Sink *s, const Transaction *tx, Error *e) {
    if (!sent_end(s, e))
        return false;
    bool ok = tx->ending == TRANSACTION_PREPARES
                  ? apply_session_begin(&s->session, e) && prepared_make(s, tx, e)
                  : prepared_finish(s, tx, e);
    s->session.open = false;
    return ok && apply_session_begin(&s->session, e) && prepared_record(s, tx, e) && group_commit(s, e);
}

/* Behind the last piece of a transaction that has a group to itself. */
static bool alone_settled(Sink *s, const Transaction *tx, Error *e) {
    return tx->ending == TRANSACTION_COMMITS ? group_commit(s, e) : prepared_settled(s, tx, e);
}

static bool transaction_restart(Sink *s, Error *e) {
    error_clear(e);
    group_clear(&s->group);
    s->session.counts.left_out = 0;
    return apply_session_reset(&s->session, e) && group_prepare(s, e);
}

static bool piece_alone(Sink *s, const Batch *b, const Transaction *tx, ApplyOne *apply_one, Error *e) {
    audit_receive(&s->audit, &s->group.audit, tx);
    return apply_piece(s, b, tx, apply_one, e);
}

/* A whole transaction in a group of its own; the batches are the caller's. What is refused is done again statement by
 * statement, where a policy may settle it; `carefully`: at once. */
static bool transaction_alone(Sink *s, const Batch *b, const Transaction *tx, bool carefully, Error *e) {
    bool applied = !carefully && piece_alone(s, b, tx, apply_change, e) && live_drain(s->session.live, e);
    if (!applied && !carefully && (e->kind != ERR_DATA || !s->settles || !transaction_restart(s, e)))
        return false;
    if (!applied && !piece_alone(s, b, tx, conflict_change, e))
        return false;
    group_note_end(&s->group, tx);
    return alone_settled(s, tx, e);
}

/* Each whole transaction of these batches by itself, up to `upto`. The one that is refused again stops the job, with
 * everything before it applied and nothing of it, unless a policy settles it. */
static bool singly(Sink *s, const Group *again, Lsn upto, bool carefully, Error *e) {
    bool collecting = s->session.collecting, ok = true;
    uint64_t left_out = s->session.counts.left_out;
    Group interrupted = s->group;
    s->group = (Group){0};
    s->session.counts.left_out = 0;
    apply_session_collect(&s->session, false);
    for (uint32_t at = 0; ok && at < again->batch_count; at++) {
        const Batch *b = again->batches[at];
        for (uint32_t number = 0; ok && number < b->count; number++) {
            const Transaction *tx = &b->transactions[number];
            if (!lsn_before(s->applied, tx->end))
                continue;
            if (!tx->begins || !tx->ends || lsn_before(upto, tx->end))
                break; /* it, and what stands behind it, has yet to come: nothing of it was in the group */
            ok = transaction_alone(s, b, tx, carefully, e);
        }
    }
    s->broken = !ok;
    group_free(&s->group);
    s->group = interrupted;
    s->session.counts.left_out = left_out;
    apply_session_collect(&s->session, collecting);
    return ok;
}

static bool start_again(Sink *s, const Group *refused, Error *e) {
    log_debug("a group of %u transactions was refused, applying them one by one: %s", refused->transactions,
              e->text);
    error_clear(e);
    s->session.end_other = NULL;
    return apply_session_reset(&s->session, e) && group_prepare(s, e);
}

/* The group that was sent was refused; what has been collected since stays collected. */
static bool sent_again_singly(Sink *s, Error *e) {
    Group again = s->sent;
    bool carefully = s->settles && !again.collected && again.transactions == 1;
    s->sent = (Group){0};
    bool ok = start_again(s, &again, e) && singly(s, &again, again.end, carefully, e);
    group_free(&again);
    return ok;
}

/* One transaction alone, too: a statement that was prepared before somebody retyped the destination's column is refused
 * once, and not when it is prepared anew. */
static bool is_worth_again(const Sink *s, const Error *e) {
    return e->kind == ERR_DATA && !s->broken;
}

/* Whatever was sent is committed. */
static bool sent_end(void *sink, Error *e) {
    Sink *s = sink;
    if (!is_sent(s))
        return true;
    return sent_commit(s, e) || (is_worth_again(s, e) && sent_again_singly(s, e));
}

/* What is being collected or applied was refused before it was sent, in the transaction that ends at `upto`. */
static bool group_again_singly(Sink *s, Lsn upto, Error *e) {
    if (s->broken || !sent_end(s, e))
        return false;
    Group again = s->group;
    bool carefully = s->settles && !s->session.collecting && again.transactions == 0;
    s->group = (Group){0};
    s->session.counts.left_out = 0;
    catchup_forget(&s->session);
    bool ok = start_again(s, &again, e) && singly(s, &again, upto, carefully, e);
    group_free(&again);
    return ok;
}

static bool group_commit_or_again(Sink *s, Error *e) {
    if (!sent_end(s, e))
        return false;
    s->group.collected = s->session.collecting;
    return group_send(s, e) ? sent_end(s, e) : is_worth_again(s, e) && sent_again_singly(s, e);
}

/* A run of sets is left to the server, while the next one is collected. */
static bool group_close(Sink *s, Error *e) {
    if (!s->session.collecting)
        return group_commit_or_again(s, e);
    if (!sent_end(s, e))
        return false;
    s->group.collected = true;
    return group_send(s, e) || (is_worth_again(s, e) && sent_again_singly(s, e));
}

static void group_keep(Sink *s, Batch *b) {
    Group *group = &s->group;
    if (group->batch_count == group->batch_capacity) {
        group->batch_capacity = group->batch_capacity == 0 ? 16 : group->batch_capacity * 2;
        group->batches = memory_grow(group->batches, group->batch_capacity * sizeof(Batch *));
    }
    batch_use(b);
    group->batches[group->batch_count++] = b;
    group->bytes += b->bytes;
}

static size_t bytes_max(const Sink *s, size_t usual) {
    size_t share = budget_of((size_t)s->options.cfg->memory_bytes, 1).group_bytes;
    return share > 0 && share < usual ? share : usual;
}

static bool group_is_full(const Sink *s) {
    const Group *group = &s->group;
    bool run = s->session.collecting;
    uint64_t changes = group->changes - group->changes_marked;
    return changes >= (run ? RUN_CHANGES : GROUP_CHANGES) ||
           group->transactions >= (run ? RUN_TRANSACTIONS : GROUP_TRANSACTIONS) ||
           group->bytes >= bytes_max(s, run ? RUN_BYTES : GROUP_BYTES);
}

/* Closing it for its size says that more comes than one group holds. */
static bool group_is_due(Sink *s) {
    bool full = group_is_full(s);
    if (full && s->pressure < PRESSURE_MAX)
        s->pressure++;
    return full || clock_ms() - s->group.since_ms >= (s->session.collecting ? RUN_MS : GROUP_MS);
}

/* The gear of the next group: with sets when groups are full again and again, one by one when nothing was waiting as often.
 * A transaction in pieces is large by itself. */
static void gear_choose(Sink *s, bool pieces) {
    bool run = s->session.collecting ? s->pressure > 0 : s->pressure >= PRESSURE_CATCH_UP;
    switch (s->options.cfg->target.gear) {
    case GEAR_CHOICE_AUTO: break;
    case GEAR_CHOICE_LIVE:
        run = false;
        pieces = false;
        break;
    case GEAR_CHOICE_CATCH_UP: run = true; break;
    }
    apply_session_collect(&s->session, run || pieces);
    atomic_store(&s->options.metrics->gear, run || pieces ? GEAR_CATCH_UP : GEAR_LIVE);
}

/* ---- transactions in pieces ---- */

/* The pieces since the mark, up to this one, in another way. They follow each other. */
static bool pieces_apply(Sink *s, const Transaction *last, ApplyOne *apply_one, Error *e) {
    log_debug("a piece of transaction %u was refused, applying it change by change: %s", last->xid, e->text);
    error_clear(e);
    bool ok = apply_session_return(&s->session, e) && group_prepare(s, e);
    apply_session_collect(&s->session, false);
    s->group.changes = s->group.changes_marked;
    audit_return(&s->group.audit);
    bool since = false, over = false;
    for (uint32_t at = 0; ok && at < s->group.batch_count; at++) {
        const Batch *b = s->group.batches[at];
        const Transaction *end = b->transactions + b->count;
        for (const Transaction *tx = b->transactions; ok && !over && tx < end; tx++) {
            since = since || tx == s->group.marked;
            ok = !since || apply_piece(s, b, tx, apply_one, e);
            over = tx == last;
        }
    }
    return ok && live_drain(s->session.live, e);
}

/* Change by change what was refused as a set, and statement by statement where a policy may settle it. */
static bool pieces_again(Sink *s, const Transaction *last, Error *e) {
    bool collected = s->session.collecting;
    return e->kind == ERR_DATA && !s->broken &&
           ((collected && pieces_apply(s, last, apply_change, e)) ||
            (e->kind == ERR_DATA && s->settles && pieces_apply(s, last, conflict_change, e)));
}

/* Its group holds nothing else, so it can let go of every batch as it is answered. */
static bool pieces_settled(Sink *s, const Transaction *last, Error *e) {
    if (!apply_settled(&s->session, e) && !pieces_again(s, last, e))
        return false;
    for (uint32_t at = 0; at < s->group.batch_count; at++)
        batch_drop(s->group.batches[at]);
    s->group.batch_count = 0;
    s->group.bytes = 0;
    s->group.marked = NULL;
    s->group.changes_marked = s->group.changes;
    return true;
}

static bool pieces_mark(Sink *s, const Transaction *tx, Error *e) {
    if (s->group.marked != NULL)
        return true;
    gear_choose(s, true);
    s->group.marked = tx;
    audit_mark_behind(&s->group.audit, 0);
    return (!s->session.collecting && !s->settles) || apply_session_mark(&s->session, e);
}

/* One piece of several. A prepared transaction cannot be taken back in parts, but the mark is gone before it is prepared. */
static bool add_one_piece(Sink *s, const Batch *b, const Transaction *tx, Error *e) {
    if (!pieces_mark(s, tx, e))
        return false;
    if (!apply_piece(s, b, tx, apply_any, e) && !pieces_again(s, tx, e))
        return false;
    return (!tx->ends && !group_is_full(s)) || pieces_settled(s, tx, e);
}

/* What is refused is tried again, one by one (is_worth_again). */
static bool add_whole(Sink *s, const Batch *b, const Transaction *tx, Error *e) {
    if (s->group.transactions == 0)
        gear_choose(s, false);
    bool prepares = tx->ending != TRANSACTION_COMMITS;
    if (!apply_piece(s, b, tx, apply_any, e) || (prepares && !apply_settled(&s->session, e)))
        return is_worth_again(s, e) && group_again_singly(s, tx->end, e);
    group_note_end(&s->group, tx);
    if (prepares)
        return prepared_settled(s, tx, e);
    return !group_is_due(s) || group_close(s, e);
}

static bool add_piece(Sink *s, Batch *b, const Transaction *tx, Error *e) {
    bool alone = !tx->ends || tx->ending != TRANSACTION_COMMITS;
    if (tx->begins && alone && s->group.transactions > 0 && !group_commit_or_again(s, e))
        return false;
    if (!lsn_before(s->applied, tx->end))
        return true; /* its batch was done again singly */
    if (pace_owes(&s->options)) {
        if (tx->begins && !group_flush(s, true, e))
            return false;
        pace_wait(&s->options);
    }
    pace_take(&s->options, tx);
    if (s->group.batch_count == 0 || s->group.batches[s->group.batch_count - 1] != b)
        group_keep(s, b);
    if (s->group.transactions == 0 && tx->begins)
        s->group.since_ms = clock_ms();
    s->group.inside = true;
    audit_receive(&s->audit, &s->group.audit, tx);
    if (tx->begins && tx->ends)
        return add_whole(s, b, tx, e);
    if (!add_one_piece(s, b, tx, e))
        return false;
    if (!tx->ends)
        return true;
    group_note_end(&s->group, tx);
    return alone_settled(s, tx, e);
}

bool group_add(Sink *s, Batch *b, Error *e) {
    for (uint32_t number = 0; number < b->count; number++) {
        const Transaction *tx = &b->transactions[number];
        if (lsn_before(s->applied, tx->end) && !add_piece(s, b, tx, e))
            return false;
    }
    return true;
}

bool group_flush(Sink *s, bool now, Error *e) {
    Group *group = &s->group;
    if (s->pressure > 0)
        s->pressure--;
    if (!sent_end(s, e))
        return false;
    if (group->inside || lsn_is_none(group->end))
        return true;
    if (!now && !s->session.open && group->changes == 0 && group->beat == 0 &&
        clock_ms() - group->since_ms < EMPTY_MS)
        return true;
    return group_commit_or_again(s, e);
}
