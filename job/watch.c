#include "job/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/limit.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/pause.h"
#include "decoder/slot.h"
#include "job/slot_tell.h"

enum { LOOK_EVERY_MS = 2000, CONNECT_MS = 2000 };

struct Watch {
    Job *job;
    Config cfg; /* its source is the server that the walk found; the walk's end does not take it away */
    char *source_dsn;
    pthread_t thread;
    Pause pause;
    Pg *source;
    SlotTelling telling;
};

/* A connection that failed is opened again at the next look. */
static bool source_open(Watch *w) {
    const PgAddress address = {.dsn = w->source_dsn, .side = "source", .job = w->cfg.name};
    Error ignored;
    if (w->source != NULL && PQstatus(w->source->conn) == CONNECTION_OK)
        return true;
    pg_close(w->source);
    w->source = pg_open(&address, CONNECT_MS, &ignored);
    return w->source != NULL;
}

static void slot_watch(Watch *w) {
    SlotView slot;
    Error ignored;
    if (source_open(w) && slot_look(w->source, w->cfg.slot, &slot, &ignored) && slot.exists)
        slot_tell(&w->telling, w->cfg.slot, &slot, w->job->metrics);
}

static void *watch_thread(void *context) {
    Watch *w = context;
    do
        slot_watch(w);
    while (pause_for(&w->pause, LOOK_EVERY_MS));
    return NULL;
}

Watch *watch_start(Job *job) {
    if (!job->cfg->phases.incremental)
        return NULL;
    Error e;
    Watch *w = memory_new(sizeof *w);
    w->job = job;
    w->cfg = *job->cfg;
    w->source_dsn = memory_text(job->cfg->source.dsn);
    pause_new(&w->pause);
    int why = pthread_create(&w->thread, NULL, watch_thread, w);
    if (why == 0)
        return w;
    limit_failed(&e, "make a thread that looks at the slot", why);
    log_failure(LOG_WARN, &e);
    pause_free(&w->pause);
    pg_forget(w->source_dsn);
    free(w);
    return NULL;
}

void watch_end(Watch *w) {
    if (w == NULL)
        return;
    pause_end(&w->pause);
    pthread_join(w->thread, NULL);
    pause_free(&w->pause);
    pg_close(w->source);
    pg_forget(w->source_dsn);
    free(w);
}
