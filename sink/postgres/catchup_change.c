#include "sink/postgres/catchup_change.h"

#include "sink/postgres/apply_ddl.h"
#include "sink/postgres/apply_plan.h"
#include "sink/postgres/apply_row.h"
#include "sink/postgres/catchup.h"

enum { ROW_BYTES_MAX = 1 << 20 };

static bool any_written(const Plan *plan) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (plan->columns[column].writable && !plan->columns[column].key && !plan->columns[column].always)
            return true;
    return false;
}

static bool any_writable(const Plan *plan) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (plan->columns[column].writable)
            return true;
    return false;
}

/* It would leave its size behind in every buffer on its way, and there is little to win. */
static bool is_large(const Plan *plan, const Change *change) {
    size_t bytes = 0;
    for (uint16_t column = 0; change->row.after != NULL && column < plan->rel->column_count; column++)
        bytes += change->row.after[column].bytes.len;
    return bytes > ROW_BYTES_MAX;
}

static bool fits_set(const Plan *plan, const Change *change) {
    if (plan->kept || plan->watched || plan->unarrayed || plan->beside_prepared || plan->alone > 0 ||
        is_large(plan, change))
        return false;
    if (change->kind == CHANGE_INSERT)
        return any_writable(plan);
    if (plan->where != PLAN_WHERE_KEY || !plan->key_is_unique)
        return false;
    return change->kind == CHANGE_DELETE || (any_written(plan) && !apply_reinserts(plan, change));
}

static bool change_collect(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    if (change->kind == CHANGE_TRUNCATE || apply_is_ddl(s, change))
        return catchup_flush(s, e) && apply_change(s, tx, change, e);
    if (change->kind == CHANGE_MESSAGE || change->kind == CHANGE_BEAT)
        return true;
    const TableRecord *record = apply_record(s, change->rel, e);
    if (record == NULL || !apply_is_due(record, tx))
        return record != NULL;
    Plan *plan = apply_plan(s, change->rel, tx, change, e);
    if (plan == NULL)
        return false;
    if (!plan_takes(plan, change->kind)) {
        s->counts.left_out++;
        s->left_out = true;
        return true;
    }
    bool fits = fits_set(plan, change);
    const Net *collected = s->collected->net;
    bool barrier = fits ? net_has_other_version(collected, plan) : net_has_table(collected, plan);
    if (barrier && !catchup_flush(s, e))
        return false;
    plan->alone -= plan->alone > 0 ? 1 : 0;
    if (!fits)
        return apply_change(s, tx, change, e);
    return net_add(s->collected->net, plan, change) ? true : catchup_refused(plan, e);
}

bool apply_any(ApplySession *s, const Transaction *tx, const Change *change, Error *e) {
    return s->collecting ? change_collect(s, tx, change, e) : apply_change(s, tx, change, e);
}
