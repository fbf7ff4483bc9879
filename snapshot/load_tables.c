#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/memory.h"
#include "core/sqlstate.h"
#include "snapshot/cuts.h"
#include "snapshot/load_intern.h"
#include "snapshot/load_plan.h"
#include "snapshot/pool.h"
#include "snapshot/ranges.h"

enum {
    RANGE_TRIES = 5,
    CONDITION_MAX_BYTES = 16 << 10
}; /* two values of statistics, of 1000 bytes each at most */

/* Existing triggers and foreign keys of the destination must not act on rows that have had their effects
 * already. Not every account may; then they do, and `check` has said so. */
static const char SQL_REPLICA_ROLE[] = "SET session_replication_role = replica";

/* Somebody's lock on one table must not throw away the copies of the others that are under way. */

static const char SQL_IS_HERE[] = "SELECT pg_catalog.inet_server_addr() IS NULL"
                                  " OR pg_catalog.inet_server_addr() = pg_catalog.inet_client_addr()";

typedef struct TableSession {
    Pg *source, *target;
} TableSession;

typedef struct TableWork {
    const Load *load;
    const char *snapshot;
    Lsn point;
    LoadPlan plan;
    Cuts *cuts;         /* one a table of the selection; with units where a table is split */
    SplitTable *splits; /* one a table of the selection; used where a table is split */
    atomic_int left;
} TableWork;

/* ---- sessions ---- */

static void session_end(TableSession *session) {
    pg_close(session->source);
    pg_close(session->target);
    *session = (TableSession){0};
}

static bool session_begin(const Load *load, TableSession *session, Error *e) {
    const PgAddress address = {.dsn = load->cfg->source.dsn, .side = "source", .job = load->cfg->name};
    session->source = pg_open_wait(&address, LOAD_CONNECT_WAIT_MS, e);
    session->target = session->source == NULL ? NULL : load_target_open(load, e);
    if (session->target == NULL) {
        session_end(session);
        return false;
    }
    Error refused;
    pg_run(session->target, SQL_REPLICA_ROLE, &refused);
    return true;
}

static void table_session_close(void *context) {
    session_end(context);
    free(context);
}

static void *table_session_open(void *shared, Error *e) {
    TableSession *session = memory_new(sizeof *session);
    if (session_begin(((const TableWork *)shared)->load, session, e))
        return session;
    free(session);
    return NULL;
}

/* ---- whole tables ---- */

/* What was there when the job began. */
static ExistingPolicy existing_of(const Load *load, const Table *table) {
    return pg_row_of_name(load->existing, table->schema, table->name) >= 0 ? load->cfg->existing
                                                                           : EXISTING_FAIL;
}

static CopyJob copy_job(const TableWork *work, const Table *table, const atomic_bool *halt) {
    return (CopyJob){.cfg = work->load->cfg,
                     .table = table,
                     .snapshot = work->snapshot,
                     .point = work->point,
                     .progress = metrics_table_of(work->load->metrics, table->full_name, table->oid),
                     .metrics = work->load->metrics,
                     .throttle = work->load->throttle,
                     .existing = existing_of(work->load, table),
                     .again = work->load->again,
                     .stop = halt};
}

/* Whether a failure is only this table's, which waits for another snapshot; tells why. */
static bool table_waits(const Table *table, CopyResult result, const Error *e) {
    if (result == COPY_REWRITTEN)
        log_warn(
            "table \"%s\" was rewritten since the snapshot was taken; it is loaded again under a new one",
            table->full_name);
    bool locked = result == COPY_FAILED && sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE);
    if (locked)
        log_warn("table \"%s\" is locked by somebody else; it is loaded again later", table->full_name);
    return locked || result == COPY_REWRITTEN;
}

static bool whole_run(TableWork *work, TableSession *session, const Table *table, const atomic_bool *halt,
                      Error *e) {
    CopyJob job = copy_job(work, table, halt);
    CopyResult result = copy_table(session->source, session->target, &job, e);
    if (!table_waits(table, result, e))
        return result != COPY_FAILED;
    atomic_fetch_add(&work->left, 1);
    return true;
}

/* ---- ranges ---- */

/* The range's transaction is rolled back, or its note is found; the snapshot may still be there. */
static bool passes(const Error *e) {
    return e->kind == ERR_RETRY && (e->connection || sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE) ||
                                    strncmp(e->sqlstate, "40", 2) == 0);
}

static CopyResult range_copy(TableWork *work, TableSession *session, CopyJob *job, Error *e) {
    for (int tries = 1;; tries++) {
        CopyResult result = copy_table(session->source, session->target, job, e);
        if (result != COPY_FAILED || !passes(e) || tries == RANGE_TRIES || atomic_load(job->stop))
            return result;
        log_warn("a range of table \"%s\" (%s) is copied again: %s", job->table->full_name,
                 job->range->condition, e->text);
        session_end(session);
        if (!session_begin(work->load, session, e))
            return COPY_FAILED;
    }
}

/* Whoever ends the last range counts the table as loaded. */
static bool range_over(TableWork *work, TableSession *session, SplitTable *split, Error *e) {
    if (atomic_fetch_sub(&split->left, 1) > 1)
        return true;
    bool loaded = false;
    TableMetrics *progress =
        metrics_table_of(work->load->metrics, split->table->full_name, split->table->oid);
    if (!atomic_load(&split->given_up) &&
        !ranges_end(session->target, work->load->cfg, split, work->point, &loaded, e))
        return false;
    atomic_store(&progress->stage, loaded ? TABLE_LOADED : TABLE_PENDING);
    if (!loaded)
        atomic_fetch_add(&work->left, 1);
    return true;
}

static bool range_run(TableWork *work, TableSession *session, const LoadPiece *piece, const atomic_bool *halt,
                      Error *e) {
    SplitTable *split = &work->splits[piece->table];
    char note[RANGES_NOTE_SIZE];
    if (atomic_load(&split->given_up))
        return range_over(work, session, split, e);
    ranges_note(split, piece->range, note);
    Writer condition = writer_new(CONDITION_MAX_BYTES);
    cuts_write(&work->cuts[piece->table], piece->from, piece->to, &condition);
    CopyRange range = {.condition = writer_string(&condition), .note = note};
    CopyJob job = copy_job(work, split->table, halt);
    job.range = &range;
    CopyResult result = range_copy(work, session, &job, e);
    writer_free(&condition);
    if (result == COPY_THERE)
        metrics_copied(job.metrics, job.progress, range.rows, range.bytes);
    if (table_waits(split->table, result, e))
        atomic_store(&split->given_up, true);
    else if (result == COPY_FAILED)
        return false;
    atomic_fetch_add(&split->rows, range.rows);
    atomic_fetch_add(&split->bytes, range.bytes);
    return range_over(work, session, split, e);
}

static bool piece_run(void *shared, void *session, int piece, const atomic_bool *halt, Error *e) {
    TableWork *work = shared;
    const LoadPiece *what = &work->plan.pieces[piece];
    return what->range < 0 ? whole_run(work, session, &work->load->selection->tables[what->table], halt, e)
                           : range_run(work, session, what, halt, e);
}

/* ---- the plan ---- */

/* What earlier attempts have told of these tables is not so any more. */
static void told_take_back(const TableWork *work, const int *order, int count) {
    for (int at = 0; at < count; at++) {
        CopyJob job = copy_job(work, &work->load->selection->tables[order[at]], work->load->stop);
        metrics_copied(job.metrics, job.progress, -atomic_load(&job.progress->rows),
                       -atomic_load(&job.progress->bytes));
        atomic_store(&job.progress->stage, TABLE_PENDING);
    }
}

/* *cuts has units if the table is empty at the destination now and can be split. */
static bool split_begin(const TableWork *work, const TableSession *session, const Table *table, Cuts *cuts,
                        Error *e) {
    bool begun = false;
    if (work->load->again || existing_of(work->load, table) != EXISTING_FAIL)
        return true; /* its rows go or stay in one transaction with the new ones */
    if (!cuts_find(session->source, table, cuts, e))
        return false;
    if (cuts->units > 0 && !ranges_begin(session->target, work->load, table, work->snapshot, &begun, e))
        return false;
    if (!begun)
        cuts_free(cuts);
    return true;
}

/* Those of the first `count` tables of `order` that can be split. */
static bool splits_begin(const TableWork *work, const TableSession *session, const int *order, int count,
                         int64_t *units, Error *e) {
    const Load *load = work->load;
    bool ok = ranges_forget(session->target, load->cfg, e);
    for (int at = 0; ok && at < count; at++) {
        Cuts *cuts = &work->cuts[order[at]];
        ok = split_begin(work, session, &load->selection->tables[order[at]], cuts, e);
        units[order[at]] = cuts->units;
    }
    return ok;
}

static void splits_count(TableWork *work) {
    for (int at = 0; at < work->plan.count; at++) {
        const LoadPiece *piece = &work->plan.pieces[at];
        if (piece->range < 0)
            continue;
        SplitTable *split = &work->splits[piece->table];
        split->table = &work->load->selection->tables[piece->table];
        split->snapshot = work->snapshot;
        split->ranges++;
        atomic_fetch_add(&split->left, 1);
    }
    for (int table = 0; table < work->load->selection->count; table++)
        if (work->splits[table].ranges > 0)
            log_info("table \"%s\" is copied in %d ranges", work->splits[table].table->full_name,
                     work->splits[table].ranges);
}

static bool is_here(Pg *pg, bool *here, Error *e) {
    char answer[8];
    bool ok = pg_value(pg, SQL_IS_HERE, 0, NULL, answer, sizeof answer, e);
    *here = *here && ok && answer[0] == 't';
    return ok;
}

/* How many copies help each other: each keeps a core busy on either side, and both sides may be this machine. */
static bool abreast(const Load *load, const TableSession *session, int *out, Error *e) {
    bool here = true;
    *out = load->cfg->load.workers;
    bool ok = is_here(session->source, &here, e) && is_here(session->target, &here, e);
    long pairs = sysconf(_SC_NPROCESSORS_ONLN) / 2;
    if (here && *out > pairs)
        *out = pairs > 0 ? (int)pairs : 1;
    return ok;
}

/* How many of the largest tables are cut. */
static bool splits_choose(const Load *load, const TableSession *session, const int *order, int count,
                          int *split, Error *e) {
    int workers = load->cfg->load.workers;
    int64_t above_bytes = load->cfg->load.split_above_bytes;
    *split = load_plan_split(load->selection, order, count, workers, above_bytes);
    if (*split == 0 || above_bytes >= 0)
        return true;
    if (!abreast(load, session, &workers, e))
        return false;
    *split = load_plan_split(load->selection, order, count, workers, above_bytes);
    return true;
}

static bool plan_make(TableWork *work, const TableRecords *records, Error *e) {
    const Load *load = work->load;
    size_t tables = (size_t)load->selection->count + 1;
    int *order = memory_array(tables, sizeof *order), workers = load->cfg->load.workers;
    int64_t *units = memory_array(tables, sizeof *units);
    work->cuts = memory_array(tables, sizeof *work->cuts);
    work->splits = memory_array(tables, sizeof *work->splits);
    int count = load_plan_tables(load->selection, records, order);
    int split = 0;
    TableSession session = {0};
    told_take_back(work, order, count);
    bool ok = session_begin(load, &session, e) && splits_choose(load, &session, order, count, &split, e) &&
              splits_begin(work, &session, order, split, units, e);
    session_end(&session);
    if (ok) {
        work->plan = load_plan_pieces(load->selection, order, count, workers, units);
        splits_count(work);
    }
    free(order);
    free(units);
    return ok;
}

bool load_tables(const Load *load, const TableRecords *records, const char *snapshot, Lsn point, int *left,
                 Error *e) {
    TableWork work = {.load = load, .snapshot = snapshot, .point = point};
    bool ok = plan_make(&work, records, e);
    PoolWork pool = {.pieces = work.plan.count,
                     .workers = load->cfg->load.workers,
                     .stop = load->stop,
                     .shared = &work,
                     .open = table_session_open,
                     .run = piece_run,
                     .close = table_session_close};
    ok = ok && pool_run(&pool, e);
    *left = atomic_load(&work.left);
    free(work.plan.pieces);
    for (int at = 0; work.cuts != NULL && at < load->selection->count; at++)
        cuts_free(&work.cuts[at]);
    free(work.cuts);
    free(work.splits);
    return ok;
}
