#include "sink/postgres/early.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/budget.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "sink/postgres/apply_changes.h"
#include "sink/postgres/apply_commit.h"
#include "sink/postgres/apply_group.h"
#include "sink/postgres/catchup.h"
#include "sink/postgres/catchup_change.h"
#include "sink/postgres/pace.h"

static const char SQL_RELEASE_MARK[] = "RELEASE SAVEPOINT walferry_mark";

enum {
    SQL_BYTES = 64,
    RUNS_FOR_SETS = 4, /* a part of more runs goes change by change: each savepoint would cut a set in two */
    STRETCH_PARTS = 8
};

typedef struct Savepoint {
    uint32_t subxid;
    Group counts; /* what was counted before it */
    ApplyCounts found;
} Savepoint;

typedef struct Slot {
    ApplySession session; /* pg NULL: not connected */
    Ticket *ticket;       /* NULL: free */
    uint32_t xid;
    Group counts;
    Savepoint saved[EARLY_SAVEPOINTS]; /* nested, the outermost first */
    uint32_t saved_count;
    bool released; /* there were more, which cannot be undone any more */
} Slot;

/* Parts that follow each other and go as sets: while the destination works on one, the next one is collected. They can
 * be taken back to the mark before the first of them. Whatever else the sink is asked for, it ends the stretch before:
 * no statement of a transaction that waits is under way while another one works. */
typedef struct Stretch {
    Slot *slot; /* NULL: there is none */
    Batch *parts[STRETCH_PARTS];
    uint32_t count;
    size_t bytes;
    Group counts; /* of the slot, at the mark */
    uint32_t saved_count;
    bool released;
} Stretch;

typedef struct Early {
    Slot slots[EARLY_MOST];
    Stretch stretch;
    bool off;
} Early;

/* ---- slots ---- */

static Slot *slot_of(Early *early, const Ticket *ticket) {
    for (int at = 0; at < EARLY_MOST; at++)
        if (early->slots[at].ticket == ticket)
            return &early->slots[at];
    return NULL;
}

static void slot_settle(Slot *slot, TicketOutcome outcome) {
    ticket_settle(slot->ticket, outcome);
    ticket_drop(slot->ticket);
    slot->ticket = NULL;
}

static void stretch_forget(Stretch *stretch) {
    for (uint32_t part = 0; part < stretch->count; part++)
        batch_drop(stretch->parts[part]);
    *stretch = (Stretch){.slot = NULL};
}

static bool slot_roll_back(Sink *s, Slot *slot, Error *e) {
    collected_forget(slot->session.collected);
    if (!apply_session_reset(&slot->session, e))
        return false;
    if (s->early->stretch.slot == slot) /* behind the last answer that is held against its changes */
        stretch_forget(&s->early->stretch);
    return group_prepare_on(s, &slot->session, e);
}

static bool slot_give_up(Sink *s, Slot *slot, const char *why, Error *e) {
    log_debug("transaction %" PRIu32 " waits for its commit, what was applied of it is rolled back: %s",
              slot->xid, why);
    if (!slot_roll_back(s, slot, e))
        return false;
    atomic_fetch_add(&s->options.metrics->early_given_up, 1);
    slot_settle(slot, TICKET_GIVEN_UP);
    return true;
}

/* A statement of it failed. */
static bool slot_refused(Sink *s, Slot *slot, Error *e) {
    Error why = *e;
    if (apply_session_is_lost(&slot->session, e))
        return false;
    error_clear(e);
    return slot_give_up(s, slot, why.text, e);
}

/* ---- who is in the way ---- */

int early_open(const Sink *s, const ApplySession *besides, int *pids) {
    int count = 0;
    for (int at = 0; s->early != NULL && at < EARLY_MOST; at++) {
        const ApplySession *session = &s->early->slots[at].session;
        if (session->open && session != besides)
            pids[count++] = session->pg->backend_pid;
    }
    return count;
}

bool early_give_way(Sink *s, int pid, Error *e) {
    for (int at = 0; s->early != NULL && at < EARLY_MOST; at++) {
        Slot *slot = &s->early->slots[at];
        if (slot->session.open && slot->session.pg->backend_pid == pid)
            return slot_give_up(s, slot, "another one waits for it", e);
    }
    return true;
}

/* ---- connections ---- */

/* To what they were at a savepoint. */
static void counts_return(Slot *slot, const Group *then) {
    AuditDelta audit = slot->counts.audit;
    audit_cut(&audit, then->audit.count);
    slot->counts = *then;
    slot->counts.audit = audit;
}

static bool slot_connect(Sink *s, Slot *slot, Error *e) {
    if (!apply_open_beside(s, &slot->session, e))
        return false;
    slot->session.parts = true;
    return true;
}

/* NULL: there is no connection to be had. */
static Slot *slot_begin(Sink *s, const Batch *b) {
    Early *early = s->early;
    Slot *slot = slot_of(early, NULL);
    Error e;
    if (early->off || slot == NULL)
        return NULL;
    if (slot->session.pg == NULL && !slot_connect(s, slot, &e)) {
        log_info("streamed transactions are applied behind their commit from here on: %s", e.text);
        apply_session_close(&slot->session);
        early->off = true;
        return NULL;
    }
    ticket_use(b->ticket);
    slot->ticket = b->ticket;
    slot->xid = b->transactions[0].xid;
    counts_return(slot, &(Group){.transactions = 0});
    slot->session.counts = (ApplyCounts){.left_out = 0};
    slot->saved_count = 0;
    slot->released = false;
    return slot;
}

static Early *early_of(Sink *s) {
    if (s->early == NULL)
        s->early = memory_new(sizeof *s->early);
    return s->early;
}

void early_free(Sink *s) {
    Early *early = s->early;
    if (early == NULL)
        return;
    for (int at = 0; at < EARLY_MOST; at++) {
        if (early->slots[at].ticket != NULL)
            ticket_drop(early->slots[at].ticket);
        apply_session_close(&early->slots[at].session);
        audit_delta_free(&early->slots[at].counts.audit);
    }
    stretch_forget(&early->stretch);
    free(early);
    s->early = NULL;
}

/* ---- savepoints ---- */

static bool savepoint_send(Slot *slot, const char *what, uint32_t subxid, Error *e) {
    char sql[SQL_BYTES];
    LiveNote note = {NOTE_BEGIN, NULL, NULL};
    snprintf(sql, sizeof sql, "%s walferry_%" PRIu32, what, subxid);
    return (!slot->session.collecting || apply_settled(&slot->session, e)) &&
           live_send_text(slot->session.live, note, sql, 0, NULL, e);
}

static uint32_t savepoint_find(const Slot *slot, uint32_t subxid) {
    uint32_t at = 0;
    while (at < slot->saved_count && slot->saved[at].subxid != subxid)
        at++;
    return at;
}

/* Before a run of this subtransaction's changes. */
static bool savepoint_before(Slot *slot, uint32_t subxid, Error *e) {
    if (subxid == slot->xid || savepoint_find(slot, subxid) < slot->saved_count)
        return true;
    if (slot->saved_count == EARLY_SAVEPOINTS) {
        if (!savepoint_send(slot, "RELEASE SAVEPOINT", slot->saved[0].subxid, e))
            return false;
        slot->saved_count = 0;
        slot->released = true;
    }
    if (!savepoint_send(slot, "SAVEPOINT", subxid, e))
        return false;
    audit_mark(&slot->counts.audit);
    slot->saved[slot->saved_count++] = (Savepoint){subxid, slot->counts, slot->session.counts};
    return true;
}

/* Savepoints behind the mark would go with it. */
static bool mark_release(Slot *slot, Error *e) {
    LiveNote note = {NOTE_BEGIN, NULL, NULL};
    return live_send_text(slot->session.live, note, SQL_RELEASE_MARK, 0, NULL, e);
}

/* ---- parts ---- */

/* As sets: all that was collected is sent. Else: all is answered. */
static bool runs_apply(Sink *s, Slot *slot, const Batch *b, bool sets, Error *e) {
    apply_session_collect(&slot->session, sets);
    for (uint32_t run = 0; run < b->count; run++) {
        if (!savepoint_before(slot, b->transactions[run].subxid, e))
            return false;
        audit_receive(&s->audit, &slot->counts.audit, &b->transactions[run]);
        if (!changes_apply(s, &slot->session, &slot->counts, b, &b->transactions[run], apply_any, e))
            return false;
    }
    return sets ? apply_sent(&slot->session, e) && live_push(slot->session.live, e)
                : apply_settled(&slot->session, e);
}

static bool stretch_begin(Stretch *stretch, Slot *slot, Error *e) {
    uint32_t saved = slot->saved_count;
    audit_mark_behind(&slot->counts.audit, saved == 0 ? 0 : slot->saved[saved - 1].counts.audit.count);
    *stretch =
        (Stretch){.slot = slot, .counts = slot->counts, .saved_count = saved, .released = slot->released};
    slot->released = false;
    return apply_session_begin(&slot->session, e) && apply_session_mark(&slot->session, e);
}

/* What was refused as sets is applied again change by change, from the mark. */
static bool stretch_again(Sink *s, Stretch *stretch, Error *e) {
    Slot *slot = stretch->slot;
    if (e->kind != ERR_DATA || slot->released)
        return false;
    error_clear(e);
    slot->saved_count = stretch->saved_count;
    counts_return(slot, &stretch->counts);
    bool ok = apply_session_return(&slot->session, e) && group_prepare_on(s, &slot->session, e);
    for (uint32_t part = 0; ok && part < stretch->count; part++)
        ok = runs_apply(s, slot, stretch->parts[part], false, e);
    return ok;
}

/* False: nothing of the transaction can stay. */
static bool stretch_settle(Sink *s, Stretch *stretch, bool sent, Error *e) {
    Slot *slot = stretch->slot;
    if (!(sent && apply_settled(&slot->session, e)) && !stretch_again(s, stretch, e))
        return false;
    bool nothing_behind = slot->saved_count == stretch->saved_count && !slot->released;
    slot->released = slot->released || stretch->released;
    slot->session.marked = false; /* released, or left: a savepoint behind it may still be undone */
    stretch_forget(stretch);
    return !nothing_behind || mark_release(slot, e);
}

static bool stretch_end(Sink *s, Error *e) {
    Stretch *stretch = &s->early->stretch;
    Slot *slot = stretch->slot;
    if (slot == NULL)
        return true;
    apply_tell_who_works(&slot->session);
    bool ok = stretch_settle(s, stretch, true, e) || slot_refused(s, slot, e);
    apply_tell_who_works(&s->session);
    return ok;
}

bool early_rest(Sink *s, Error *e) {
    return s->early == NULL || stretch_end(s, e);
}

static bool stretch_is_full(const Sink *s, const Stretch *stretch) {
    return stretch->count == STRETCH_PARTS ||
           stretch->bytes >= budget_of((size_t)s->options.cfg->memory_bytes, 1).group_bytes;
}

static bool stretch_add(Sink *s, Slot *slot, Batch *b, Error *e) {
    Stretch *stretch = &s->early->stretch;
    if (stretch->slot == NULL && !stretch_begin(stretch, slot, e))
        return false;
    batch_use(b);
    stretch->parts[stretch->count++] = b;
    stretch->bytes += b->bytes;
    bool sent = runs_apply(s, slot, b, true, e);
    return (sent && !stretch_is_full(s, stretch)) || stretch_settle(s, stretch, sent, e);
}

static bool goes_as_sets(const Sink *s, const Batch *b) {
    return b->kind == BATCH_PART && b->count <= RUNS_FOR_SETS &&
           s->options.cfg->target.gear != GEAR_CHOICE_LIVE;
}

static bool part_apply(Sink *s, Slot *slot, Batch *b, Error *e) {
    if (goes_as_sets(s, b))
        return stretch_add(s, slot, b, e);
    return apply_session_begin(&slot->session, e) && runs_apply(s, slot, b, false, e);
}

/* ---- batches ---- */

static bool write_part(Sink *s, Batch *b, Error *e) {
    Slot *slot = slot_of(s->early, b->ticket);
    if (slot == NULL && ticket_outcome(b->ticket) == TICKET_GIVEN_UP)
        return true;
    if (s->early->stretch.slot == NULL && !group_flush(s, false, e))
        return false;
    if (slot == NULL) /* the flush may have given it up, but only one that had begun */
        slot = slot_begin(s, b);
    else if (slot->ticket != b->ticket)
        return true;
    if (slot == NULL) {
        ticket_settle(b->ticket, TICKET_GIVEN_UP);
        return true;
    }
    apply_tell_who_works(&slot->session);
    pace_wait(&s->options);
    for (uint32_t run = 0; run < b->count; run++)
        pace_take(&s->options, &b->transactions[run]);
    bool ok = (part_apply(s, slot, b, e) && FAULT("early.part_applied", e)) || slot_refused(s, slot, e);
    apply_tell_who_works(&s->session);
    return ok;
}

static bool write_cut(Sink *s, const Batch *b, Error *e) {
    Slot *slot = slot_of(s->early, b->ticket);
    if (slot == NULL)
        return true;
    uint32_t subxid = b->transactions[0].subxid, at = savepoint_find(slot, subxid);
    if (at == slot->saved_count) /* else nothing of it was for the destination */
        return !slot->released || slot_give_up(s, slot, "a subtransaction is undone after its savepoint", e);
    slot->saved_count = at;
    counts_return(slot, &slot->saved[at].counts);
    slot->session.counts = slot->saved[at].found;
    apply_session_locks_gone(&slot->session);
    bool ok = savepoint_send(slot, "ROLLBACK TO SAVEPOINT", subxid, e) &&
              savepoint_send(slot, "RELEASE SAVEPOINT", subxid, e) && live_drain(slot->session.live, e);
    return ok || slot_refused(s, slot, e);
}

/* Only what the destination says of the rows makes room for another try: whoever does not know whether it has committed
 * asks the progress, in the next session. */
static bool slot_commit(Sink *s, Slot *slot, const Transaction *tx, Error *e) {
    group_note_end(&slot->counts, tx);
    audit_known(&slot->counts.audit, tx);
    if (!FAULT("early.before_commit", e) || !group_commit_on(s, &slot->session, &slot->counts, e))
        return e->kind == ERR_DATA && slot_refused(s, slot, e);
    log_debug("transaction %" PRIu32 " was applied while it arrived: %" PRIu64 " changes", slot->xid,
              slot->counts.changes);
    atomic_fetch_add(&s->options.metrics->early, 1);
    slot_settle(slot, TICKET_APPLIED);
    return FAULT("early.after_commit", e);
}

static bool write_commit(Sink *s, const Batch *b, Error *e) {
    const Transaction *tx = &b->transactions[0];
    Slot *slot = slot_of(s->early, b->ticket);
    assert(slot != NULL || ticket_outcome(b->ticket) == TICKET_GIVEN_UP);
    if (slot == NULL)
        return true;
    if (!group_flush(s, true, e))
        return false;
    if (slot->ticket != b->ticket)
        return true; /* the flush waited for it */
    if (!lsn_before(lsn_max(s->applied, s->tables.highest_start), tx->end))
        return slot_give_up(s, slot, "it is not behind all snapshots", e);
    apply_tell_who_works(&slot->session);
    bool ok = slot_commit(s, slot, tx, e);
    apply_tell_who_works(&s->session);
    return ok;
}

static bool write_abort(Sink *s, const Batch *b, Error *e) {
    Slot *slot = slot_of(s->early, b->ticket);
    if (slot == NULL)
        return true;
    if (!slot_roll_back(s, slot, e))
        return false;
    ticket_drop(slot->ticket);
    slot->ticket = NULL;
    return true;
}

bool early_write(Sink *s, Batch *b, Error *e) {
    const Slot *under_way = early_of(s)->stretch.slot;
    bool goes_on = goes_as_sets(s, b) && under_way != NULL && under_way->ticket == b->ticket;
    if (!goes_on && !stretch_end(s, e))
        return false;
    switch (b->kind) {
    case BATCH_WHOLE: break;
    case BATCH_PART: return write_part(s, b, e);
    case BATCH_CUT: return write_cut(s, b, e);
    case BATCH_COMMIT: return write_commit(s, b, e);
    case BATCH_ABORT: return write_abort(s, b, e);
    }
    assert(false);
    return false;
}
