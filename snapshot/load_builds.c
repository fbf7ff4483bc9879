#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/memory.h"
#include "snapshot/build_plan.h"
#include "snapshot/entry_facts.h"
#include "snapshot/foreign_key.h"
#include "snapshot/load_intern.h"
#include "snapshot/pool.h"
#include "snapshot/ranges.h"
#include "snapshot/session.h"

enum { WHAT_MAX_BYTES = 4096, SETTINGS_SIZE = 256, HASH_SIZE = 64, ASK_EVERY_MS = 1000 };
#define ATTACH "INDEX ATTACH"

static const char SQL_LIMITS[] =
    "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')),"
    " pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')),"
    " pg_catalog.current_setting('max_parallel_maintenance_workers')";

/* VACUUM cannot mark rows whose commit is not on disk as visible to all, and the server knows that of 32 transactions
 * only together: one that is not would hide those of the ranges before it. */
static const char SQL_FLUSHES[] = "SET synchronous_commit = local";

static const char SQL_PROGRESS[] =
    "SELECT p.pid, n.nspname || '.' || c.relname, p.step, p.done, p.total FROM ("
    " SELECT pid, relid, 'index: ' || phase AS step,"
    "  CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END AS done,"
    "  CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END AS total"
    "  FROM pg_catalog.pg_stat_progress_create_index"
    " UNION ALL SELECT pid, relid, 'vacuum: ' || phase, heap_blks_scanned, heap_blks_total"
    "  FROM pg_catalog.pg_stat_progress_vacuum) p"
    " JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid AND a.datname = pg_catalog.current_database()"
    "  AND a.application_name = pg_catalog.current_setting('application_name')"
    " JOIN pg_catalog.pg_class c ON c.oid = p.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/* What runs on one table at the moment. */
typedef struct TableUse {
    int beside; /* builds that let others run beside them; -1: one that does not */
    bool unvacuumed;
} TableUse;

typedef struct BuildWork {
    const Load *load;
    const char *preamble;
    Pg *watcher; /* asks how far the others are; its last question may have no answer yet */
    int64_t asked_ms;
    Build *builds;
    int count;
    atomic_int unfinished;
    BuildLimits limits;
    bool flushes;         /* something is to be vacuumed */
    pthread_mutex_t lock; /* guards what follows */
    TableUse *uses;       /* one a table of the selection */
} BuildWork;

/* ---- who runs beside whom ---- */

static TableUse *use_of(const BuildWork *work, const Build *build) {
    return build->table == NULL ? NULL : &work->uses[build->table - work->load->selection->tables];
}

static bool build_take(void *shared, int piece) {
    BuildWork *work = shared;
    const Build *build = &work->builds[piece];
    TableUse *use = use_of(work, build);
    if (use == NULL)
        return true;
    pthread_mutex_lock(&work->lock);
    bool alone = build_plan_alone(build->kind);
    bool may =
        (alone ? use->beside == 0 : use->beside >= 0) && (build->kind == BUILD_VACUUM || !use->unvacuumed);
    if (may)
        use->beside = alone ? -1 : use->beside + 1;
    pthread_mutex_unlock(&work->lock);
    return may;
}

static void build_over(BuildWork *work, const Build *build) {
    TableUse *use = use_of(work, build);
    atomic_fetch_sub(&work->unfinished, 1);
    if (use == NULL)
        return;
    pthread_mutex_lock(&work->lock);
    use->beside = use->beside < 0 ? 0 : use->beside - 1;
    use->unvacuumed = use->unvacuumed && build->kind != BUILD_VACUUM;
    pthread_mutex_unlock(&work->lock);
}

/* ---- one build ---- */

static void *build_open(void *shared, Error *e) {
    const BuildWork *work = shared;
    Pg *target = load_entry_open(work->load, work->preamble, e);
    if (target == NULL || !work->flushes || pg_run(target, SQL_FLUSHES, e))
        return target;
    pg_close(target);
    return NULL;
}

static void build_close(void *session) {
    pg_close(session);
}

static bool entry_build(const BuildWork *work, Pg *target, const DumpEntry *entry, const atomic_bool *halt,
                        Error *e) {
    char settings[SETTINGS_SIZE];
    BuildShare share = build_plan_share(&work->limits, atomic_load(&work->unfinished));
    snprintf(settings, sizeof settings,
             "SET LOCAL maintenance_work_mem = '%lldkB'; SET LOCAL max_parallel_maintenance_workers = %d",
             (long long)(share.memory / 1024), share.parallel);
    Writer what = writer_new(WHAT_MAX_BYTES);
    writer_format(&what, "%s %s.%s", entry->type, entry->schema, entry->name);
    const LoadStatement statement = {entry->sql, entry->hash, writer_string(&what), settings};
    bool ok = FAULT("snapshot.build", e) && load_entry_make(work->load, target, &statement, halt, e);
    writer_free(&what);
    return ok;
}

static bool key_validate(const BuildWork *work, Pg *target, const DumpEntry *entry, const atomic_bool *halt,
                         Error *e) {
    char hash[HASH_SIZE];
    snprintf(hash, sizeof hash, "validate %s", entry->hash);
    ForeignKey key;
    bool ok = true;
    Writer what = writer_new(WHAT_MAX_BYTES);
    writer_format(&what, "validation of %s %s.%s", entry->type, entry->schema, entry->name);
    if (foreign_key_split(entry->sql, &key)) {
        const LoadStatement statement = {writer_string(&key.validate), hash, writer_string(&what), ""};
        ok = FAULT("snapshot.validate", e) && load_entry_make(work->load, target, &statement, halt, e);
    }
    writer_free(&what);
    foreign_key_free(&key);
    return ok;
}

static bool build_run(void *shared, void *session, int piece, const atomic_bool *halt, Error *e) {
    BuildWork *work = shared;
    const Build *build = &work->builds[piece];
    bool ok = build->kind == BUILD_VACUUM
                  ? ranges_vacuum(session, work->load, build->note, build->quoted, halt, e)
              : build->kind == BUILD_VALIDATION ? key_validate(work, session, build->entry, halt, e)
                                                : entry_build(work, session, build->entry, halt, e);
    build_over(work, build);
    atomic_fetch_add(&work->load->metrics->post_data_done, ok ? 1 : 0);
    return ok;
}

/* ---- the plan ---- */

static const Table *table_by_note(const Selection *selection, const PGresult *unvacuumed, int row) {
    char note[RANGES_NOTE_SIZE];
    for (int at = 0; at < selection->count; at++) {
        ranges_vacuum_note(&selection->tables[at], note);
        if (strcmp(note, pg_cell(unvacuumed, row, 0)) == 0)
            return &selection->tables[at];
    }
    return NULL;
}

static void vacuums_add(BuildWork *work, const PGresult *unvacuumed) {
    for (int row = 0; row < PQntuples(unvacuumed); row++) {
        Build *build = &work->builds[work->count++];
        *build = (Build){.kind = BUILD_VACUUM,
                         .note = pg_cell(unvacuumed, row, 0),
                         .quoted = pg_cell(unvacuumed, row, 1),
                         .table = table_by_note(work->load->selection, unvacuumed, row),
                         .place = row};
        if (build->table != NULL)
            use_of(work, build)->unvacuumed = true;
    }
}

static BuildKind kind_of(const DumpEntry *entry, const EntryFact *fact) {
    if (entry->kind == DUMP_FOREIGN_KEY)
        return BUILD_VALIDATION;
    if (strcmp(entry->type, "CONSTRAINT") == 0)
        return fact->primary ? BUILD_PRIMARY_KEY : BUILD_CONSTRAINT;
    return strcmp(entry->type, "STATISTICS") == 0 ? BUILD_STATISTICS : BUILD_INDEX;
}

/* A comment on a foreign key is of its kind, too, but nothing to validate. */
static bool is_built(const DumpEntry *entry, DumpKind kind) {
    return entry->kind == kind && strcmp(entry->type, ATTACH) != 0 && strcmp(entry->type, "COMMENT") != 0;
}

static void entries_add(BuildWork *work, const Dump *dump, DumpKind kind, const EntryFacts *facts) {
    for (int at = 0; at < dump->entry_count; at++) {
        const DumpEntry *entry = &dump->entries[at];
        if (!is_built(entry, kind))
            continue;
        EntryFact fact = entry_facts_find(facts, entry);
        work->builds[work->count++] =
            (Build){.kind = kind_of(entry, &fact), .entry = entry, .table = fact.table, .place = at};
    }
}

static bool limits_read(BuildWork *work, Pg *target, Error *e) {
    PGresult *row = pg_query(target, SQL_LIMITS, 0, NULL, e);
    if (row == NULL)
        return false;
    work->limits = (BuildLimits){.memory = pg_cell_int(row, 0, 0),
                                 .buffers = pg_cell_int(row, 0, 1),
                                 .parallel = (int)pg_cell_int(row, 0, 2),
                                 .workers = work->load->cfg->load.workers};
    PQclear(row);
    return true;
}

static void progress_tell(const BuildWork *work, const PGresult *rows) {
    for (int row = 0; row < PQntuples(rows); row++) {
        BuildMetrics told = {.pid = (int)pg_cell_int(rows, row, 0),
                             .done = pg_cell_int(rows, row, 3),
                             .total = pg_cell_int(rows, row, 4)};
        snprintf(told.table, sizeof told.table, "%s", pg_cell(rows, row, 1));
        snprintf(told.step, sizeof told.step, "%s", pg_cell(rows, row, 2));
        metrics_build_progress(work->load->metrics, &told);
    }
}

/* Does not wait for the answer, because this thread passes the wish to stop on. Only shown: an error here is met again
 * by those who work. */
static void progress_ask(void *shared) {
    BuildWork *work = shared;
    PGconn *conn = work->watcher->conn;
    PGresult *rows;
    if (PQtransactionStatus(conn) == PQTRANS_ACTIVE) {
        PQconsumeInput(conn);
        for (; !PQisBusy(conn) && (rows = PQgetResult(conn)) != NULL; PQclear(rows))
            progress_tell(work, rows);
    } else if (clock_ms() >= work->asked_ms + ASK_EVERY_MS) {
        work->asked_ms = clock_ms();
        PQsendQuery(conn, SQL_PROGRESS);
    }
}

static bool builds_run(BuildWork *work, Error *e) {
    build_plan_sort(work->builds, work->count);
    atomic_store(&work->unfinished, work->count);
    PoolWork pool = {.pieces = work->count,
                     .workers = work->load->cfg->load.workers,
                     .stop = work->load->stop,
                     .shared = work,
                     .open = build_open,
                     .run = build_run,
                     .take = build_take,
                     .close = build_close,
                     .tick = progress_ask};
    return pool_run(&pool, e);
}

/* Joins partitions' indexes, which are there now, one after the other. */
static bool attaches_run(BuildWork *work, const Dump *dump, Error *e) {
    Pg *target = NULL; /* the watcher may still wait for an answer */
    bool ok = true;
    for (int at = 0; ok && at < dump->entry_count; at++) {
        if (strcmp(dump->entries[at].type, ATTACH) != 0)
            continue;
        target = target == NULL ? build_open(work, e) : target;
        ok = target != NULL && entry_build(work, target, &dump->entries[at], work->load->stop, e);
        atomic_fetch_add(&work->load->metrics->post_data_done, ok ? 1 : 0);
    }
    pg_close(target);
    return ok;
}

static int entries_of(const Dump *dump, DumpKind kind) {
    int count = 0;
    for (int at = 0; at < dump->entry_count; at++)
        count += dump->entries[at].kind == kind ? 1 : 0;
    return count;
}

/* The builds of one kind of entries; of indexes the vacuums before them and the attachments behind them. */
static bool kind_run(const Load *load, Pg *source, Pg *target, const Dump *dump, DumpKind kind, Error *e) {
    EntryFacts *facts = entry_facts_read(source, load->selection, e);
    PGresult *unvacuumed = facts == NULL ? NULL : ranges_unvacuumed(target, load->cfg, e);
    BuildWork work = {.load = load,
                      .preamble = dump->preamble == NULL ? "" : dump->preamble,
                      .watcher = target,
                      .asked_ms = clock_ms()};
    bool ok = unvacuumed != NULL && limits_read(&work, target, e);
    int wanted = entries_of(dump, kind);
    work.builds = memory_array((size_t)(wanted + PQntuples(unvacuumed)) + 1, sizeof *work.builds);
    work.uses = memory_array((size_t)load->selection->count + 1, sizeof *work.uses);
    pthread_mutex_init(&work.lock, NULL);
    if (ok) {
        atomic_store(&load->metrics->post_data_done, 0);
        atomic_store(&load->metrics->post_data_total, wanted + PQntuples(unvacuumed));
        vacuums_add(&work, unvacuumed);
        entries_add(&work, dump, kind, facts);
        work.flushes = PQntuples(unvacuumed) > 0;
        ok = (!work.flushes || state_flush(target, load->cfg, e)) && builds_run(&work, e) &&
             (kind != DUMP_INDEX || attaches_run(&work, dump, e));
    }
    pthread_mutex_destroy(&work.lock);
    free(work.builds);
    free(work.uses);
    PQclear(unvacuumed);
    entry_facts_free(facts);
    return ok;
}

static bool kind_build(const Load *load, Pg *source, const Dump *dump, DumpKind kind, Error *e) {
    Pg *target = load_entry_open(load, dump->preamble == NULL ? "" : dump->preamble, e);
    bool ok = target != NULL && kind_run(load, source, target, dump, kind, e);
    pg_close(target);
    return ok;
}

bool load_indexes(const Load *load, Pg *source, const Dump *dump, Error *e) {
    return kind_build(load, source, dump, DUMP_INDEX, e);
}

bool load_validate(const Load *load, Pg *source, const Dump *dump, Error *e) {
    return entries_of(dump, DUMP_FOREIGN_KEY) == 0 || kind_build(load, source, dump, DUMP_FOREIGN_KEY, e);
}
