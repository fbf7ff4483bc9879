#include "job/watch.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "decoder/slot.h"
#include "job/slot_tell.h"

enum { LOOK_EVERY_MS = 2000, PAUSE_MS = 50, CONNECT_MS = 2000 };

/* Of all sessions: the metrics know which are ours. The first half of a btree is its table's scan, the other half is
 * what comes of it; sorting in between tells nothing. */
static const char SQL_BUILDS[] =
    "SELECT pid, CASE WHEN phase = 'building index: scanning table' AND blocks_total > 0"
    "  THEN 50 * blocks_done / blocks_total"
    " WHEN phase = 'building index: sorting live tuples' THEN 50"
    " WHEN phase = 'building index: loading tuples in tree' AND tuples_total > 0"
    "  THEN 50 + 50 * tuples_done / tuples_total"
    " WHEN blocks_total > 0 THEN 100 * blocks_done / blocks_total END"
    " FROM pg_catalog.pg_stat_progress_create_index"
    " UNION ALL SELECT pid, CASE WHEN heap_blks_total > 0 THEN 100 * heap_blks_scanned / heap_blks_total END"
    " FROM pg_catalog.pg_stat_progress_vacuum";

struct Watch {
    Job *job;
    Config cfg; /* its source is the server that the walk found; the walk's end does not take it away */
    char *source_dsn;
    pthread_t thread;
    atomic_bool over;
    Pg *source, *target;
    SlotTelling telling;
};

/* Opens what is not open; a connection that failed is opened again at the next look. */
static bool open_side(Watch *w, Pg **pg, const char *dsn, const char *side) {
    const PgAddress address = {.dsn = dsn, .side = side, .job = w->cfg.name};
    Error ignored;
    if (*pg != NULL && PQstatus((*pg)->conn) == CONNECTION_OK)
        return true;
    pg_close(*pg);
    *pg = pg_open(&address, CONNECT_MS, &ignored);
    return *pg != NULL;
}

static void slot_watch(Watch *w) {
    SlotView slot;
    Error ignored;
    if (!w->cfg.phases.incremental || !open_side(w, &w->source, w->source_dsn, "source"))
        return;
    if (slot_look(w->source, w->cfg.slot, &slot, &ignored) && slot.exists)
        slot_tell(&w->telling, w->cfg.slot, &slot, w->job->metrics);
}

static void builds_watch(Watch *w) {
    Metrics *m = w->job->metrics;
    Error ignored;
    if (!metrics_builds(m) || !open_side(w, &w->target, w->cfg.target.dsn, "target"))
        return;
    PGresult *rows = pg_query(w->target, SQL_BUILDS, 0, NULL, &ignored);
    for (int row = 0; rows != NULL && row < PQntuples(rows); row++)
        if (!pg_cell_null(rows, row, 1))
            metrics_build_percent(m, (int)pg_cell_int(rows, row, 0), (int)pg_cell_int(rows, row, 1));
    PQclear(rows);
}

static void *watch_thread(void *context) {
    Watch *w = context;
    int64_t due_ms = 0;
    while (!atomic_load(&w->over)) {
        if (clock_ms() >= due_ms) {
            slot_watch(w);
            builds_watch(w);
            due_ms = clock_ms() + LOOK_EVERY_MS;
        }
        clock_sleep_ms(PAUSE_MS);
    }
    return NULL;
}

Watch *watch_start(Job *job) {
    Watch *w = calloc(1, sizeof *w);
    assert(w != NULL);
    w->job = job;
    w->cfg = *job->cfg;
    w->source_dsn = strdup(job->cfg->source.dsn);
    if (pthread_create(&w->thread, NULL, watch_thread, w) == 0)
        return w;
    pg_forget(w->source_dsn);
    free(w);
    return NULL;
}

void watch_end(Watch *w) {
    if (w == NULL)
        return;
    atomic_store(&w->over, true);
    pthread_join(w->thread, NULL);
    pg_close(w->source);
    pg_close(w->target);
    pg_forget(w->source_dsn);
    free(w);
}
