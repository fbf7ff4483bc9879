#include <string.h>

#include "snapshot/load_intern.h"
#include "snapshot/load_plan.h"
#include "snapshot/pool.h"
#include "snapshot/session.h"

enum { TRIES = 10, WHAT_MAX_BYTES = 4096 };

/* One of the plan's three lists. */
typedef struct EntryWork {
    const Load *load;
    const Dump *dump;
    const DumpEntry **entries;
} EntryWork;

static void *entry_open(void *shared, Error *e) {
    const EntryWork *work = shared;
    Pg *target = load_target_open(work->load, e);
    if (target == NULL || pg_run(target, work->dump->preamble, e))
        return target;
    pg_close(target);
    return NULL;
}

static void entry_close(void *session) {
    pg_close(session);
}

static bool entry_try(const Load *load, Pg *target, const DumpEntry *entry, const char *what,
                      const atomic_bool *halt, Error *e) {
    bool ok = pg_run(target, "BEGIN", e) && session_run(target, entry->sql, halt, e) &&
              state_object_note(target, load->cfg, entry->hash, what, e) && pg_run(target, "COMMIT", e);
    if (!ok)
        session_leave(target);
    return ok;
}

/* Two that work on one table may each wait for the other; whoever is chosen to lose comes again. */
static bool entry_make(const Load *load, Pg *target, const DumpEntry *entry, const atomic_bool *halt,
                       Error *e) {
    bool made = false;
    if (!state_object_made(target, load->cfg, entry->hash, &made, e) || made)
        return made;
    Writer what = writer_new(WHAT_MAX_BYTES);
    writer_format(&what, "%s %s.%s", entry->type, entry->schema, entry->name);
    metrics_activity(load->metrics, "making %s", writer_string(&what));
    bool ok = false;
    for (int tries = 1; !ok && tries <= TRIES; tries++) {
        ok = entry_try(load, target, entry, writer_string(&what), halt, e);
        if (!ok && strcmp(e->sqlstate, "40P01") != 0)
            break;
    }
    if (!ok && e->kind != ERR_STOPPED)
        fail_context(e, "%s", writer_string(&what));
    writer_free(&what);
    return ok;
}

static bool entry_run(void *shared, void *session, int piece, const atomic_bool *halt, Error *e) {
    const EntryWork *work = shared;
    if (!entry_make(work->load, session, work->entries[piece], halt, e))
        return false;
    atomic_fetch_add(&work->load->metrics->post_data_done, 1);
    return true;
}

static bool list_run(const Load *load, const Dump *dump, const DumpEntry **entries, int count, int workers,
                     Error *e) {
    EntryWork work = {.load = load, .dump = dump, .entries = entries};
    PoolWork pool = {.pieces = count,
                     .workers = workers,
                     .stop = load->stop,
                     .shared = &work,
                     .open = entry_open,
                     .run = entry_run,
                     .close = entry_close};
    return pool_run(&pool, e);
}

bool load_entries(const Load *load, const Dump *dump, unsigned kinds, Error *e) {
    EntryPlan plan = load_plan_entries(dump, kinds);
    atomic_store(&load->metrics->post_data_done, 0);
    atomic_store(&load->metrics->post_data_total, plan.build_count + plan.attach_count + plan.other_count);
    bool ok = list_run(load, dump, plan.builds, plan.build_count, load->cfg->load.workers, e) &&
              list_run(load, dump, plan.attaches, plan.attach_count, 1, e) &&
              list_run(load, dump, plan.others, plan.other_count, 1, e);
    load_plan_free(&plan);
    return ok;
}
