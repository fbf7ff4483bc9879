#include "snapshot/ranges.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/fault.h"
#include "core/log.h"
#include "core/sqlstate.h"
#include "snapshot/session.h"

#define RANGE_NOTE  "range "
#define VACUUM_NOTE "vacuum "
enum { SQL_MAX_BYTES = 1024, RING_SINCE = 160000 };

/* All other tables wait for this one here. Long enough for the server to send its own VACUUM away. */
static const char SQL_NOT_LONG[] = "SET LOCAL lock_timeout = '3s'";
static const char SQL_BEGIN[] =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = error";

/* ---- notes ---- */

/* With an end behind it: one is not the beginning of another. */
static void notes_prefix(const Table *table, const char *snapshot, char *out) {
    snprintf(out, RANGES_NOTE_SIZE, RANGE_NOTE "%u %s ", table->oid, snapshot);
}

static void begun_note(const Table *table, const char *snapshot, char *out) {
    snprintf(out, RANGES_NOTE_SIZE, RANGE_NOTE "%u %s begun", table->oid, snapshot);
}

void ranges_note(const SplitTable *split, int range, char *out) {
    snprintf(out, RANGES_NOTE_SIZE, RANGE_NOTE "%u %s %d", split->table->oid, split->snapshot, range);
}

void ranges_vacuum_note(const Table *table, char *out) {
    snprintf(out, RANGES_NOTE_SIZE, VACUUM_NOTE "%u;", table->oid);
}

bool ranges_forget(Pg *target, const Config *cfg, Error *e) {
    int64_t forgotten;
    return state_object_forget(target, cfg, RANGE_NOTE, &forgotten, e);
}

/* ---- beginning and end ---- */

static bool begin_try(Pg *target, const Load *load, const Table *table, const char *snapshot, Error *e) {
    char note[RANGES_NOTE_SIZE];
    begun_note(table, snapshot, note);
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "TRUNCATE ONLY ");
    pg_write_table(&sql, target, table->target_schema, table->target_name);
    bool ok = pg_run(target, SQL_BEGIN, e) && pg_run(target, SQL_NOT_LONG, e) &&
              session_run(target, writer_string(&sql), load->stop, e) &&
              state_object_note(target, load->cfg, note, table->full_name, e) && pg_run(target, "COMMIT", e);
    writer_free(&sql);
    session_leave(target);
    return ok ? FAULT("snapshot.range_begin", e) : false;
}

/* It is in use; others refer to it; or it is partitioned, and there is no TRUNCATE ONLY of it. */
static bool is_not_for_ranges(const Error *e) {
    return sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE) || sqlstate_is(e, SQLSTATE_FEATURE_NOT_SUPPORTED) ||
           sqlstate_is(e, SQLSTATE_WRONG_OBJECT_TYPE);
}

bool ranges_begin(Pg *target, const Load *load, const Table *table, const char *snapshot, bool *begun,
                  Error *e) {
    *begun = begin_try(target, load, table, snapshot, e);
    if (*begun)
        return true;
    if (!is_not_for_ranges(e))
        return fail_context(e, "table \"%s\"", table->full_name);
    log_info("table \"%s\" is copied whole, not in ranges: %s", table->full_name, e->text);
    return true;
}

static bool end_try(Pg *target, const Config *cfg, const SplitTable *split, Lsn point, bool *loaded,
                    Error *e) {
    char prefix[RANGES_NOTE_SIZE], note[RANGES_NOTE_SIZE];
    int64_t ours, vacuums;
    Writer name = writer_new(SQL_MAX_BYTES);
    notes_prefix(split->table, split->snapshot, prefix);
    ranges_vacuum_note(split->table, note);
    pg_write_table(&name, target, split->table->target_schema, split->table->target_name);
    bool ok = pg_run(target, SQL_BEGIN, e) && state_object_forget(target, cfg, prefix, &ours, e) &&
              state_object_forget(target, cfg, note, &vacuums, e);
    *loaded = ok && ours == split->ranges + 1;
    if (*loaded)
        ok = state_table_loaded(target, cfg, split->table, point, atomic_load(&split->rows),
                                atomic_load(&split->bytes), e) &&
             state_object_note(target, cfg, note, writer_string(&name), e) && pg_run(target, "COMMIT", e);
    writer_free(&name);
    return ok;
}

bool ranges_end(Pg *target, const Config *cfg, const SplitTable *split, Lsn point, bool *loaded, Error *e) {
    bool ok = FAULT("snapshot.range_end", e) && end_try(target, cfg, split, point, loaded, e);
    session_leave(target);
    if (ok && !*loaded)
        log_warn(
            "table \"%s\": the target does not hold all of its ranges any more; it is loaded again under "
            "a new snapshot",
            split->table->full_name);
    return ok ? true : fail_context(e, "table \"%s\"", split->table->full_name);
}

/* From 16 on VACUUM may use more of the server's buffers than a ring that it has to flush again and again. */
bool ranges_vacuum(Pg *target, const Load *load, const char *note, const char *quoted_name,
                   const atomic_bool *stop, Error *e) {
    int64_t forgotten;
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_format(&sql, "VACUUM (FREEZE%s) %s",
                  target->version >= RING_SINCE ? ", BUFFER_USAGE_LIMIT '16MB'" : "", quoted_name);
    metrics_activity(load->metrics, "vacuuming %s", quoted_name);
    metrics_build_begin(load->metrics, target->backend_pid, writer_string(&sql));
    bool ok = FAULT("snapshot.vacuum", e) && session_run(target, writer_string(&sql), stop, e) &&
              state_object_forget(target, load->cfg, note, &forgotten, e);
    metrics_build_end(load->metrics, target->backend_pid);
    writer_free(&sql);
    return ok ? true : fail_context(e, "vacuuming %s", quoted_name);
}

PGresult *ranges_unvacuumed(Pg *target, const Config *cfg, Error *e) {
    return state_objects(target, cfg, VACUUM_NOTE, e);
}
