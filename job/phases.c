#include "job/phases.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "decoder/ddl_trigger.h"
#include "decoder/slot.h"
#include "job/captured.h"
#include "job/join.h"
#include "job/pipeline.h"
#include "job/plan.h"
#include "job/position.h"
#include "job/reload.h"
#include "job/units.h"
#include "job/watch.h"

/* Longer than a server needs to notice that a machine is gone (core/pg: keepalives). */
enum { CONNECT_MS = 10000, LOCK_WAIT_MS = 40000 };

void phases_close(Walk *walk) {
    pg_close(walk->record);
    pg_close(walk->source);
    selection_free(walk->selection);
    walk->record = walk->source = NULL;
    walk->selection = NULL;
}

static Pg *side_open(const Walk *walk, const char *dsn, const char *side, Error *e) {
    const Job *job = walk->job;
    PgAddress to = {.dsn = dsn, .side = side, .job = job->cfg->name};
    return job->connected_once ? pg_open(&to, CONNECT_MS, e) : pg_open_wait(&to, job->first_wait_ms, e);
}

/* ---- what the job consists of ---- */

/* A table that was dropped or renamed before its turn: nothing can load it any more. */
static const TableRecord *pending_without_table(const TableRecords *records, const Selection *selection) {
    for (int row = 0; row < records->count; row++)
        if (!records->rows[row].loaded && !records->rows[row].was_loaded &&
            state_table_selected(selection, &records->rows[row]) == NULL)
            return &records->rows[row];
    return NULL;
}

/* Loaded from a table that is not there any more, while another one has its name; what that one holds has never been
 * copied. */
static const TableRecord *made_again(const TableRecords *records, const Selection *selection) {
    for (int row = 0; row < records->count; row++) {
        const TableRecord *record = &records->rows[row];
        const Table *named = selection_find(selection, record->schema, record->name);
        if (record->source_oid != 0 && named != NULL && named->oid != record->source_oid &&
            state_table_selected(selection, record) == NULL &&
            state_table_find(records, named->oid, "", "") == NULL)
            return record;
    }
    return NULL;
}

static void gone_tell(Walk *walk, const TableRecords *records) {
    for (int row = 0; row < records->count && !walk->job->plan_told; row++)
        if (records->rows[row].loaded && state_table_selected(walk->selection, &records->rows[row]) == NULL)
            log_warn(
                "table \"%s.%s\" is not on the source any more, or has a name that the job does not take; at "
                "the target it stays",
                records->rows[row].schema, records->rows[row].name);
}

/* A job whose first load is not complete yet takes what it began with. */
static bool new_table_joins(const void *walk_of, const Table *table) {
    const Walk *walk = walk_of;
    const char *why = ", as long as its first load is not complete";
    bool joins = walk->job_record.phase > PHASE_FULL && join_takes(walk->source, walk->job->cfg, table, &why);
    if (!joins)
        join_refused_tell(table, why);
    return joins;
}

/* One that the source has got since was never loaded, and must not be published, unless it joins. */
static bool recorded_keep(Walk *walk, Error *e) {
    TableRecords records;
    if (!state_tables(walk->record, walk->job->cfg, &records, e))
        return false;
    const TableRecord *again = made_again(&records, walk->selection);
    state_tables_follow(&records, walk->selection, new_table_joins, walk);
    gone_tell(walk, &records);
    const TableRecord *gone = pending_without_table(&records, walk->selection);
    if (again != NULL) {
        captured_made_again(again->schema, again->name, e);
    } else if (gone != NULL) {
        fail(e, ERR_DATA, "table \"%s.%s\" is gone from the source, and was not loaded yet", gone->schema,
             gone->name);
        fail_hint(e, "drop it at the target and remove the job: walferry cleanup, then start again");
    }
    state_tables_free(&records);
    return gone == NULL && again == NULL;
}

/* The rows of a finished table do not come again: its numbers are in the record. But without a stream they do, until
 * all of them are there. */
static bool metrics_restore(Walk *walk, Error *e) {
    Metrics *m = walk->job->metrics;
    TableRecords records;
    bool stays = walk->job->cfg->phases.incremental;
    if (!stays && !build_load_is_complete(walk, &stays, e))
        return false;
    if (!stays)
        return true;
    if (!state_tables(walk->record, walk->job->cfg, &records, e))
        return false;
    for (int row = 0; row < records.count; row++) {
        const TableRecord *record = &records.rows[row];
        const Table *table = state_table_selected(walk->selection, record);
        TableMetrics *shown = table == NULL ? NULL : metrics_table_of(m, table->full_name, table->oid);
        if (!record->loaded || shown == NULL)
            continue;
        atomic_store(&shown->stage, TABLE_LOADED);
        atomic_store(&shown->rows, record->rows);
        atomic_store(&shown->bytes, record->bytes);
    }
    state_tables_free(&records);
    return true;
}

static void metrics_name_tables(Walk *walk) {
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

static bool metrics_fill(Walk *walk, Error *e) {
    Metrics *m = walk->job->metrics;
    metrics_name_tables(walk);
    if (!state_read(walk->record, walk->job->cfg, &walk->job_record, e))
        return false;
    atomic_store(&m->system_id, walk->job_record.system_id);
    atomic_store(&m->timeline, walk->job_record.timeline);
    return metrics_restore(walk, e);
}

/* Tables are loaded, and their changes applied, as the job began to. */
static bool existing_keeps(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    PGresult *found = state_existing(walk->record, cfg, e);
    bool ok = found != NULL;
    const char *before =
        ok && PQntuples(found) > 0 ? pg_cell(found, 0, 2) : existing_policy_name(cfg->existing);
    if (ok && strcmp(before, existing_policy_name(cfg->existing)) != 0) {
        fail(e, ERR_CONFIG, "job \"%s\" was begun with \"existing: %s\", which cannot change to %s",
             cfg->name, before, existing_policy_name(cfg->existing));
        ok = fail_hint(e, "set it back, or begin again: walferry cleanup, then walferry run");
    }
    PQclear(found);
    return ok;
}

/* Of a job that is about to go on: does this source belong to it, and do its tables? */
static bool known_keep(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    const JobRecord *record = &walk->job_record;
    Position known = {record->applied, record->bound, record->system_id, record->timeline, LSN_NONE}, now;
    return (!cfg->phases.incremental || position_check_server(cfg, &known, &now, e)) &&
           existing_keeps(walk, e) && state_names_keep(walk->record, cfg, walk->selection->mapping, e) &&
           recorded_keep(walk, e);
}

static bool walk_open(Walk *walk, Error *e) {
    Job *job = walk->job;
    const Config *cfg = job->cfg;
    walk->source = side_open(walk, cfg->source.dsn, "source", e);
    if (walk->source == NULL)
        return false;
    job_pin_source(job, walk->source);
    walk->record = side_open(walk, cfg->target.dsn, "target", e);
    if (walk->record == NULL)
        return false;
    job->connected_once = true;
    walk->selection = selection_load(walk->source, cfg, e);
    if (walk->selection == NULL || !state_open(walk->record, cfg, e) ||
        !state_read(walk->record, cfg, &walk->job_record, e))
        return false;
    memcpy(job->last_instance, walk->job_record.instance, sizeof job->last_instance);
    return !walk->job_record.exists || walk->job_record.birth != BIRTH_DONE || known_keep(walk, e);
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
    if (!birth_of_job(walk, exported, e) || !metrics_fill(walk, e) || !build_schema(walk, exported, dump, e))
        return false;
    walk->progressed = true;
    metrics_phase(walk->job->metrics, PHASE_FULL);
    log_info("%s", phase_name(PHASE_FULL));
    return true;
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

/* Streams until `until`; the walk's own connections are closed first, because the session takes the job's
 * lock. */
static bool stream(Walk *walk, Pipeline *p, bool *reached, Error *e) {
    pg_close(walk->record);
    pg_close(walk->source);
    walk->record = walk->source = NULL;
    bool progressed = false;
    p->job = walk->job;
    p->selection = walk->selection;
    bool ok = pipeline_run(p, &progressed, e);
    walk->progressed = walk->progressed || progressed;
    *reached = ok && atomic_load(&p->reached);
    return ok;
}

bool walk_stream(Walk *walk, Lsn until, bool *reached, Error *e) {
    const Config *cfg = walk->job->cfg;
    metrics_phase(walk->job->metrics, PHASE_CATCHING_UP);
    bool ok = stream(walk, &(Pipeline){.until = until, .until_is_now = lsn_is_none(until)}, reached, e);
    if (!ok || !*reached)
        return ok;
    walk->source = side_open(walk, cfg->source.dsn, "source", e);
    if (walk->source == NULL)
        return false;
    selection_free(walk->selection);
    walk->selection = selection_load(walk->source, cfg, e);
    return walk->selection != NULL;
}

/* Below the newest snapshot of its tables the destination is not a prefix of the source (trap A2): foreign
 * keys wait. */
static bool converge(Walk *walk, bool *reached, Error *e) {
    TableRecords records;
    *reached = true;
    if (!walk->job->cfg->phases.incremental)
        return true;
    if (!state_tables(walk->record, walk->job->cfg, &records, e) ||
        !state_read(walk->record, walk->job->cfg, &walk->job_record, e))
        return false;
    Lsn newest = records.highest_start;
    state_tables_free(&records);
    if (!lsn_before(walk->job_record.applied, newest))
        return true;
    log_info("tables are of different moments: streaming up to " LSN_FMT " before foreign keys are built",
             LSN_ARGS(newest));
    if (!stream(walk, &(Pipeline){.until = newest}, reached, e))
        return false;
    if (!*reached)
        return true; /* asked to stop on the way */
    walk->source = side_open(walk, walk->job->cfg->source.dsn, "source", e);
    walk->record = walk->source == NULL ? NULL : side_open(walk, walk->job->cfg->target.dsn, "target", e);
    return walk->record != NULL && walk_lock(walk, e);
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
    if (!converge(walk, &reached, e))
        return false;
    if (!reached)
        return true; /* asked to stop on the way */
    if (cfg->phases.schema && !build_rest(walk, dump, e))
        return false;
    *complete = true;
    return enter(walk, cfg->phases.incremental ? PHASE_CATCHING_UP : PHASE_COMPLETED, e);
}

static bool follow(Walk *walk, Error *e) {
    const Until *until = &walk->job->until;
    bool reached;
    for (int table = 0; table < walk->job->metrics->table_count; table++)
        atomic_store(&walk->job->metrics->tables[table].stage, TABLE_STREAMING);
    Pipeline p = {.until = until->kind == UNTIL_LSN ? until->lsn : LSN_NONE,
                  .until_is_now = until->kind == UNTIL_NOW,
                  .two_phase = walk->job->cfg->source.two_phase};
    bool ok = stream(walk, &p, &reached, e);
    if (until->kind == UNTIL_NOW && !p.until_is_now) /* found: it stays where it is over further sessions */
        walk->job->until = (Until){UNTIL_LSN, p.until};
    return ok;
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
              converge(walk, &reached, e) && (!reached || join_end(walk, &dump, e));
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
    if (born && (!again_look(walk, e) || !metrics_fill(walk, e) || !messages_begin(walk, e)))
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
    return follow(walk, e);
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
    walk->source = side_open(walk, cfg->source.dsn, "source", e);
    if (walk->source == NULL)
        return false;
    job_pin_source(walk->job, walk->source);
    walk->job->connected_once = true;
    walk->selection = selection_load(walk->source, cfg, e);
    if (walk->selection == NULL || !birth_alone(walk, &already, &record, exported, e) ||
        (already && !birth_keep_published(walk, e)))
        return false;
    metrics_name_tables(walk);
    if (record.loading && !load_alone(walk, &record, exported, e))
        return false;
    exported_end(exported);
    if (!reload_run(walk, &ends, e))
        return false;
    if (ends)
        return true;
    metrics_phase(walk->job->metrics, PHASE_CATCHING_UP);
    return follow(walk, e);
}

bool phases_walk(Walk *walk, Error *e) {
    Exported exported = {0};
    Dump dump = {0};
    error_clear(e);
    bool ok = walk->job->cfg->target.dsn == NULL ? walk_alone(walk, &exported, e)
                                                 : walk_open(walk, e) && walk_on(walk, &exported, &dump, e);
    exported_end(&exported);
    dump_free(&dump);
    phases_close(walk);
    job_unpin_source(walk->job);
    return ok;
}
