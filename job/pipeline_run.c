#include "job/pipeline_run.h"

#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/limit.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/state.h"
#include "job/indexer.h"
#include "job/keeper.h"
#include "job/pipeline_open.h"
#include "job/pipeline_sink.h"
#include "job/pipeline_source.h"
#include "job/target_wait.h"

static const char SQL_SIGN_OF_LIFE[] = "SELECT 1";
static const char SQL_WAITS_FOR_US[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1::int"
    " AND wait_event = 'ClientRead')";

enum {
    CONNECT_MS = 10000,
    WATCH_MS = 100,
    OUT_OF_STEP_MS = 10000,
    LOOK_AT_TARGET_EVERY_MS = 5000,
    CAUGHT_UP_MS = 2000,
    FALLEN_BEHIND_MS = 30000,
    PATIENT_TIMES = 10, /* see learn_patience */
    PATIENT_LEAST_MS = 300000
};

/* How old the newest applied beat is; without a heartbeat, 0 when nothing is outstanding. -1: unknown. */
static int64_t behind_ms(Pipeline *p) {
    Metrics *m = p->job->metrics;
    if (p->heartbeat == HEARTBEAT_OFF) {
        Lsn source = {atomic_load(&m->source_lsn)}, received = {atomic_load(&m->received_lsn)};
        return !ledger_in_flight(p->ledger) && !lsn_before(received, source) ? 0 : -1;
    }
    int64_t applied_us = atomic_load(&m->beat_applied_us), lag_ms = atomic_load(&m->lag_ms);
    return applied_us == 0 || lag_ms < 0 ? -1 : (clock_us() - applied_us) / 1000 + lag_ms;
}

static Phase phase_now(Pipeline *p) {
    Phase phase = (Phase)atomic_load(&p->job->metrics->phase);
    int64_t behind = behind_ms(p), close_ms = 2 * p->job->cfg->source.heartbeat_ms;
    if (phase == PHASE_CATCHING_UP && behind >= 0 &&
        behind < (close_ms > CAUGHT_UP_MS ? close_ms : CAUGHT_UP_MS))
        return PHASE_RUNNING;
    if (phase == PHASE_RUNNING && behind > FALLEN_BEHIND_MS)
        return PHASE_CATCHING_UP;
    return phase;
}

/* The phase is stored at the destination by a connection of its own, with the job's shared lock. */
#define SQL_RECORD_WAITS "SET lock_timeout = '5s'; SET statement_timeout = '10s'"

static Pg *record_open(Pipeline *p, Error *e) {
    const Config *cfg = p->job->cfg;
    PgAddress target = {
        .dsn = cfg->target.dsn, .side = "target", .job = cfg->name, .options = SQL_RECORD_WAITS};
    Pg *record = pg_open(&target, CONNECT_MS, e);
    if (record == NULL)
        return NULL;
    if (state_share(record, cfg, e) && state_instance(record, cfg, p->job->instance, e))
        return record;
    pg_close(record);
    return NULL;
}

static bool watch_phase(Pipeline *p, Pg *record, Error *e) {
    Metrics *m = p->job->metrics;
    Phase phase = phase_now(p);
    if (phase == (Phase)atomic_load(&m->phase))
        return true;
    metrics_phase(m, phase);
    log_info("%s", phase_name(phase));
    return record == NULL || state_phase(record, p->job->cfg, phase, e);
}

/* Bytes that were lost or changed on the way (F66) can leave both ends waiting for each other: the sink has had no byte
 * for long, and its session is waiting for one from it. */
static bool target_is_in_step(Pipeline *p, Pg *record, Error *e) {
    char pid[16], waits_for_us[8];
    const char *const params[] = {pid};
    int64_t since_ms = atomic_load(&p->target_wait.since_ms);
    if (since_ms == 0 || clock_ms() - since_ms < OUT_OF_STEP_MS)
        return true;
    snprintf(pid, sizeof pid, "%d", atomic_load(&p->target_wait.backend_pid));
    if (!pg_value(record, SQL_WAITS_FOR_US, 1, params, waits_for_us, sizeof waits_for_us, e))
        return false;
    if (waits_for_us[0] != 't' || atomic_load(&p->target_wait.since_ms) != since_ms)
        return true;
    fail(e, ERR_RETRY, "the target waits for us while we wait for it: bytes were lost or changed on the way");
    e->connection = true;
    return false;
}

/* The sink may wait for a statement as long as the target takes for it; whether the target is there at all is seen on
 * this connection, where every statement is answered at once (F92). */
static bool look_at_target(Pipeline *p, Pg *record, int64_t *looked_ms, Error *e) {
    if (record == NULL || clock_ms() - *looked_ms < LOOK_AT_TARGET_EVERY_MS)
        return true;
    *looked_ms = clock_ms();
    return pg_run(record, SQL_SIGN_OF_LIFE, e) && target_is_in_step(p, record, e);
}

static void watch(Pipeline *p, Pg *record) {
    int64_t looked_ms = clock_ms();
    WaitTold told = {.looked_ms = 0};
    Error e;
    do {
        bool ok = atomic_load(&p->target_wait.silent) ||
                  (look_at_target(p, record, &looked_ms, &e) && target_wait_tell(p, record, &told, &e));
        if (ok && !pipeline_ending(p))
            ok = watch_phase(p, record, &e);
        if (!ok) {
            atomic_store(&p->target_wait.silent, record != NULL && e.connection);
            pipeline_fail(p, &e);
        }
    } while (pause_for(&p->sinks_ended, WATCH_MS));
}

/* One that cannot be made fails the session: those that run see it and end, as after any other failure. */
static bool thread_start(Pipeline *p, pthread_t *thread, void *(*run)(void *), void *argument) {
    Error e;
    int why = pthread_create(thread, NULL, run, argument);
    if (why == 0)
        return true;
    limit_failed(&e, "make a thread", why);
    pipeline_fail(p, &e);
    return false;
}

static bool session_run(Pipeline *p, Error *e) {
    Pg *record = NULL;
    if (p->job->cfg->target.dsn != NULL && (record = record_open(p, e)) == NULL)
        return false;
    pthread_t source, keeper, sinks[LEDGER_SINKS_MAX];
    SinkThread threads[LEDGER_SINKS_MAX];
    memory_give_back(); /* of reading the catalogs */
    metrics_state(p->job->metrics, RUN_RUNNING, p->job->reload_told);
    metrics_activity(p->job->metrics, "%s", "");
    atomic_store(&p->sinks_left, p->sink_count);
    pause_new(&p->sinks_ended);
    int made = 0;
    for (bool ok = true; ok && made < p->sink_count; made += ok) {
        threads[made] = (SinkThread){p, made, false};
        ok = thread_start(p, &sinks[made], pipeline_sink, &threads[made]);
    }
    pipeline_sinks_ended(p, p->sink_count - made);
    bool reads = made == p->sink_count && thread_start(p, &source, pipeline_source, p);
    bool keeps = reads && thread_start(p, &keeper, keeper_thread, p);
    Indexer *indexer = keeps ? indexer_start(p->job) : NULL;
    watch(p, record);
    indexer_end(indexer);
    for (int sink = 0; sink < made; sink++)
        pthread_join(sinks[sink], NULL);
    if (reads)
        pthread_join(source, NULL);
    if (keeps)
        pthread_join(keeper, NULL);
    pause_free(&p->sinks_ended);
    pg_close(record);
    if (!atomic_load(&p->failed))
        return true;
    *e = p->error;
    return false;
}

static void session_close(Pipeline *p) {
    if (p->assembler != NULL && assembler_aborts_ignored(p->assembler) > 0)
        log_info("%llu aborts of transactions that were never streamed were passed over",
                 (unsigned long long)assembler_aborts_ignored(p->assembler));
    if (p->assembler != NULL && assembler_unheld(p->assembler) != 0)
        p->job->held_transaction = assembler_unheld(p->assembler);
    if (p->stream != NULL)
        stream_close(p->stream);
    for (int sink = 0; sink < p->sink_count; sink++) {
        if (p->sinks[sink] != NULL)
            p->ops[sink]->close(p->sinks[sink]);
        queue_free(p->queues[sink]);
        p->sinks[sink] = NULL;
        p->queues[sink] = NULL;
    }
    assembler_free(p->assembler);
    ledger_free(p->ledger);
    pg_close(p->keeper);
    p->stream = NULL;
    p->assembler = NULL;
    p->ledger = NULL;
    p->keeper = NULL;
}

/* A server that has much to skip may answer nothing for longer than its own wal_sender_timeout: it ends the session, or
 * we do, and the next one comes no farther (F18, L15). That one is given more time, on both ends, until there is
 * progress again. */
static void learn_patience(Pipeline *p, bool progressed) {
    Job *job = p->job;
    int64_t before_ms = p->sender_timeout_ms;
    if (progressed)
        job->sender_timeout_ms = 0;
    if (progressed || !p->stream_lost || before_ms == 0 || job->sender_timeout_ms > 0)
        return;
    job->sender_timeout_ms = before_ms * PATIENT_TIMES;
    if (job->sender_timeout_ms < PATIENT_LEAST_MS)
        job->sender_timeout_ms = PATIENT_LEAST_MS;
    log_warn("the stream broke before anything came of it: the next one sets wal_sender_timeout to %lld s "
             "(it was %lld)",
             (long long)job->sender_timeout_ms / 1000, (long long)before_ms / 1000);
}

/* Servers 14 to 18 fail over an open transaction, "could not map filenode", in which a table was changed in a savepoint,
 * that was rolled back, and then again: for ever, while after its commit they can decode it. */
static void learn_wholeness(Pipeline *p, bool progressed) {
    Job *job = p->job;
    if (progressed)
        job->whole_transactions = false;
    if (progressed || !p->undecodable || job->whole_transactions)
        return;
    job->whole_transactions = true;
    log_warn("the source cannot decode what it has not sent yet: asking for whole transactions only");
}

static void learn_text(Pipeline *p) {
    if (!atomic_load(&p->wants_text) || p->job->text_values)
        return;
    p->job->text_values = true;
    log_info("asking for the values in text from now on");
}

bool pipeline_run(Pipeline *p, bool *progressed, Error *e) {
    Metrics *m = p->job->metrics;
    pthread_mutex_init(&p->lock, NULL);
    atomic_store(&p->failed, false);
    atomic_store(&p->source_down, false);
    atomic_store(&p->target_wait.silent, false);
    atomic_store(&p->target_wait.since_ms, 0);
    atomic_store(&p->reached, false);
    atomic_store(&p->wants_text, false);
    bool ok = pipeline_open(p, e);
    unsigned long long applied_before = atomic_load(&m->applied_lsn);
    ok = ok && session_run(p, e);
    *progressed = atomic_load(&m->applied_lsn) > applied_before;
    learn_patience(p, *progressed);
    learn_wholeness(p, *progressed);
    learn_text(p);
    session_close(p);
    pthread_mutex_destroy(&p->lock);
    return ok;
}
