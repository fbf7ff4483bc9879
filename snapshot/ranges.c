#include "snapshot/ranges.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/fault.h"
#include "core/log.h"
#include "snapshot/session.h"

#define VACUUM_NOTE "vacuum "
enum { SQL_MAX_BYTES = 1024, NOTE_SIZE = 64, BY_PLACE_SINCE = 140000, RING_SINCE = 160000 };

/* Somebody's exclusive lock is no reason to wait here: the copy of the whole table does. */
static const char SQL_BLOCKS[] =
    "SELECT CASE WHEN a.amname = 'heap' AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l"
    "  WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock')"
    " THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint ELSE 0 END"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE c.oid = $1::oid";
static const char SQL_BEGIN[] =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = error";

bool ranges_blocks(Pg *source, const Table *table, int64_t *blocks, Error *e) {
    char oid[16];
    snprintf(oid, sizeof oid, "%u", table->oid);
    *blocks = 0;
    if (source->version < BY_PLACE_SINCE)
        return true;
    PGresult *rows = pg_query(source, SQL_BLOCKS, 1, (const char *const[]){oid}, e);
    if (rows != NULL && PQntuples(rows) == 1)
        *blocks = pg_cell_int(rows, 0, 0);
    PQclear(rows);
    return rows != NULL;
}

/* With an end behind the number: one is not the beginning of another. */
static void notes_prefix(const Table *table, char *out, size_t size) {
    snprintf(out, size, "range %u ", table->oid);
}

void ranges_note(const Table *table, int range, char *out, size_t size) {
    snprintf(out, size, "range %u %d", table->oid, range);
}

void ranges_vacuum_note(const Table *table, char *out, size_t size) {
    snprintf(out, size, VACUUM_NOTE "%u;", table->oid);
}

static bool notes_forget(Pg *target, const Config *cfg, const Table *table, int64_t *ranges, Error *e) {
    char prefix[NOTE_SIZE], note[NOTE_SIZE];
    int64_t vacuums;
    notes_prefix(table, prefix, sizeof prefix);
    ranges_vacuum_note(table, note, sizeof note);
    return state_object_forget(target, cfg, prefix, ranges, e) &&
           state_object_forget(target, cfg, note, &vacuums, e);
}

bool ranges_begin(Pg *target, const Config *cfg, const Table *table, const atomic_bool *stop, Error *e) {
    int64_t forgotten;
    Writer sql = writer_new(SQL_MAX_BYTES);
    writer_text(&sql, "TRUNCATE ONLY ");
    pg_write_table(&sql, target, table->target_schema, table->target_name);
    bool ok = pg_run(target, SQL_BEGIN, e) && session_run(target, writer_string(&sql), stop, e) &&
              notes_forget(target, cfg, table, &forgotten, e) && pg_run(target, "COMMIT", e);
    writer_free(&sql);
    session_leave(target);
    return ok ? FAULT("snapshot.range_begin", e) : fail_context(e, "table \"%s\"", table->full_name);
}

static bool end_try(Pg *target, const Config *cfg, const SplitTable *split, Lsn point, bool *loaded,
                    Error *e) {
    char note[NOTE_SIZE];
    int64_t ranges;
    Writer name = writer_new(SQL_MAX_BYTES);
    ranges_vacuum_note(split->table, note, sizeof note);
    pg_write_table(&name, target, split->table->target_schema, split->table->target_name);
    bool ok = pg_run(target, SQL_BEGIN, e) && notes_forget(target, cfg, split->table, &ranges, e);
    *loaded = ok && ranges == split->ranges;
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
