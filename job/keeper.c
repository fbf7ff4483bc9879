#include "job/keeper.h"

#include <errno.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "decoder/publication.h"
#include "decoder/slot.h"
#include "job/captured.h"
#include "job/position.h"
#include "job/slot_tell.h"

enum {
    MANY_TABLES = 1000,   /* whose catalogs take some MB to look at */
    LISTEN_MS = 100,      /* how long it listens for the server between its duties */
    LOOK_EVERY_MS = 2000, /* slot, WAL */
    GUARD_EVERY_MS = 5000 /* publication */
};

static const char SQL_POSITION[] = "SELECT pg_catalog.pg_current_wal_lsn()";

typedef struct Keeper {
    Pipeline *p;
    int64_t beat; /* number of the last one made */
    int64_t beat_due_ms, look_due_ms, guard_due_ms;
    SlotTelling telling;
    Captured *captured;
    bool joins; /* a new table waits for the session's end */
} Keeper;

/* The source's side of the session is going: the stream is closed at once, confirmed or not, because a server
 * that shuts down waits for its walsenders (trap A13). */
static void source_is_down(Pipeline *p, const Error *e) {
    atomic_store(&p->source_down, true);
    pipeline_fail(p, e);
}

static bool make_beat(Keeper *k, Error *e) {
    Pipeline *p = k->p;
    Lsn after;
    k->beat++;
    atomic_store(&p->beat_made_us[k->beat % BEATS_REMEMBERED], clock_us());
    if (!heartbeat_beat(p->keeper, p->job->cfg, p->heartbeat, k->beat, &after, e))
        return false;
    atomic_store(&p->job->metrics->source_lsn, after.at);
    return true;
}

static bool look_at_position(Keeper *k, Error *e) {
    PGresult *result = pg_query(k->p->keeper, SQL_POSITION, 0, NULL, e);
    if (result == NULL)
        return false;
    atomic_store(&k->p->job->metrics->source_lsn, pg_cell_lsn(result, 0, 0).at);
    PQclear(result);
    return true;
}

static bool look_at_slot(Keeper *k, Error *e) {
    Metrics *m = k->p->job->metrics;
    SlotView slot;
    if (!slot_look(k->p->keeper, k->p->job->cfg->slot, &slot, e))
        return false;
    Position known = {.applied = {atomic_load(&m->applied_lsn)}, .bound = slot.confirmed};
    if (!position_check_slot(k->p->job->cfg, &slot, &known, e))
        return false;
    slot_tell(&k->telling, k->p->job->cfg->slot, &slot, m);
    return true;
}

/* How long ago, at each stage, the newest applied beat was made; all by our own monotonic clock, so that the
 * clocks of the servers do not matter (F42). */
static void tell_lag(Keeper *k) {
    Metrics *m = k->p->job->metrics;
    pthread_mutex_lock(&m->lock);
    BeatStamps stamps = m->beat;
    pthread_mutex_unlock(&m->lock);
    if (stamps.number <= k->beat - BEATS_REMEMBERED || stamps.number > k->beat || stamps.number == 0)
        return;
    int64_t made_us = atomic_load(&k->p->beat_made_us[stamps.number % BEATS_REMEMBERED]);
    if (made_us == 0 || made_us > stamps.received_us) /* of an earlier session whose wall clock was ahead */
        return;
    atomic_store(&m->received_ms, (stamps.received_us - made_us) / 1000);
    atomic_store(&m->decoded_ms, (stamps.decoded_us - made_us) / 1000);
    atomic_store(&m->queued_ms, (stamps.queued_us - made_us) / 1000);
    atomic_store(&m->applied_ms, (stamps.applied_us - made_us) / 1000);
    atomic_store(&m->lag_ms, (stamps.applied_us - made_us) / 1000);
}

static bool duties(Keeper *k, Error *e) {
    const Config *cfg = k->p->job->cfg;
    int64_t now_ms = clock_ms();
    if (k->p->heartbeat != HEARTBEAT_OFF && now_ms >= k->beat_due_ms) {
        k->beat_due_ms = now_ms + cfg->source.heartbeat_ms;
        if (!make_beat(k, e))
            return false;
    }
    if (now_ms >= k->look_due_ms) {
        k->look_due_ms = now_ms + LOOK_EVERY_MS;
        if (!look_at_slot(k, e) || (k->p->heartbeat == HEARTBEAT_OFF && !look_at_position(k, e)))
            return false;
    }
    if (now_ms >= k->guard_due_ms) {
        k->guard_due_ms = now_ms + GUARD_EVERY_MS;
        if (!publication_verify(k->p->keeper, cfg, k->p->selection, e))
            return position_lost((Lsn){atomic_load(&k->p->job->metrics->applied_lsn)}, e);
        if (!captured_look(k->captured, k->p->keeper, e) ||
            !captured_look_for_new(k->captured, k->p->keeper, &k->joins, e))
            return false;
        if (k->p->selection->count >= MANY_TABLES)
            memory_give_back();
        if (k->joins)
            return fail(e, ERR_RETRY, "a table is new on the source, and joins the job");
    }
    tell_lag(k);
    return true;
}

/* Nothing is expected on this connection between statements: what can be read is the server's farewell
 * (57P01). */
static bool listen(Keeper *k, Error *e) {
    PGconn *conn = k->p->keeper->conn;
    bool said;
    if (!pause_listen(&k->p->sinks_ended, LISTEN_MS, PQsocket(conn), &said) || !said)
        return true;
    if (PQconsumeInput(conn) == 1 && PQstatus(conn) == CONNECTION_OK && PQsocket(conn) >= 0)
        return true;
    pg_failed(k->p->keeper, NULL, e);
    return false;
}

void *keeper_thread(void *pipeline) {
    Pipeline *p = pipeline;
    Error e;
    /* numbers go on over sessions and processes, so that an old beat in the stream is never taken for a new
     * one */
    Keeper keeper = {
        .p = p, .beat = clock_wall_us() / 1000, .captured = captured_new(p->job->cfg, p->selection)};
    while (!atomic_load(&p->failed) && atomic_load(&p->sinks_left) > 0) {
        if (duties(&keeper, &e) && listen(&keeper, &e))
            continue;
        if ((e.kind == ERR_RETRY && !keeper.joins) || PQstatus(p->keeper->conn) != CONNECTION_OK)
            source_is_down(p, &e);
        else
            pipeline_fail(p, &e);
        break;
    }
    captured_free(keeper.captured);
    pg_close(p->keeper);
    p->keeper = NULL;
    return NULL;
}
