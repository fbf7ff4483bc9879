#include "job/again.h"

#include "core/fault.h"
#include "core/log.h"
#include "job/build.h"
#include "job/join.h"
#include "job/reshape.h"

/* Noted once in object_state: before it, a load is the job's first one, with everything that is built behind it. */
#define NOTE_COMPLETE "complete once"

static const char SQL_POSITION[] = "SELECT pg_catalog.pg_current_wal_insert_lsn()";

static bool pending(Walk *walk, bool *found, Error *e) {
    TableRecords records;
    if (!state_tables(walk->record, walk->job->cfg, &records, e))
        return false;
    *found = !records.all_loaded;
    state_tables_free(&records);
    return true;
}

static bool phase_back(Walk *walk, Error *e) {
    const Config *cfg = walk->job->cfg;
    Error ignored;
    bool noted;
    if (walk->job_record.phase <= PHASE_FULL)
        return true;
    if (!state_object_made(walk->record, cfg, NOTE_COMPLETE, &noted, e))
        return false;
    if (pg_run(walk->record, "BEGIN; SET LOCAL synchronous_commit = on", e) &&
        (noted || state_object_note(walk->record, cfg, NOTE_COMPLETE, "the whole load", e)) &&
        state_phase(walk->record, cfg, PHASE_FULL, e) && pg_run(walk->record, "COMMIT", e))
        return true;
    pg_run(walk->record, "ROLLBACK", &ignored);
    return false;
}

bool again_look(Walk *walk, Error *e) {
    bool noted, found = false, complete = walk->job_record.phase > PHASE_FULL;
    if (!walk->job->cfg->phases.incremental)
        return true;
    if (!state_object_made(walk->record, walk->job->cfg, NOTE_COMPLETE, &noted, e) ||
        !pending(walk, &found, e))
        return false;
    walk->again = complete ? found || join_waits(walk) : noted;
    return true;
}

/* Dropped after it was set aside: its rows before that are not wanted any more, and none come after. */
static bool gone_settle(Walk *walk, const TableRecord *record, Error *e) {
    char text[LSN_TEXT_SIZE];
    Lsn now;
    if (!pg_value(walk->source, SQL_POSITION, 0, NULL, text, sizeof text, e))
        return false;
    lsn_parse(text, &now);
    return state_table_gone(walk->record, walk->job->cfg, record, now, e);
}

static bool tables_reshape(Walk *walk, Error *e) {
    TableRecords records;
    if (!state_tables(walk->record, walk->job->cfg, &records, e))
        return false;
    bool ok = true;
    for (int row = 0; ok && row < records.count; row++) {
        const TableRecord *record = &records.rows[row];
        const Table *table = state_table_selected(walk->selection, record);
        if (record->loaded)
            continue;
        ok = table == NULL ? gone_settle(walk, record, e)
                           : reshape_table(walk->source, walk->record, walk->selection, record, table, e);
    }
    state_tables_free(&records);
    return ok;
}

bool again_load(Walk *walk, Dump *dump, Error *e) {
    Exported none = {0};
    return phase_back(walk, e) && FAULT("ddl.before_reshape", e) && tables_reshape(walk, e) &&
           FAULT("ddl.after_reshape", e) && build_load(walk, &none, e) && build_indexes(walk, dump, e) &&
           FAULT("ddl.after_load", e);
}
