#include "job/position.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "decoder/publication.h"

enum { CONNECT_MS = 10000, WHY_SIZE = 400 };

static const char HINT[] =
    "the target no longer knows what it misses: run walferry cleanup, then start with a new load; "
    "or bring back the server and slot that this job began with";

static bool lost(Error *e, const char *why) {
    fail(e, ERR_LOST, "%s", why);
    return fail_hint(e, "%s", HINT);
}

bool position_check_server(const ServerIdentity *server, const Position *known, Error *e) {
    char why[WHY_SIZE];
    if (server->system_id != known->system_id)
        snprintf(why, sizeof why,
                 "the source is another server: its system identifier is %" PRIu64
                 ", this job began on %" PRIu64,
                 server->system_id, known->system_id);
    else if (server->timeline != known->timeline)
        snprintf(why, sizeof why,
                 "the source is on timeline %" PRIu32 ", this job began on timeline %" PRIu32,
                 server->timeline, known->timeline);
    else
        return true;
    return lost(e, why);
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

bool position_check_slot(const Config *cfg, const SlotView *slot, Lsn bound, Error *e) {
    char why[WHY_SIZE];
    if (!slot->exists)
        snprintf(why, sizeof why, "slot \"%s\" does not exist on the source any more", cfg->slot);
    else if (!slot->logical || strcmp(slot->plugin, "pgoutput") != 0)
        snprintf(why, sizeof why, "slot \"%s\" is not a pgoutput slot: somebody made it anew", cfg->slot);
    else if (strcmp(slot->wal_status, "lost") == 0)
        snprintf(why, sizeof why,
                 "slot \"%s\" has lost its WAL (wal_status lost: max_slot_wal_keep_size was passed)",
                 cfg->slot);
    else if (lsn_before(bound, slot->confirmed))
        snprintf(why, sizeof why,
                 "slot \"%s\" stands at " LSN_FMT ", beyond " LSN_FMT
                 ", the highest position that this job has "
                 "confirmed: somebody moved it or made it anew",
                 cfg->slot, LSN_ARGS(slot->confirmed), LSN_ARGS(bound));
    else
        return two_phase_check(cfg, slot, e);
    return lost(e, why);
}

bool position_check(Pg *source, const Config *cfg, const Selection *selection, const Position *known,
                    Error *e) {
    PgAddress to = {.dsn = cfg->source.dsn, .side = "source", .job = cfg->name, .replication = true};
    ServerIdentity server;
    SlotView slot;
    Pg *walsender = pg_open(&to, CONNECT_MS, e);
    bool ok = walsender != NULL && slot_identify(walsender, &server, e);
    pg_close(walsender);
    ok = ok && position_check_server(&server, known, e) && slot_look(source, cfg->slot, &slot, e) &&
         position_check_slot(cfg, &slot, known->bound, e) && publication_verify(source, cfg, selection, e);
    if (!ok && e->kind == ERR_LOST && e->hint[0] == '\0')
        fail_hint(e, "%s", HINT);
    return ok;
}
