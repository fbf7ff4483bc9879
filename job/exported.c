#include "job/exported.h"

#include <stdio.h>

#include "core/log.h"

static const char SQL_EXPORT[] = "SELECT pg_catalog.pg_export_snapshot()";
static const char SQL_END_HOLDER[] =
    "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_replication_slots s"
    " JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid"
    " WHERE s.slot_name = $1 AND a.application_name = $2";

enum { CONNECT_MS = 10000 };

void exported_end(Exported *exported) {
    pg_close(exported->exporter);
    *exported = (Exported){0};
}

/* Told about once a second while the slot waits for open transactions; false gives up. */
static bool waiting_for(void *context, const char *whom) {
    Job *job = context;
    metrics_activity(job->metrics, "making the slot: waiting for %s", whom);
    log_info("making the slot: waiting for %s", whom);
    return !atomic_load(&job->stop);
}

bool exported_by_slot(Walk *walk, const char *name, SlotKind kind, int64_t wait_ms, Exported *out, Error *e) {
    SlotBirth birth;
    out->exporter = walk_walsender(walk, e);
    if (out->exporter == NULL)
        return false;
    metrics_activity(walk->job->metrics, "making slot \"%s\"", name);
    if (!slot_create(out->exporter, walk->source, name, kind, wait_ms, waiting_for, walk->job, &birth, e)) {
        exported_end(out);
        return false;
    }
    snprintf(out->snapshot, sizeof out->snapshot, "%s", birth.snapshot);
    out->point = birth.point;
    metrics_activity(walk->job->metrics, "%s", "");
    return true;
}

/* A killed run's walsender that still waits for open transactions does not notice that nobody is there any more. We
 * hold the job's lock: it cannot be of a living one. */
bool exported_holder_end(Walk *walk, const char *slot, Error *e) {
    char application[80];
    snprintf(application, sizeof application, "walferry_%s", walk->job->cfg->name);
    const char *const params[] = {slot, application};
    PGresult *ended = pg_query(walk->source, SQL_END_HOLDER, 2, params, e);
    PQclear(ended);
    return ended != NULL;
}

bool exported_by_load_slot(Walk *walk, int64_t wait_ms, Exported *out, Error *e) {
    const char *slot = walk->job->cfg->load_slot;
    *out = (Exported){0};
    return exported_holder_end(walk, slot, e) &&
           exported_by_slot(walk, slot, SLOT_TEMPORARY, wait_ms, out, e);
}

bool exported_wait(Walk *walk, Error *e) {
    Exported behind = {0};
    bool ok = exported_by_load_slot(walk, EXPORTED_WAIT_MS, &behind, e);
    exported_end(&behind);
    return ok;
}

/* One snapshot of an ordinary transaction, for a job that will not follow the source. */
bool exported_by_transaction(Walk *walk, Exported *out, Error *e) {
    PgAddress to = {.dsn = walk->job->cfg->source.dsn, .side = "source", .job = walk->job->cfg->name};
    out->exporter = pg_open(&to, CONNECT_MS, e);
    if (out->exporter == NULL)
        return false;
    if (pg_run(out->exporter, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", e) &&
        pg_value(out->exporter, SQL_EXPORT, 0, NULL, out->snapshot, sizeof out->snapshot, e))
        return true;
    exported_end(out);
    return false;
}

bool exported_for_load(Walk *walk, Exported *out, Error *e) {
    *out = (Exported){0};
    if (!walk->job->cfg->phases.incremental)
        return state_tables_reset(walk->record, walk->job->cfg, e) && exported_by_transaction(walk, out, e);
    if (!exported_by_load_slot(walk, EXPORTED_WAIT_MS, out, e))
        return false;
    log_info("loading the rest under a new snapshot at " LSN_FMT, LSN_ARGS(out->point));
    return true;
}
