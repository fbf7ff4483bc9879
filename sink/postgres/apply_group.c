#include "sink/postgres/apply_group.h"

#include "core/budget.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "sink/postgres/alone.h"
#include "sink/postgres/apply_changes.h"
#include "sink/postgres/apply_commit.h"
#include "sink/postgres/apply_row.h"
#include "sink/postgres/catchup.h"
#include "sink/postgres/catchup_change.h"
#include "sink/postgres/conflict.h"
#include "sink/postgres/pace.h"
#include "sink/postgres/runs.h"

enum {
    GROUP_CHANGES = 2000,     /* a destination transaction is closed at this many changes, */
    GROUP_TRANSACTIONS = 200, /* this many source transactions, */
    GROUP_MS = 200,           /* or this age, whichever comes first */
    GROUP_BYTES = 8 << 20,
    RUN_CHANGES = 20000, /* the same for what is collected into sets; tests make many small ones */
    RUN_SMALL = 20,
    RUN_TRANSACTIONS = 20000,
    RUN_MS = 1000,
    RUN_BYTES = 12 << 20,
    PRESSURE_MAX = 4, /* full groups, less the times when nothing more was there */
    PRESSURE_CATCH_UP = 2,
    EMPTY_MS = 1000 /* progress over empty transactions alone is written this often */
};

void group_forget(Sink *s) {
    group_free(&s->group);
}

static bool apply_piece(Sink *s, const Batch *b, const Transaction *tx, ApplyOne *apply_one, Error *e) {
    return changes_apply(s, s->at, &s->group, b, tx, apply_one, e);
}

/* The session for the group may be another one than that which applies it again. */
static bool at_drop(Sink *s, Error *e) {
    s->at->counts.left_out = 0;
    collected_forget(s->at->collected);
    return s->at == &s->session || (apply_session_reset(s->at, e) && group_prepare_on(s, s->at, e));
}

/* What is being collected or applied was refused, in the transaction that ends at `upto`; carefully: it is the only one. */
static bool group_again_singly(Sink *s, Lsn upto, bool carefully, Error *e) {
    Error refused = *e;
    if (s->broken || !runs_end(s, e))
        return false;
    Group again = s->group;
    carefully = carefully && s->settles && !s->at->collecting;
    s->group = (Group){0};
    bool ok = at_drop(s, e);
    *e = ok ? refused : *e;
    ok = ok && alone_again(s, &again, upto, carefully, e);
    group_free(&again);
    return ok;
}

/* One transaction alone, too: a statement that was prepared before somebody retyped the destination's column is refused
 * once, and not when it is prepared anew. */
static bool is_worth_again(const Sink *s, const Error *e) {
    return e->kind == ERR_DATA && !s->broken;
}

static bool group_commit_or_again(Sink *s, Error *e) {
    if (s->at->collecting)
        return runs_send(s, e) && runs_end(s, e);
    return (runs_end(s, e) && group_commit(s, e)) ||
           (is_worth_again(s, e) && group_again_singly(s, s->group.end, s->group.transactions == 1, e));
}

/* A run of sets is left to the server, while the next one is collected. */
static bool group_close(Sink *s, Error *e) {
    return s->at->collecting ? runs_send(s, e) : group_commit_or_again(s, e);
}

/* One is collected while as many as there are lanes are on their way; the budget is for one of each. */
static size_t bytes_max(const Sink *s, size_t usual) {
    size_t two = budget_of((size_t)s->options.cfg->memory_bytes, 1).group_bytes * 2;
    size_t share = two / (size_t)(runs_lanes(s) + 1);
    return share > 0 && share < usual ? share : usual;
}

uint32_t group_run_changes(void) {
    Error ignored;
    return FAULT("runs.small", &ignored) ? RUN_CHANGES : RUN_SMALL;
}

static bool group_is_full(const Sink *s) {
    const Group *group = &s->group;
    bool run = s->at->collecting;
    uint64_t changes = group->changes - group->changes_marked;
    return changes >= (run ? s->run_changes : GROUP_CHANGES) ||
           group->transactions >= (run ? RUN_TRANSACTIONS : GROUP_TRANSACTIONS) ||
           group->bytes >= bytes_max(s, run ? RUN_BYTES : GROUP_BYTES);
}

/* Closing it for its size says that more comes than one group holds. */
static bool group_is_due(Sink *s) {
    bool full = group_is_full(s);
    if (full && s->pressure < PRESSURE_MAX)
        s->pressure++;
    return full || clock_ms() - s->group.since_ms >= (s->at->collecting ? RUN_MS : GROUP_MS);
}

/* The gear of the next group: with sets when groups are full again and again, one by one when nothing was waiting as often.
 * A transaction in pieces is large by itself; one that has its group alone is no run. */
static bool gear_choose(Sink *s, bool pieces, bool alone, Error *e) {
    bool run = s->at->collecting ? s->pressure > 0 : s->pressure >= PRESSURE_CATCH_UP;
    switch (s->options.cfg->target.gear) {
    case GEAR_CHOICE_AUTO: break;
    case GEAR_CHOICE_LIVE:
        run = false;
        pieces = false;
        break;
    case GEAR_CHOICE_CATCH_UP: run = true; break;
    }
    s->at = &s->session;
    if (run && !pieces && !alone && !runs_begin(s, e))
        return false;
    apply_session_collect(s->at, run || pieces);
    atomic_store(&s->options.metrics->gear, run || pieces ? GEAR_CATCH_UP : GEAR_LIVE);
    return true;
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
    if (!gear_choose(s, true, true, e))
        return false;
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
    bool prepares = tx->ending != TRANSACTION_COMMITS;
    if (s->group.transactions == 0 && !gear_choose(s, false, prepares, e))
        return false;
    if (!apply_piece(s, b, tx, apply_any, e) || (prepares && !apply_settled(s->at, e)))
        return is_worth_again(s, e) && group_again_singly(s, tx->end, s->group.transactions == 0, e);
    group_note_end(&s->group, tx);
    if (prepares)
        return runs_end(s, e) && alone_end(s, tx, e);
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
        group_keep(&s->group, b);
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
    return runs_end(s, e) && alone_end(s, tx, e);
}

bool group_add(Sink *s, Batch *b, Error *e) {
    if (!runs_go_on(s, e))
        return false;
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
    runs_rest(s);
    if (!runs_end(s, e))
        return false;
    if (group->inside || lsn_is_none(group->end))
        return true;
    if (!now && !s->at->open && group->changes == 0 && group->beat == 0 &&
        clock_ms() - group->since_ms < EMPTY_MS)
        return true;
    return group_commit_or_again(s, e);
}
