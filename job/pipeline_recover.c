#include "job/pipeline_recover.h"

#include <assert.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "core/fault.h"
#include "core/state.h"
#include "job/position.h"

enum { CONNECT_MS = 10000 };
#define NOTE_PREFIX "sink "

/* ---- which sinks the job has had ----
 * Beside a database another sink may join at any time: one without a record begins where the database stands. One whose
 * record is gone must not: what lies between would be missing there, without a word. The database's notes tell them apart. */

typedef struct SinkNotes {
    bool known[LEDGER_SINKS_MAX];
} SinkNotes;

static bool has_others(const Pipeline *p) {
    return p->job->cfg->target.dsn != NULL && p->sink_count > 1;
}

static Pg *notes_open(const Pipeline *p, Error *e) {
    const Config *cfg = p->job->cfg;
    return pg_open(&(PgAddress){.dsn = cfg->target.dsn, .side = "target", .job = cfg->name}, CONNECT_MS, e);
}

static bool is_noted(PGresult *rows, const char *name) {
    for (int row = 0; row < PQntuples(rows); row++)
        if (strcmp(pg_cell(rows, row, 0) + strlen(NOTE_PREFIX), name) == 0)
            return true;
    return false;
}

static bool notes_read(const Pipeline *p, SinkNotes *out, Error *e) {
    *out = (SinkNotes){{false}};
    if (!has_others(p))
        return true;
    Pg *target = notes_open(p, e);
    PGresult *rows = target == NULL ? NULL : state_objects(target, p->job->cfg, NOTE_PREFIX, e);
    for (int sink = 1; rows != NULL && sink < p->sink_count; sink++)
        out->known[sink] = is_noted(rows, p->ops[sink]->name);
    bool ok = rows != NULL;
    PQclear(rows);
    pg_close(target);
    return ok;
}

/* When every sink has a record, and before anything is confirmed. */
static bool notes_write(const Pipeline *p, const SinkNotes *notes, Error *e) {
    bool ok = true;
    Pg *target = NULL;
    for (int sink = 1; ok && has_others(p) && sink < p->sink_count; sink++) {
        char note[64];
        snprintf(note, sizeof note, NOTE_PREFIX "%s", p->ops[sink]->name);
        if (notes->known[sink])
            continue;
        if (target == NULL)
            target = notes_open(p, e);
        ok = target != NULL && state_object_note(target, p->job->cfg, note, "a sink beside the database", e);
    }
    pg_close(target);
    return ok;
}

/* ---- opening and recovering ---- */

static bool is_ending(void *pipeline) {
    return pipeline_ending(pipeline);
}

bool pipeline_sinks_open(Pipeline *p, Position *lowest, Error *e) {
    SinkOptions options = {.cfg = p->job->cfg,
                           .selection = p->selection,
                           .metrics = p->job->metrics,
                           .wait = &p->target_wait,
                           .binary = &p->binary,
                           .wants_text = &p->wants_text,
                           .throttle = p->job->apply_throttle,
                           .ending = is_ending,
                           .context = p};
    p->sink_count = sink_list(p->job->cfg, p->ops);
    for (int sink = 0; sink < p->sink_count; sink++) {
        Position position;
        options.begin = &p->begins[sink];
        p->sinks[sink] = p->ops[sink]->open(&options, e);
        if (p->sinks[sink] == NULL || !p->ops[sink]->peek(p->sinks[sink], &position, e))
            return false;
        if (sink == 0 || lsn_before(position.applied, lowest->applied))
            *lowest = position;
        p->applied[sink] = position.applied;
        if (sink + 1 < p->sink_count)
            p->begins[sink + 1] = position;
    }
    assert(!lsn_is_none(lowest->applied)); /* trap A7a: a stream never begins at 0/0 */
    return true;
}

/* The record moves to the source's timeline before anything of it is taken in (job/position.h). */
static bool sink_follow(Pipeline *p, int sink, const ServerIdentity *server, const SlotView *slot,
                        Position *known, Error *e) {
    Position now;
    if (!position_follow(server, known, &now, e) || !position_check_slot(p->job->cfg, slot, &now, e))
        return false;
    if (now.timeline == known->timeline)
        return true;
    position_log(known, &now);
    *known = now;
    return FAULT("timeline.before_record", e) && p->ops[sink]->follow(p->sinks[sink], &now, e) &&
           FAULT("timeline.after_record", e);
}

static void tell_where(Pipeline *p, const ServerIdentity *server) {
    Metrics *m = p->job->metrics;
    atomic_store(&m->applied_lsn, p->applied[0].at);
    atomic_store(&m->system_id, server->system_id);
    atomic_store(&m->timeline, server->timeline);
}

/* What was peeked at without the lock may have been of a commit that a crash of the destination took back: checked
 * sink by sink, because a sink without a record begins where the one before it was seen to stand. */
bool pipeline_sinks_recover(Pipeline *p, const ServerIdentity *server, const SlotView *slot, Error *e) {
    Lsn lowest = LSN_NONE;
    SinkNotes notes;
    if (!notes_read(p, &notes, e))
        return false;
    for (int sink = 0; sink < p->sink_count; sink++) {
        Position position;
        if (notes.known[sink])
            p->begins[sink] = (Position){.applied = LSN_NONE};
        if (!p->ops[sink]->recover(p->sinks[sink], &position, e) ||
            !sink_follow(p, sink, server, slot, &position, e))
            return false;
        if (lsn_before(position.applied, p->applied[sink]))
            return fail(e, ERR_RETRY, "the target went back from " LSN_FMT " to " LSN_FMT,
                        LSN_ARGS(p->applied[sink]), LSN_ARGS(position.applied));
        if (sink + 1 < p->sink_count)
            p->begins[sink + 1] = position;
        p->applied[sink] = position.applied;
        if (p->ops[sink]->parts)
            p->early_from = lsn_max(position.applied, position.loaded);
        lowest = sink == 0 ? position.applied : lsn_min(lowest, position.applied);
    }
    if (!notes_write(p, &notes, e))
        return false;
    tell_where(p, server);
    p->ledger = ledger_new(p->sink_count, p->applied, lsn_max(lowest, slot->confirmed));
    p->received = lowest;
    return true;
}
