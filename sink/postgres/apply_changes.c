#include "sink/postgres/apply_changes.h"

#include "sink/postgres/refusal.h"

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

bool changes_apply(Sink *s, ApplySession *session, Group *group, const Batch *b, const Transaction *tx,
                   ApplyOne *apply_one, Error *e) {
    for (uint32_t at = 0; at < tx->count; at++) {
        const Change *change = &tx->changes[at];
        if (change->kind == CHANGE_BEAT) {
            group_note_beat(group, b, change->beat.number);
            continue;
        }
        session->left_out = false;
        if (!apply_one(session, tx, change, e)) {
            if (!live_has_failed(session->live))
                refusal_describe(tx, change, e);
            return false;
        }
        count_applied(s, session, group, tx, change);
        group->changes++;
        group->touched = true;
    }
    return true;
}
