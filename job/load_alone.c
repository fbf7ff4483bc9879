#include "job/load_alone.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "core/sqlstate.h"
#include "job/position.h"
#include "job/units.h"
#include "sink/kafka/kafka_load.h"
#include "snapshot/load_plan.h"
#include "snapshot/pool.h"
#include "snapshot/read.h"

enum { CONNECT_MS = 10000, ROUNDS_MAX = 10, WAIT_MS = 30000 };

typedef struct AloneLoad {
    Walk *walk;
    SinkOptions options;
    ControlRecord record;
    const Exported *exported;
    bool *done; /* by table of the selection */
    int *order; /* those that are not, largest first */
    int count;
    atomic_int workers; /* that have begun */
    atomic_int left;
} AloneLoad;

typedef struct AloneSession {
    Pg *source;
    KafkaLoader *loader;
} AloneSession;

static void session_close(void *context) {
    AloneSession *session = context;
    kafka_loader_free(session->loader);
    pg_close(session->source);
    free(session);
}

static void *session_open(void *shared, Error *e) {
    AloneLoad *load = shared;
    const Config *cfg = load->walk->job->cfg;
    AloneSession *session = memory_new(sizeof *session);
    session->source =
        pg_open(&(PgAddress){.dsn = cfg->source.dsn, .side = "source", .job = cfg->name}, CONNECT_MS, e);
    if (session->source != NULL)
        session->loader =
            kafka_loader_new(&load->options, load->record.position.system_id, load->record.position.applied,
                             atomic_fetch_add(&load->workers, 1), e);
    if (session->loader != NULL)
        return session;
    session_close(session);
    return NULL;
}

static bool row_give(void *loader, const Value *values, bool last, Error *e) {
    return kafka_loader_row(loader, values, last, e);
}

/* Under another snapshot it can be read: somebody's lock on one table must not throw away what was read of the others. */
static bool waits(const Table *table, CopyResult result, const Error *e) {
    if (result == COPY_REWRITTEN)
        log_warn("table \"%s\" was rewritten since the snapshot was taken; it is read again under a new one",
                 table->full_name);
    bool locked = result == COPY_FAILED && sqlstate_is(e, SQLSTATE_LOCK_NOT_AVAILABLE);
    if (locked)
        log_warn("table \"%s\" is locked by somebody else; it is read again later", table->full_name);
    return locked || result == COPY_REWRITTEN;
}

static bool piece_run(void *shared, void *context, int piece, const atomic_bool *halt, Error *e) {
    AloneLoad *load = shared;
    AloneSession *session = context;
    int number = load->order[piece];
    const Table *table = &load->walk->selection->tables[number];
    CopyJob job = {.cfg = load->walk->job->cfg,
                   .table = table,
                   .snapshot = load->exported->snapshot,
                   .point = load->exported->point,
                   .progress = metrics_table_of(load->walk->job->metrics, table->full_name, table->oid),
                   .metrics = load->walk->job->metrics,
                   .throttle = load->walk->job->throttle,
                   .stop = halt};
    if (!kafka_loader_begin(session->loader, table, load->exported->point, e))
        return false;
    CopyResult result = read_table(session->source, &job, row_give, session->loader, e);
    if (waits(table, result, e)) {
        atomic_fetch_add(&load->left, 1);
        return kafka_loader_leave(session->loader, e);
    }
    load->done[number] = result == COPY_DONE && kafka_loader_end(session->loader, e);
    return load->done[number];
}

/* ---- rounds ---- */

static void order_make(AloneLoad *load) {
    const Selection *selection = load->walk->selection;
    int all = load_plan_tables(selection, NULL, load->order);
    load->count = 0;
    for (int at = 0; at < all; at++)
        if (!load->done[load->order[at]])
            load->order[load->count++] = load->order[at];
}

/* Before the first row of it is written: a source that has lost what it shows is not to be followed. Tables that are loaded again
 * have the stream before them. */
static bool snapshot_note(AloneLoad *load, KafkaClient *control, Error *e) {
    KafkaWait wait = walk_wait_kafka(load->walk, WAIT_MS);
    Position *at = &load->record.position;
    if (!load->record.loading || !lsn_before(lsn_max(at->applied, at->loaded), load->exported->point))
        return true;
    at->loaded = load->exported->point;
    return control_write(control, &load->record, &wait, e);
}

static bool round_run(AloneLoad *load, KafkaClient *control, Exported *exported, Error *e) {
    Walk *walk = load->walk;
    if (exported->exporter == NULL && !exported_for_load(walk, exported, e))
        return false;
    load->exported = exported;
    atomic_store(&load->workers, 0);
    atomic_store(&load->left, 0);
    PoolWork pool = {.pieces = load->count,
                     .workers = walk->job->cfg->load.workers,
                     .stop = &walk->job->stop,
                     .shared = load,
                     .open = session_open,
                     .run = piece_run,
                     .close = session_close};
    bool ok = snapshot_note(load, control, e) && pool_run(&pool, e);
    exported_end(exported);
    return ok;
}

static void done_note(void *context, const char *table) {
    AloneLoad *load = context;
    const Selection *selection = load->walk->selection;
    for (int number = 0; number < selection->count; number++)
        if (strcmp(selection->tables[number].full_name, table) == 0)
            load->done[number] = true;
}

static bool workers_note(AloneLoad *load, KafkaClient *control, KafkaWait *wait, Error *e) {
    int workers = load->walk->job->cfg->load.workers;
    if (load->record.workers >= workers)
        return true;
    load->record.workers = workers;
    return control_write(control, &load->record, wait, e);
}

/* One transaction: the load is over, and its notes go. */
static bool load_end(AloneLoad *load, KafkaClient *control, KafkaWait *wait, Error *e) {
    const Selection *selection = load->walk->selection;
    *wait = kafka_wait_begin(wait, WAIT_MS);
    load->record.loading = false;
    load->record.workers = 0;
    bool ok = kafka_begin(control, e);
    for (int number = 0; ok && number < selection->count; number++)
        ok = control_table_forget(control, selection->tables[number].full_name, wait, e);
    return ok && control_position_put(control, &load->record, wait, e) && kafka_commit(control, wait, e);
}

static bool rounds_run(AloneLoad *load, Exported *exported, KafkaClient *control, KafkaWait *wait, Error *e) {
    const Config *cfg = load->walk->job->cfg;
    if (!workers_note(load, control, wait, e) ||
        !control_tables(cfg, load->record.position.applied, wait, done_note, load, e))
        return false;
    for (int round = 0; order_make(load), load->count > 0; round++) {
        if (round == ROUNDS_MAX)
            return fail(e, ERR_RETRY,
                        "%d tables could not be read: they are locked, or rewritten again and again",
                        load->count);
        if (!round_run(load, control, exported, e))
            return false;
        load->walk->progressed = true;
    }
    return load_end(load, control, wait, e);
}

/* ---- for the walk ---- */

static AloneLoad load_begin(Walk *walk, const ControlRecord *record) {
    AloneLoad load = {.walk = walk, .record = *record};
    load.options = (SinkOptions){.cfg = walk->job->cfg,
                                 .selection = walk->selection,
                                 .metrics = walk->job->metrics,
                                 .ending = walk_stops,
                                 .context = walk};
    load.done = memory_array((size_t)walk->selection->count + 1, sizeof *load.done);
    load.order = memory_array((size_t)walk->selection->count + 1, sizeof *load.order);
    metrics_phase(walk->job->metrics, PHASE_FULL);
    return load;
}

static void load_free(AloneLoad *load) {
    free(load->done);
    free(load->order);
}

/* A load that another run began: the record as it is now that nobody else can write any more, and the source that it names. */
static bool load_resume(AloneLoad *load, KafkaWait *wait, Error *e) {
    const Config *cfg = load->walk->job->cfg;
    ControlRecord now;
    if (!control_read(cfg, true, wait, &now, e))
        return false;
    if (!now.loading || !lsn_equal(now.position.applied, load->record.position.applied))
        return fail(e, ERR_RETRY, "another instance has worked on job \"%s\" meanwhile", cfg->name);
    load->record = now;
    if (!position_check(load->walk->source, cfg, load->walk->selection, &now.position, true,
                        &load->record.position, e))
        return false;
    position_log(&now.position, &load->record.position);
    return true;
}

bool load_alone(Walk *walk, const ControlRecord *record, Exported *exported, Error *e) {
    const Metrics *m = walk->job->metrics;
    AloneLoad load = load_begin(walk, record);
    KafkaWait wait = walk_wait_kafka(walk, WAIT_MS);
    log_info("%s", phase_name(PHASE_FULL));
    KafkaClient *control =
        control_take(walk->job->cfg, record->position.system_id, record->workers, &wait, e);
    bool ok = control != NULL && (exported->exporter != NULL || load_resume(&load, &wait, e)) &&
              rounds_run(&load, exported, control, &wait, e);
    kafka_client_free(control);
    load_free(&load);
    if (ok)
        log_info("rows are loaded: %s, %s", UNIT_COUNT(atomic_load(&m->rows_copied)),
                 UNIT_BYTES(atomic_load(&m->bytes_copied)));
    return ok;
}

bool load_alone_again(Walk *walk, ControlRecord *record, bool *wanted, Exported *exported, Error *e) {
    int count = walk->selection->count;
    AloneLoad load = load_begin(walk, record);
    KafkaWait wait = walk_wait_kafka(walk, WAIT_MS);
    for (int number = 0; number < count; number++)
        load.done[number] = !wanted[number];
    order_make(&load);
    KafkaClient *control =
        control_take(walk->job->cfg, record->position.system_id, record->workers, &wait, e);
    bool ok =
        control != NULL && workers_note(&load, control, &wait, e) && round_run(&load, control, exported, e);
    kafka_client_free(control);
    record->workers = load.record.workers;
    for (int number = 0; number < count; number++)
        wanted[number] = wanted[number] && !load.done[number];
    load_free(&load);
    return ok;
}
