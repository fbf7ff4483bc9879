#include "job/walk.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "decoder/slot.h"

static const char SQL_LOCK[] =
    "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('walferry ' || $1, 0))";

/* Longer than a server needs to notice that a machine is gone (core/pg: keepalives). */
enum { CONNECT_MS = 10000, LOCK_WAIT_MS = 40000 };

void walk_close(Walk *walk) {
    pg_close(walk->record);
    pg_close(walk->source);
    selection_free(walk->selection);
    walk->record = walk->source = NULL;
    walk->selection = NULL;
}

Pg *walk_side_open(const Walk *walk, const char *dsn, const char *side, Error *e) {
    const Job *job = walk->job;
    PgAddress to = {.dsn = dsn, .side = side, .job = job->cfg->name};
    return job->connected_once ? pg_open(&to, CONNECT_MS, e) : pg_open_wait(&to, job->first_wait_ms, e);
}

Pg *walk_walsender(const Walk *walk, Error *e) {
    PgAddress to = {.dsn = walk->job->cfg->source.dsn,
                    .side = "source",
                    .job = walk->job->cfg->name,
                    .replication = true};
    return pg_open(&to, CONNECT_MS, e);
}

bool walk_lock(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    JobRecord now, *before = &walk->job_record;
    bool ours = strcmp(before->instance, walk->job->instance) == 0;
    if (!state_take(walk->record, cfg, LOCK_WAIT_MS, ours, e) || !state_read(walk->record, cfg, &now, e))
        return false;
    bool moved = now.exists != before->exists || now.birth != before->birth || now.phase != before->phase ||
                 strcmp(now.instance, before->instance) != 0;
    *before = now;
    return !moved || fail(e, ERR_RETRY, "another instance has worked on job \"%s\" meanwhile", cfg->name);
}

/* Whoever has the slot runs the job, and its producer is not to be fenced. Where the slot is not read yet, by a birth or a load,
 * a lock at the source stands for it, for as long as the walk's connection. */
bool walk_nobody_runs(Walk *walk, Error *e) {
    SlotView slot;
    char got[8];
    const char *const params[] = {walk->job->cfg->slot};
    if (!pg_value(walk->source, SQL_LOCK, 1, params, got, sizeof got, e) ||
        !slot_look(walk->source, walk->job->cfg->slot, &slot, e))
        return false;
    if (got[0] != 't')
        return fail(e, ERR_RETRY, "another instance is at the load of job \"%s\"", walk->job->cfg->name);
    return !slot.active || fail(e, ERR_RETRY, "slot \"%s\" is in use by PID %lld of the source",
                                walk->job->cfg->slot, (long long)slot.active_pid);
}

bool walk_stops(void *walk) {
    return atomic_load(&((Walk *)walk)->job->stop);
}

KafkaWait walk_wait_kafka(Walk *walk, int64_t wait_ms) {
    return kafka_wait_begin(
        &(KafkaWait){.ending = walk_stops, .context = walk, .metrics = walk->job->metrics}, wait_ms);
}

void walk_name_tables(Walk *walk) {
    Metrics *m = walk->job->metrics;
    const Selection *selection = walk->selection;
    if (m->table_count > 0 || selection->count == 0)
        return;
    const char **names = memory_array((size_t)selection->count * 2, sizeof *names);
    const char **targets = names + selection->count;
    for (int table = 0; table < selection->count; table++) {
        names[table] = selection->tables[table].full_name;
        targets[table] = selection->tables[table].target_full_name;
    }
    metrics_tables(m, names, targets, selection->count);
    free(names);
    for (int table = 0; table < selection->count; table++) {
        m->tables[table].oid = selection->tables[table].oid;
        atomic_store(&m->tables[table].rows_estimated, selection->tables[table].rows_estimated);
        atomic_store(&m->tables[table].bytes_estimated, selection->tables[table].bytes);
    }
}
