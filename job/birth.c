#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/log.h"
#include "decoder/ddl_trigger.h"
#include "decoder/heartbeat.h"
#include "decoder/publication.h"
#include "decoder/slot.h"
#include "job/phases.h"

static const char SQL_EXPORT[] = "SELECT pg_catalog.pg_export_snapshot()";
static const char SQL_END_HOLDER[] =
    "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_replication_slots s"
    " JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid"
    " WHERE s.slot_name = $1 AND a.application_name = $2";
static const char SQL_SYSTEM_ID[] = "SELECT system_identifier FROM pg_catalog.pg_control_system()";

enum {
    CONNECT_MS = 10000,
    SLOT_WAIT_MS = 10 * 60 * 1000, /* for transactions that are open on the source */
    DROP_WAIT_MS = 10000,
    IDENTITY_WAIT_MS = 60000
};

void exported_end(Exported *exported) {
    pg_close(exported->exporter);
    *exported = (Exported){0};
}

static Pg *walsender_open(const Job *job, Error *e) {
    PgAddress to = {
        .dsn = job->cfg->source.dsn, .side = "source", .job = job->cfg->name, .replication = true};
    return pg_open(&to, CONNECT_MS, e);
}

/* Told about once a second while the slot waits for open transactions; false gives up. */
static bool waiting_for(void *context, const char *whom) {
    Job *job = context;
    metrics_activity(job->metrics, "making the slot: waiting for %s", whom);
    log_info("making the slot: waiting for %s", whom);
    return !atomic_load(&job->stop);
}

/* Before 18 a synchronized slot does not know from where on it is two-phase: after a failover it would leave out
 * prepared transactions, or send them twice (why late minors of 17 refuse the pair). */
static SlotKind lasting_kind(const Walk *walk) {
    if (!walk->job->cfg->source.two_phase || walk->source->version < 170000 ||
        walk->source->version >= 180000)
        return SLOT_LASTING;
    log_warn("two_phase: slot \"%s\" is made without FAILOVER, because a server before 18 cannot keep both",
             walk->job->cfg->slot);
    return SLOT_LASTING_HERE;
}

static bool slot_birth(Walk *walk, const char *name, SlotKind kind, int64_t wait_ms, Exported *out,
                       Error *e) {
    SlotBirth birth;
    out->exporter = walsender_open(walk->job, e);
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
static bool holder_end(Walk *walk, const char *slot, Error *e) {
    char application[80];
    snprintf(application, sizeof application, "walferry_%s", walk->job->cfg->name);
    const char *const params[] = {slot, application};
    PGresult *ended = pg_query(walk->source, SQL_END_HOLDER, 2, params, e);
    PQclear(ended);
    return ended != NULL;
}

/* A slot of our name is ours only if the record says so: else it is somebody's position (design "The slot's
 * birth"). */
static bool slot_clear(Walk *walk, bool intended, Error *e) {
    const Config *cfg = walk->job->cfg;
    SlotView slot;
    if (!slot_look(walk->source, cfg->slot, &slot, e))
        return false;
    if (!slot.exists)
        return true;
    if (!intended) {
        fail(e, ERR_LOST, "slot \"%s\" exists on the source, but the target knows no job \"%s\"", cfg->slot,
             cfg->name);
        return fail_hint(
            e, "it may belong to a job with another target: choose another name, or run walferry cleanup "
               "if the slot is a left-over");
    }
    return FAULT("slot.before_drop", e) && holder_end(walk, cfg->slot, e) &&
           slot_drop(walk->source, cfg->slot, DROP_WAIT_MS, e);
}

bool birth_identify(Walk *walk, ServerIdentity *out, Error *e) {
    *out = (ServerIdentity){.timeline = 0};
    if (walk->job->cfg->phases.incremental) {
        Pg *walsender = walsender_open(walk->job, e);
        bool ok = walsender != NULL && slot_identify(walsender, out, e);
        pg_close(walsender);
        return ok;
    }
    Error refused; /* not every account may ask, and a job without a stream does not depend on it */
    char text[24];
    if (pg_value(walk->source, SQL_SYSTEM_ID, 0, NULL, text, sizeof text, &refused))
        sscanf(text, "%lu", &out->system_id);
    return true;
}

/* Tables without identity, as `identity` says; noted at the destination before it is done, so that cleanup
 * can undo it. */
static bool identities_set(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    if (cfg->identity == IDENTITY_FAIL)
        return true;
    for (int number = 0; number < walk->selection->count; number++) {
        Table *table = &walk->selection->tables[number];
        if (table->identity != TABLE_IDENTITY_NONE || table->unlogged)
            continue;
        if (cfg->identity == IDENTITY_INSERT_ONLY && table->identity_candidate == NULL)
            continue; /* published for INSERT and TRUNCATE only */
        if (!state_identity_note(walk->record, cfg, table, e) ||
            !publication_set_identity(walk->source, table, IDENTITY_WAIT_MS, e))
            return false;
        table->identity = table->identity_candidate != NULL ? TABLE_IDENTITY_KEY : TABLE_IDENTITY_FULL;
        table->insert_only = false;
        log_info("table \"%s\": replica identity set to %s", table->full_name,
                 table->identity_candidate != NULL ? table->identity_candidate : "full");
    }
    return true;
}

bool birth_publish(Walk *walk, Error *e) {
    return identities_set(walk, e) && publication_make(walk->source, walk->job->cfg, walk->selection, e);
}

bool birth_source(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    HeartbeatForm form;
    return (cfg->source.heartbeat_ms == 0 || heartbeat_make(walk->source, cfg, &form, e)) &&
           birth_publish(walk, e) && (cfg->ddl != DDL_APPLY || ddl_trigger_make(walk->source, cfg, e)) &&
           FAULT("ddl.after_trigger", e);
}

/* One snapshot of an ordinary transaction, for a job that will not follow the source. */
static bool snapshot_export(Walk *walk, Exported *out, Error *e) {
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

static bool record_born(Walk *walk, Lsn point, Error *e) {
    const Config *cfg = walk->job->cfg;
    return state_born(walk->record, cfg, point, walk->selection, e) &&
           state_names_note(walk->record, cfg, walk->selection->mapping, e);
}

bool birth_of_job(Walk *walk, Exported *out, Error *e) {
    const Config *cfg = walk->job->cfg;
    ServerIdentity server;
    *out = (Exported){0};
    if (!birth_identify(walk, &server, e) || !walk_lock(walk, e) || !birth_kafka_may(walk, &server, e))
        return false;
    if (cfg->phases.incremental && !slot_clear(walk, walk->job_record.exists, e))
        return false;
    if (!state_intend(walk->record, cfg, server.system_id, server.timeline, walk->job->instance, e))
        return false;
    if (!cfg->phases.incremental)
        return snapshot_export(walk, out, e) && record_born(walk, LSN_NONE, e);
    if (!birth_source(walk, e) || !slot_birth(walk, cfg->slot, lasting_kind(walk), SLOT_WAIT_MS, out, e))
        return false;
    log_info("slot \"%s\" made, consistent point " LSN_FMT, cfg->slot, LSN_ARGS(out->point));
    return FAULT("snapshot.after_slot", e) && record_born(walk, out->point, e) &&
           FAULT("snapshot.after_export", e);
}

bool birth_of_snapshot(Walk *walk, int64_t wait_ms, Exported *out, Error *e) {
    const char *slot = walk->job->cfg->load_slot;
    *out = (Exported){0};
    return holder_end(walk, slot, e) && slot_birth(walk, slot, SLOT_TEMPORARY, wait_ms, out, e);
}

bool birth_wait(Walk *walk, Error *e) {
    Exported behind = {0};
    bool ok = birth_of_snapshot(walk, SLOT_WAIT_MS, &behind, e);
    exported_end(&behind);
    return ok;
}

bool birth_of_load_snapshot(Walk *walk, Exported *out, Error *e) {
    *out = (Exported){0};
    if (!walk->job->cfg->phases.incremental)
        return state_tables_reset(walk->record, walk->job->cfg, e) && snapshot_export(walk, out, e);
    if (!birth_of_snapshot(walk, SLOT_WAIT_MS, out, e))
        return false;
    log_info("loading the rest under a new snapshot at " LSN_FMT, LSN_ARGS(out->point));
    return true;
}

/* ---- for a job without a database as destination (birth_alone.c) ---- */

bool birth_alone_begin(Walk *walk, bool intended, Error *e) {
    return slot_clear(walk, intended, e);
}

bool birth_alone_slot(Walk *walk, Exported *out, Error *e) {
    *out = (Exported){0};
    if (!birth_source(walk, e) ||
        !slot_birth(walk, walk->job->cfg->slot, lasting_kind(walk), SLOT_WAIT_MS, out, e))
        return false;
    log_info("slot \"%s\" made, consistent point " LSN_FMT, walk->job->cfg->slot, LSN_ARGS(out->point));
    return FAULT("snapshot.after_slot", e);
}
