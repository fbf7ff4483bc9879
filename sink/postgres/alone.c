#include "sink/postgres/alone.h"

#include "core/log.h"
#include "sink/postgres/apply_changes.h"
#include "sink/postgres/apply_commit.h"
#include "sink/postgres/apply_prepared.h"
#include "sink/postgres/apply_row.h"
#include "sink/postgres/conflict.h"

/* A transaction that is prepared, or the outcome of one: alone in its group, because each is a transaction of its own at
 * the destination, and the progress moves in another one behind it. */
static bool prepared_settled(Sink *s, const Transaction *tx, Error *e) {
    bool ok = tx->ending == TRANSACTION_PREPARES
                  ? apply_session_begin(&s->session, e) && prepared_make(s, tx, e)
                  : prepared_finish(s, tx, e);
    s->session.open = false;
    return ok && apply_session_begin(&s->session, e) && prepared_record(s, tx, e) && group_commit(s, e);
}

bool alone_end(Sink *s, const Transaction *tx, Error *e) {
    return tx->ending == TRANSACTION_COMMITS ? group_commit(s, e) : prepared_settled(s, tx, e);
}

static bool transaction_restart(Sink *s, Error *e) {
    error_clear(e);
    group_clear(&s->group);
    s->session.counts.left_out = 0;
    return apply_session_reset(&s->session, e) && group_prepare(s, e);
}

static bool transaction_apply(Sink *s, const Batch *b, const Transaction *tx, ApplyOne *apply_one, Error *e) {
    audit_receive(&s->audit, &s->group.audit, tx);
    return changes_apply(s, &s->session, &s->group, b, tx, apply_one, e);
}

/* A whole transaction in a group of its own; the batches are the caller's. What is refused is done again statement by
 * statement, where a policy may settle it; `carefully`: at once. */
static bool transaction_alone(Sink *s, const Batch *b, const Transaction *tx, bool carefully, Error *e) {
    bool applied =
        !carefully && transaction_apply(s, b, tx, apply_change, e) && live_drain(s->session.live, e);
    if (!applied && !carefully && (e->kind != ERR_DATA || !s->settles || !transaction_restart(s, e)))
        return false;
    if (!applied && !transaction_apply(s, b, tx, conflict_change, e))
        return false;
    group_note_end(&s->group, tx);
    return alone_end(s, tx, e);
}

static bool transactions_alone(Sink *s, const Group *again, Lsn upto, bool carefully, Error *e) {
    bool collecting = s->session.collecting, ok = true;
    uint64_t left_out = s->session.counts.left_out;
    ApplySession *other = s->at;
    Group interrupted = s->group;
    s->group = (Group){0};
    s->at = &s->session;
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
    s->at = other;
    s->session.counts.left_out = left_out;
    apply_session_collect(&s->session, collecting);
    return ok;
}

bool alone_again(Sink *s, const Group *refused, Lsn upto, bool carefully, Error *e) {
    log_debug("a group of %u transactions was refused, applying them one by one: %s", refused->transactions,
              e->text);
    error_clear(e);
    return apply_session_reset(&s->session, e) && group_prepare(s, e) &&
           transactions_alone(s, refused, upto, carefully, e);
}
