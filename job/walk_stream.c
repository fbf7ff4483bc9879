#include "job/walk_stream.h"

#include "core/log.h"
#include "job/pipeline_run.h"

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
    walk->source = walk_side_open(walk, cfg->source.dsn, "source", e);
    if (walk->source == NULL)
        return false;
    selection_free(walk->selection);
    walk->selection = selection_load(walk->source, cfg, e);
    return walk->selection != NULL;
}

/* Below the newest snapshot of its tables the destination is not a prefix of the source (trap A2): foreign
 * keys wait. */
bool walk_converge(Walk *walk, bool *reached, Error *e) {
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
    walk->source = walk_side_open(walk, walk->job->cfg->source.dsn, "source", e);
    walk->record =
        walk->source == NULL ? NULL : walk_side_open(walk, walk->job->cfg->target.dsn, "target", e);
    return walk->record != NULL && walk_lock(walk, e);
}

bool walk_follow(Walk *walk, Error *e) {
    const Until *until = &walk->job->until;
    bool reached;
    for (int table = 0; table < walk->job->metrics->table_count; table++)
        atomic_store(&walk->job->metrics->tables[table].stage, TABLE_STREAMING);
    Pipeline p = {.until = until->kind == UNTIL_LSN ? until->lsn : LSN_NONE,
                  .until_is_now = until->kind == UNTIL_NOW,
                  .gives_way = true,
                  .two_phase = walk->job->cfg->source.two_phase};
    bool ok = stream(walk, &p, &reached, e);
    if (until->kind == UNTIL_NOW && !p.until_is_now) /* found: it stays where it is over further sessions */
        walk->job->until = (Until){UNTIL_LSN, p.until};
    return ok;
}
