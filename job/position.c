#include "job/position.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "decoder/publication.h"

enum { CONNECT_MS = 10000, WHY_SIZE = 400 };

static const char WAYS_OUT[] =
    "bring back the server and the slot that this job began with, and start again; or give the rows up: run "
    "walferry cleanup, then start with a new load";
static const char WAYS_OUT_AHEAD[] =
    "bring back the server that has what the target has, and start again; or take this server as it is: run "
    "walferry cleanup, then start with a new load";
static const char WAYS_OUT_SERVER[] =
    "name in source.dsn the server that this job has read from, or one that was promoted from it, and start "
    "again; if that is another job, give this one a name of its own; or run walferry cleanup, then start "
    "with a new load";

/* Nobody shall have to look for what is safe. */
static bool say_safe(Lsn applied, const char *ways_out, Error *e) {
    size_t length = strlen(e->text);
    if (!lsn_is_none(applied))
        snprintf(e->text + length, sizeof e->text - length, "; everything up to " LSN_FMT " is at the target",
                 LSN_ARGS(applied));
    return fail_hint(e, "%s", ways_out);
}

bool position_lost(Lsn applied, Error *e) {
    return e->kind == ERR_LOST && say_safe(applied, WAYS_OUT, e);
}

/* Always false. */
__attribute__((format(printf, 4, 5))) static bool lost(const Position *known, const char *ways_out, Error *e,
                                                       const char *format, ...) {
    char why[WHY_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    fail(e, ERR_LOST, "%s", why);
    return say_safe(known->applied, ways_out, e);
}

bool position_follow(const ServerIdentity *server, const Position *known, Position *now, Error *e) {
    Lsn fork = server->flushed, reached = lsn_max(known->applied, known->loaded);
    *now = *known;
    if (server->system_id != known->system_id)
        return lost(known, WAYS_OUT_SERVER, e,
                    "the source is another server: its system identifier is %" PRIu64
                    ", this job began on %" PRIu64,
                    server->system_id, known->system_id);
    bool moved = server->timeline != known->timeline;
    if (moved && !timeline_fork(&server->history, known->timeline, &fork))
        return lost(known, WAYS_OUT_SERVER, e,
                    "the source is on timeline %" PRIu32 ", whose history knows nothing of timeline %" PRIu32
                    ", which this job has read",
                    server->timeline, known->timeline);
    if (lsn_before(fork, reached))
        return lost(known, WAYS_OUT_AHEAD, e,
                    "the destination is ahead of this server by %" PRIu64 " bytes: it has what timeline "
                    "%" PRIu32 " wrote up to " LSN_FMT ", and the server (timeline %" PRIu32
                    ") has that only up to " LSN_FMT,
                    lsn_distance_bytes(fork, reached), known->timeline, LSN_ARGS(reached), server->timeline,
                    LSN_ARGS(fork));
    if (moved) {
        now->timeline = server->timeline;
        now->bound = lsn_min(known->bound, fork);
    }
    return true;
}

void position_log(const Position *known, const Position *now) {
    if (known->timeline != now->timeline)
        log_info("the source has gone from timeline %" PRIu32 " to %" PRIu32
                 ", and has everything that is at the target (up to " LSN_FMT "): going on",
                 known->timeline, now->timeline, LSN_ARGS(known->applied));
}

/* The setting or event behind pg_replication_slots.invalidation_reason; older servers do not name it. */
static const char *invalidation_cause(const char *reason) {
    static const struct {
        const char *reason, *cause;
    } causes[] = {
        {"idle_timeout", "nobody read it for longer than idle_replication_slot_timeout"},
        {"rows_removed", "rows that it needed were removed, hot_standby_feedback was off"},
        {"wal_level_insufficient", "wal_level was lowered"},
    };
    for (size_t n = 0; n < sizeof causes / sizeof *causes; n++)
        if (strcmp(reason, causes[n].reason) == 0)
            return causes[n].cause;
    return "it fell behind by more than max_slot_wal_keep_size";
}

/* Without it the server would send a transaction again, whole, whose rows are prepared at the destination. */
static bool two_phase_check(const Config *cfg, const SlotView *slot, Error *e) {
    if (!slot->two_phase || cfg->source.two_phase)
        return true;
    fail(e, ERR_CONFIG,
         "slot \"%s\" is of a job with two-phase transactions, the job file says \"two_phase: no\"",
         cfg->slot);
    return fail_hint(
        e, "set source.two_phase to yes; to change it, run walferry cleanup and start with a new load");
}

bool position_check_slot(const Config *cfg, const SlotView *slot, const Position *known, Error *e) {
    if (!slot->exists)
        return lost(known, WAYS_OUT, e,
                    "slot \"%s\" does not exist on the source any more: it was dropped, or the source was "
                    "promoted and had not synchronized it",
                    cfg->slot);
    if (!slot->logical || strcmp(slot->plugin, "pgoutput") != 0)
        return lost(known, WAYS_OUT, e, "slot \"%s\" is not a pgoutput slot: somebody made it anew",
                    cfg->slot);
    if (strcmp(slot->wal_status, "lost") == 0)
        return lost(known, WAYS_OUT, e, "slot \"%s\" has lost its WAL (wal_status lost%s%s): %s", cfg->slot,
                    slot->invalidation[0] == '\0' ? "" : ", reason ", slot->invalidation,
                    invalidation_cause(slot->invalidation));
    if (lsn_before(known->bound, slot->confirmed))
        return lost(known, WAYS_OUT, e,
                    "slot \"%s\" stands at " LSN_FMT ", beyond " LSN_FMT
                    ", the highest position that this job has confirmed: somebody moved it or made it anew",
                    cfg->slot, LSN_ARGS(slot->confirmed), LSN_ARGS(known->bound));
    return two_phase_check(cfg, slot, e);
}

bool position_check_server(const Config *cfg, const Position *known, Position *now, Error *e) {
    PgAddress to = {.dsn = cfg->source.dsn, .side = "source", .job = cfg->name, .replication = true};
    ServerIdentity server;
    Pg *walsender = pg_open(&to, CONNECT_MS, e);
    bool ok = walsender != NULL && slot_identify(walsender, &server, e);
    pg_close(walsender);
    return ok && position_follow(&server, known, now, e);
}

bool position_check(Pg *source, const Config *cfg, const Selection *selection, const Position *known,
                    bool locked, Position *now, Error *e) {
    SlotView slot;
    if (!position_check_server(cfg, known, now, e) || !slot_look(source, cfg->slot, &slot, e))
        return false;
    Position loose = *now;
    if (!locked)
        loose.bound = slot.confirmed;
    return position_check_slot(cfg, &slot, &loose, e) &&
           (publication_verify(source, cfg, selection, e) || position_lost(known->applied, e));
}
