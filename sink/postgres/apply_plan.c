#include "sink/postgres/apply_plan.h"

#include <stdio.h>
#include <string.h>

#include "core/binary_type.h"
#include "core/memory.h"
#include "sink/postgres/apply_alter.h"

enum { PLANS_LEAST = 64, STATEMENT_BYTES = 32 };

/* ---- tables ---- */

static void plans_reserve(ApplySession *s, uint32_t number) {
    if (number < s->plan_capacity)
        return;
    uint32_t before = s->plan_capacity, capacity = before == 0 ? PLANS_LEAST : before;
    while (capacity <= number)
        capacity *= 2;
    s->plans = memory_grow(s->plans, capacity * sizeof *s->plans);
    s->records = memory_grow(s->records, capacity * sizeof *s->records);
    memset(s->plans + before, 0, (capacity - before) * sizeof *s->plans);
    memset(s->records + before, 0, (capacity - before) * sizeof *s->records);
    s->plan_capacity = capacity;
}

TableRecord *apply_record(ApplySession *s, const Relation *rel, Error *e) {
    plans_reserve(s, rel->number);
    TableRecord **known = &s->records[rel->number];
    if (*known == NULL)
        *known = state_table_find(s->tables, rel->oid, rel->schema, rel->name);
    if (*known != NULL && (*known)->loaded)
        return *known;
    if (*known != NULL) {
        fail(e, ERR_DATA, "table \"%s.%s\" is not loaded", rel->schema, rel->name);
        return NULL;
    }
    fail(e, ERR_DATA, "table \"%s.%s\" is in the stream, but this job has not loaded it", rel->schema,
         rel->name);
    fail_hint(e, "somebody added it to the publication: take it out again");
    return NULL;
}

bool apply_is_due(const TableRecord *table, const Transaction *tx) {
    return change_is_due(table->start, tx);
}

/* ---- plans ---- */

/* A column of another type than the source's, or of one that has come since the stream was asked for (trap B3). */
static bool takes_binary(const ApplySession *s, const Plan *plan, Error *e) {
    const Relation *rel = plan->rel;
    for (uint16_t column = 0; column < rel->column_count; column++) {
        if (binary_type(rel->columns[column].type) && plan->columns[column].oid == rel->columns[column].type)
            continue;
        atomic_store(s->options->wants_text, true);
        return fail(e, ERR_RETRY, "column \"%s\" of table \"%s.%s\" cannot be taken in binary",
                    rel->columns[column].name, rel->schema, rel->name);
    }
    return true;
}

void apply_plan_arrived(ApplySession *s, const PGresult *result, Error *e) {
    const TableRecord *table = s->records[s->planned->number];
    Plan *plan =
        plan_build(s->planned_arena, s->pg, s->options->selection, s->planned, result, table->start, e);
    if (plan == NULL || (table->kept && !plan_keep(plan, e)))
        return;
    if (apply_in_binary(s) && !takes_binary(s, plan, e))
        return;
    plan->beside_prepared = s->options->cfg->source.two_phase;
    relation_remember(s->planned);
    s->plans[s->planned->number] = plan;
    s->plan_count++;
    s->plans_since_look++;
}

/* The destination keeps memory for each. */
static bool statement_forget(ApplySession *s, const char *name, bool prepared, Error *e) {
    char sql[STATEMENT_BYTES];
    LiveNote note = {NOTE_PREPARE, NULL, NULL};
    snprintf(sql, sizeof sql, "DEALLOCATE %s", name);
    return !prepared || live_send_text(s->live, note, sql, 0, NULL, e);
}

static bool statements_forget(ApplySession *s, const Plan *plan, Error *e) {
    for (const Shape *shape = plan->shapes; shape != NULL; shape = shape->next)
        if (!statement_forget(s, shape->name, shape->prepared, e))
            return false;
    for (const SetShape *set = plan->sets; set != NULL; set = set->next)
        if (!statement_forget(s, set->name, set->prepared, e))
            return false;
    return true;
}

/* Plans of versions that are over go. Looked for as often as half of all plans are new, so that a table that changes all
 * the time costs no more memory than others, and many tables no more time each than few. */
static bool plans_look(ApplySession *s, Error *e) {
    if (s->plans_since_look < PLANS_LEAST || s->plans_since_look < s->plan_count / 2)
        return true;
    s->plans_since_look = 0;
    for (uint32_t number = 0; number < s->plan_capacity; number++) {
        if (s->plans[number] == NULL || !relation_is_over(s->plans[number]->rel))
            continue;
        if (!statements_forget(s, s->plans[number], e))
            return false;
        apply_session_drop(s, number);
    }
    return true;
}

static bool plan_ask(ApplySession *s, const Relation *rel, LiveNote note, Error *e) {
    s->planned = rel;
    s->planned_arena = arena_new();
    MappedName target = selection_target(s->options->selection, s->planned_arena, rel->schema, rel->name);
    const char *const params[] = {target.schema, target.name};
    bool ok = live_send_text(s->live, note, PLAN_QUERY, 2, params, e) && live_drain(s->live, e);
    if (s->plans[rel->number] == NULL)
        arena_free(s->planned_arena);
    s->planned_arena = NULL;
    return ok && plans_look(s, e);
}

Plan *apply_plan(ApplySession *s, const Relation *rel, const Transaction *tx, const Change *change,
                 Error *e) {
    TableRecord *table = apply_record(s, rel, e);
    if (table == NULL || s->plans[rel->number] != NULL)
        return table == NULL ? NULL : s->plans[rel->number];
    LiveNote note = {NOTE_PLAN, tx, change};
    if ((s->end_form != NULL && !s->end_form(s->context, e)) || !apply_alter(s, table, rel, e) ||
        !plan_ask(s, rel, note, e))
        return NULL;
    return s->plans[rel->number];
}
