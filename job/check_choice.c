#include "job/check_choice.h"

#include "core/change.h"
#include "job/check_text.h"

/* A row that a left-out change would have made, moved or taken away is another at the target than at the source: a later
 * change that is applied may find none, or meet one. */
static bool may_miss(const Table *t) {
    unsigned insert = 1u << CHANGE_INSERT, update = 1u << CHANGE_UPDATE, gone = 1u << CHANGE_DELETE;
    unsigned takes = t->choice.takes;
    bool finds_none = (takes & (update | gone)) != 0 && (takes & insert) == 0;
    bool finds_moved = (takes & gone) != 0 && (takes & update) == 0;
    return finds_none || finds_moved;
}

static bool may_meet(const Table *t) {
    unsigned takes = t->choice.takes,
             frees = 1u << CHANGE_UPDATE | 1u << CHANGE_DELETE | 1u << CHANGE_TRUNCATE;
    return (takes & 1u << CHANGE_INSERT) != 0 && (takes & frees) != frees;
}

typedef bool TableIs(const Table *t);

static bool is_partial(const Table *t) {
    return t->choice.takes != APPLY_ALL;
}

static bool stops_missing(const Table *t) {
    return t->choice.conflicts == CONFLICTS_STOP && may_miss(t);
}

static bool stops_meeting(const Table *t) {
    return t->choice.conflicts == CONFLICTS_STOP && may_meet(t);
}

/* What "source-wins" does then is what the user did not ask for by `dml`. */
static bool makes_rows(const Table *t) {
    bool updates = (t->choice.takes & 1u << CHANGE_UPDATE) != 0,
         inserts = (t->choice.takes & 1u << CHANGE_INSERT) != 0;
    return t->choice.conflicts == CONFLICTS_SOURCE_WINS && updates && !inserts;
}

static int tables_are(const Check *c, TableIs *is, Names *names) {
    int count = 0;
    *names = names_new();
    for (int at = 0; at < c->selection->count; at++) {
        if (!is(&c->selection->tables[at]))
            continue;
        names_add(names, c->selection->tables[at].full_name);
        count++;
    }
    return count;
}

bool check_dml(Check *c, Finding *out, Error *e) {
    (void)e;
    Names partial, missing, meeting, made;
    int count = tables_are(c, is_partial, &partial);
    int misses = tables_are(c, stops_missing, &missing), meets = tables_are(c, stops_meeting, &meeting);
    int makes = tables_are(c, makes_rows, &made);
    out->left_out = count == 0;
    finding_pass(out, "%d of %d tables take only some kinds of change: %s", count, c->selection->count,
                 names_text(&partial));
    if (misses > 0)
        finding_alert(out,
                      "an UPDATE or DELETE of a row whose INSERT or UPDATE was left out may find no row, and "
                      "\"conflicts: stop\" then ends the job: %s",
                      names_text(&missing));
    if (meets > 0)
        finding_alert(
            out,
            "an INSERT of a key whose DELETE, UPDATE or TRUNCATE was left out meets the old row, and "
            "\"conflicts: stop\" then ends the job: %s",
            names_text(&meeting));
    if (misses + meets > 0)
        finding_fix(out,
                    "set conflicts to source-wins or skip for these tables, or take all kinds of change");
    if (makes > 0) {
        finding_alert(out,
                      "an UPDATE of a row whose INSERT was left out makes the row, under \"conflicts: "
                      "source-wins\": %s",
                      names_text(&made));
        finding_fix(out, "set conflicts to skip for these tables if their rows are not to come");
    }
    names_free(&made);
    names_free(&partial);
    names_free(&missing);
    names_free(&meeting);
    return true;
}
