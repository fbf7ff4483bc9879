#include "job/phases.h"

#include <stdlib.h>
#include <string.h>

#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "decoder/ddl_trigger.h"
#include "decoder/slot.h"
#include "job/again.h"
#include "job/birth.h"
#include "job/birth_alone.h"
#include "job/build.h"
#include "job/join.h"
#include "job/load_alone.h"
#include "job/plan.h"
#include "job/position.h"
#include "job/recorded.h"
#include "job/reload.h"
#include "job/units.h"
#include "job/walk_stream.h"
#include "job/watch.h"

static bool walk_open(Walk *walk, Error *e) {
    Job *job = walk->job;
    const Config *cfg = job->cfg;
    walk->source = walk_side_open(walk, cfg->source.dsn, "source", e);
    if (walk->source == NULL)
        return false;
    job_pin_source(job, walk->source);
    walk->record = walk_side_open(walk, cfg->target.dsn, "target", e);
    if (walk->record == NULL)
        return false;
    job->connected_once = true;
    walk->selection = selection_load(walk->source, cfg, e);
    if (walk->selection == NULL || !state_open(walk->record, cfg, e) ||
        !state_read(walk->record, cfg, &walk->job_record, e))
        return false;
    memcpy(job->last_instance, walk->job_record.instance, sizeof job->last_instance);
    return !walk->job_record.exists || walk->job_record.birth != BIRTH_DONE || recorded_fits(walk, e);
}

static void plan_tell(Walk *walk) {
    Job *job = walk->job;
    if (job->plan_told)
        return;
    job->plan_told = true;
    Writer plan = writer_new(64 * 1024);
    Config given = *job->cfg;
    given.source.dsn = job->given_dsn;
    plan_write(&plan, &given, walk->selection, &walk->job_record);
    char *rest = NULL, *text = memory_text(writer_string(&plan));
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        log_info("%s", line);
    free(text);
    writer_free(&plan);
}

/* ---- the walk ---- */

static bool enter(Walk *walk, Phase phase, Error *e) {
    metrics_phase(walk->job->metrics, phase);
    log_info("%s", phase_name(phase));
    return state_phase(walk->record, walk->job->cfg, phase, e);
}

/* From nothing to tables at the destination. */
static bool be_born(Walk *walk, Exported *exported, Dump *dump, Error *e) {
    metrics_phase(walk->job->metrics, PHASE_SCHEMA);
    if (!birth_of_job(walk, exported, e) || !recorded_show(walk, e) || !build_schema(walk, exported, dump, e))
        return false;
    walk->progressed = true;
    metrics_phase(walk->job->metrics, PHASE_FULL);
    log_info("%s", phase_name(PHASE_FULL));
    return true;
}

/* Before anything is loaded from it: what is loaded then is of the timeline that the record names. */
static bool source_follow(Walk *walk, Lsn loaded, Error *e) {
    const Config *cfg = walk->job->cfg;
    const JobRecord *record = &walk->job_record;
    Position known = {record->applied, record->bound, record->system_id, record->timeline, loaded}, now;
    if (!position_check(walk->source, cfg, walk->selection, &known, true, &now, e))
        return false;
    position_log(&known, &now);
    return now.timeline == known.timeline || state_timeline(walk->record, cfg, now.timeline, now.bound, e);
}

static bool resume(Walk *walk, Error *e) {
    TableRecords records;
    const Config *cfg = walk->job->cfg;
    metrics_phase(walk->job->metrics, PHASE_FULL);
    if (!walk_lock(walk, e) || !state_instance(walk->record, cfg, walk->job->instance, e) ||
        !join_begin(walk, e) || !state_tables(walk->record, cfg, &records, e))
        return false;
    Lsn loaded = records.highest_start;
    state_tables_free(&records);
    return !cfg->phases.incremental || source_follow(walk, loaded, e);
}

/* What waits for the stream is told: the source keeps it. */
static bool load_end_tell(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    const Metrics *m = walk->job->metrics;
    SlotView slot = {.exists = false};
    if (cfg->phases.incremental && !slot_look(walk->source, cfg->slot, &slot, e))
        return false;
    const char *rows = UNIT_COUNT(atomic_load(&m->rows_copied)),
               *bytes = UNIT_BYTES(atomic_load(&m->bytes_copied));
    if (slot.exists)
        log_info("rows are loaded: %s, %s; slot \"%s\" keeps %s of WAL on the source until it is streamed",
                 rows, bytes, cfg->slot, UNIT_BYTES(slot.retained_bytes));
    else
        log_info("rows are loaded: %s, %s", rows, bytes);
    return true;
}

/* Rows, indexes, and everything else up to the moment where the stream takes over. */
static bool build(Walk *walk, Exported *exported, Dump *dump, bool *complete, Error *e) {
    const Config *cfg = walk->job->cfg;
    *complete = false;
    if (cfg->phases.full && (!build_load(walk, exported, e) || !load_end_tell(walk, e)))
        return false;
    exported_end(exported);
    bool reached = true;
    if (cfg->phases.schema && dump->pre_data == NULL && !build_dump(walk, NULL, dump, e))
        return false;
    if ((cfg->phases.schema || cfg->phases.full) && !build_indexes(walk, dump, e))
        return false;
    if (!walk_converge(walk, &reached, e))
        return false;
    if (!reached)
        return true; /* asked to stop on the way */
    if (cfg->phases.schema && !build_rest(walk, dump, e))
        return false;
    *complete = true;
    return enter(walk, cfg->phases.incremental ? PHASE_CATCHING_UP : PHASE_COMPLETED, e);
}

/* Definitions and rows, from nothing or from where a killed run stood. */
static bool bring_over(Walk *walk, Exported *exported, Dump *dump, bool born, bool *complete, Error *e) {
    Watch *watch = watch_start(walk->job);
    bool ok = (born ? resume(walk, e) : be_born(walk, exported, dump, e)) &&
              build(walk, exported, dump, complete, e);
    watch_end(watch);
    return ok;
}

/* The same for tables of a job that was complete; the others wait where the stream stands. */
static bool bring_again(Walk *walk, bool *complete, Error *e) {
    bool reached = true;
    Dump dump = {0};
    Watch *watch = watch_start(walk->job);
    bool ok = resume(walk, e) && join_dump(walk, &dump, e) && again_load(walk, &dump, e) &&
              walk_converge(walk, &reached, e) && (!reached || join_end(walk, &dump, e));
    dump_free(&dump);
    watch_end(watch);
    *complete = ok && reached;
    return ok && (!reached || enter(walk, PHASE_CATCHING_UP, e));
}

/* `ddl: apply` may have been chosen since the job's birth. */
static bool messages_begin(Walk *walk, Error *e) {
    return walk->job->cfg->ddl != DDL_APPLY || ddl_trigger_make(walk->source, walk->job->cfg, e);
}

static bool walk_on(Walk *walk, Exported *exported, Dump *dump, Error *e) {
    const JobRecord *record = &walk->job_record;
    bool born = record->exists && record->birth == BIRTH_DONE;
    bool complete = born && record->phase > PHASE_FULL;
    plan_tell(walk);
    if (!FAULT("walk.begun", e))
        return false;
    if (born && (!again_look(walk, e) || !recorded_show(walk, e) || !messages_begin(walk, e)))
        return false;
    complete = complete && !walk->again;
    if (walk->again && !bring_again(walk, &complete, e))
        return false;
    if (!complete && !walk->again && !bring_over(walk, exported, dump, born, &complete, e))
        return false;
    if (!complete || !walk->job->cfg->phases.incremental)
        return true;
    bool ends = false;
    if (!reload_run(walk, &ends, e))
        return false;
    if (ends)
        return true;
    if (born && !walk->again && record->phase > PHASE_FULL)
        metrics_phase(walk->job->metrics, PHASE_CATCHING_UP);
    return walk_follow(walk, e);
}

/* Without a target database there is nothing to build: slot, rows where they go into Kafka, then stream. */
static bool walk_alone(Walk *walk, Exported *exported, Error *e) {
    const Config *cfg = walk->job->cfg;
    bool already = false, ends = false;
    ControlRecord record;
    if (cfg->phases.full && cfg->kafka.brokers == NULL) {
        fail(e, ERR_CONFIG, "a full load into a file is not available yet in this version");
        return fail_hint(e, "phases: [incremental]");
    }
    walk->source = walk_side_open(walk, cfg->source.dsn, "source", e);
    if (walk->source == NULL)
        return false;
    job_pin_source(walk->job, walk->source);
    walk->job->connected_once = true;
    walk->selection = selection_load(walk->source, cfg, e);
    if (walk->selection == NULL || !birth_alone(walk, &already, &record, exported, e) ||
        (already && !birth_alone_keep_published(walk, e)))
        return false;
    walk_name_tables(walk);
    if (record.loading && !load_alone(walk, &record, exported, e))
        return false;
    exported_end(exported);
    if (!reload_run(walk, &ends, e))
        return false;
    if (ends)
        return true;
    metrics_phase(walk->job->metrics, PHASE_CATCHING_UP);
    return walk_follow(walk, e);
}

bool phases_walk(Walk *walk, Error *e) {
    Exported exported = {0};
    Dump dump = {0};
    error_clear(e);
    bool ok = walk->job->cfg->target.dsn == NULL ? walk_alone(walk, &exported, e)
                                                 : walk_open(walk, e) && walk_on(walk, &exported, &dump, e);
    exported_end(&exported);
    dump_free(&dump);
    walk_close(walk);
    job_unpin_source(walk->job);
    return ok;
}
