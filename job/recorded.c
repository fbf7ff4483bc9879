#include "job/recorded.h"

#include <string.h>

#include "core/log.h"
#include "job/build.h"
#include "job/captured.h"
#include "job/position.h"

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
    bool joins =
        walk->job_record.phase > PHASE_FULL && captured_takes(walk->source, walk->job->cfg, table, &why);
    if (!joins)
        captured_refused_tell(table, why);
    return joins;
}

/* One that the source has got since was never loaded, and must not be published, unless it joins. */
static bool tables_keep(Walk *walk, Error *e) {
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
bool recorded_fits(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    const JobRecord *record = &walk->job_record;
    Position known = {record->applied, record->bound, record->system_id, record->timeline, LSN_NONE}, now;
    return (!cfg->phases.incremental || position_check_server(cfg, &known, &now, e)) &&
           existing_keeps(walk, e) && state_names_keep(walk->record, cfg, walk->selection->mapping, e) &&
           tables_keep(walk, e);
}

/* ---- in the metrics ---- */

/* The rows of a finished table do not come again: its numbers are in the record. But without a stream they do, until
 * all of them are there. */
static bool tables_restore(Walk *walk, Error *e) {
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

bool recorded_show(Walk *walk, Error *e) {
    Metrics *m = walk->job->metrics;
    walk_name_tables(walk);
    if (!state_read(walk->record, walk->job->cfg, &walk->job_record, e))
        return false;
    atomic_store(&m->system_id, walk->job_record.system_id);
    atomic_store(&m->timeline, walk->job_record.timeline);
    return tables_restore(walk, e);
}
