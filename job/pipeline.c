#include "job/pipeline.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/limit.h"
#include "core/log.h"
#include "core/state.h"
#include "decoder/publication.h"
#include "decoder/slot.h"
#include "job/position.h"

static const char SQL_SENDER_TIMEOUT[] =
    "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";

#define SQL_BE_PATIENT "SET wal_sender_timeout = '%lldms'"
static const char SQL_SIGN_OF_LIFE[] = "SELECT 1";
static const char SQL_WAITS_FOR_US[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1::int"
    " AND wait_event = 'ClientRead')";

enum {
    CONNECT_MS = 10000,
    WATCH_MS = 50,
    OUT_OF_STEP_MS = 10000,
    LOOK_AT_TARGET_EVERY_MS = 5000,
    SLOT_WAIT_EXTRA_MS = 5000,
    SLOT_TRY_EVERY_MS = 250,
    BATCH_CHANGES = 4096,
    CAUGHT_UP_MS = 2000,
    FALLEN_BEHIND_MS = 30000,
    PATIENT_TIMES = 10, /* see learn_patience */
    PATIENT_LEAST_MS = 300000
};

void pipeline_fail(Pipeline *p, const Error *e) {
    pthread_mutex_lock(&p->lock);
    if (!atomic_load(&p->failed))
        p->error = *e;
    atomic_store(&p->failed, true);
    pthread_mutex_unlock(&p->lock);
}

bool pipeline_ending(const Pipeline *p) {
    return atomic_load(&p->failed) || atomic_load(&p->job->stop);
}

static Pg *source_open(const Pipeline *p, bool replication, const char *options, Error *e) {
    const Config *cfg = p->job->cfg;
    PgAddress source = {.dsn = cfg->source.dsn,
                        .side = "source",
                        .job = cfg->name,
                        .replication = replication,
                        .options = options};
    return pg_open(&source, CONNECT_MS, e);
}

/* ---- opening: the slot, then the locks, then the positions (trap A6) ---- */

/* *lowest: the position of the sink that is behind the others. */
static bool sinks_open(Pipeline *p, Position *lowest, Error *e) {
    SinkOptions options = {
        .cfg = p->job->cfg, .selection = p->selection, .metrics = p->job->metrics, .wait = &p->target_wait};
    p->sink_count = sink_list(p->job->cfg, p->ops);
    for (int sink = 0; sink < p->sink_count; sink++) {
        Position position;
        p->sinks[sink] = p->ops[sink]->open(&options, e);
        if (p->sinks[sink] == NULL || !p->ops[sink]->peek(p->sinks[sink], &position, e))
            return false;
        if (sink == 0 || lsn_before(position.applied, lowest->applied))
            *lowest = position;
        p->applied[sink] = position.applied;
        options.begin = position;
    }
    assert(!lsn_is_none(lowest->applied)); /* trap A7a: a stream never begins at 0/0 */
    return true;
}

static int64_t sender_timeout_ms(Pg *source) {
    char text[24];
    Error ignored;
    return pg_value(source, SQL_SENDER_TIMEOUT, 0, NULL, text, sizeof text, &ignored)
               ? strtoll(text, NULL, 10)
               : 0;
}

static Stream *stream_try(Pipeline *p, const StreamOptions *options, ServerIdentity *server, Error *e) {
    char patience[80];
    snprintf(patience, sizeof patience, SQL_BE_PATIENT, (long long)options->sender_timeout_ms);
    Pg *walsender = source_open(p, true, p->job->sender_timeout_ms > 0 ? patience : NULL, e);
    if (walsender == NULL)
        return NULL;
    if (!slot_identify(walsender, server, e)) {
        pg_close(walsender);
        return NULL;
    }
    return stream_open(walsender, options, e);
}

/* The slot decides who runs the job. Another holder is given the time in which a dead one is noticed. */
static bool slot_take(Pipeline *p, const StreamOptions *options, ServerIdentity *server, Error *e) {
    int64_t deadline_ms = clock_ms() + options->sender_timeout_ms + SLOT_WAIT_EXTRA_MS;
    bool told = false;
    for (;;) {
        p->stream = stream_try(p, options, server, e);
        if (p->stream != NULL)
            return true;
        if (strcmp(e->sqlstate, "55006") != 0)
            return position_lost(p->applied[0], e);
        if (atomic_load(&p->job->stop))
            return fail(e, ERR_STOPPED, "stopping");
        if (clock_ms() >= deadline_ms)
            break;
        if (!told)
            log_info("%s: waiting until it is given up", e->text);
        told = true;
        metrics_activity(p->job->metrics, "waiting for the slot: %s", e->text);
        clock_sleep_ms(SLOT_TRY_EVERY_MS);
    }
    e->kind = ERR_CONFIG;
    fail_context(e, "another instance runs this job (%s)", p->job->last_instance);
    return fail_hint(e, "stop that one first: walferry stop");
}

static bool keeper_open(Pipeline *p, const Position *known, Error *e) {
    const Config *cfg = p->job->cfg;
    Position now; /* judged again, and recorded, once slot and lock are ours (sinks_recover) */
    p->keeper = source_open(p, false, NULL, e);
    if (p->keeper == NULL)
        return false;
    pg_give_up_when(p->keeper, &p->failed);
    return position_check(p->keeper, cfg, p->selection, known, false, &now, e) &&
           heartbeat_find(p->keeper, cfg, &p->heartbeat, e);
}

/* `--until now`: everything committed before a beat of our own. */
static bool until_find(Pipeline *p, Error *e) {
    if (!p->until_is_now)
        return true;
    HeartbeatForm form = p->heartbeat == HEARTBEAT_OFF ? HEARTBEAT_MESSAGE : p->heartbeat;
    if (!heartbeat_beat(p->keeper, p->job->cfg, form, clock_wall_us() / 1000, &p->until, e))
        return false;
    p->until_is_now = false;
    log_info("running until " LSN_FMT, LSN_ARGS(p->until));
    return true;
}

/* The record moves to the source's timeline before anything of it is taken in (job/position.h). */
static bool sink_follow(Pipeline *p, int sink, const ServerIdentity *server, const SlotView *slot,
                        const Position *known, Error *e) {
    Position now;
    if (!position_follow(server, known, &now, e) || !position_check_slot(p->job->cfg, slot, &now, e))
        return false;
    if (now.timeline == known->timeline)
        return true;
    position_log(known, &now);
    return FAULT("timeline.before_record", e) && p->ops[sink]->follow(p->sinks[sink], &now, e) &&
           FAULT("timeline.after_record", e);
}

static void tell_where(Pipeline *p, const ServerIdentity *server) {
    Metrics *m = p->job->metrics;
    atomic_store(&m->applied_lsn, p->applied[0].at);
    pthread_mutex_lock(&m->lock);
    m->system_id = server->system_id;
    m->timeline = server->timeline;
    pthread_mutex_unlock(&m->lock);
}

/* What was peeked at without the lock may have been of a commit that a crash of the destination took back: checked
 * sink by sink, because a sink without a record begins where the one before it was seen to stand. */
static bool sinks_recover(Pipeline *p, const ServerIdentity *server, const SlotView *slot, Error *e) {
    Lsn lowest = LSN_NONE;
    for (int sink = 0; sink < p->sink_count; sink++) {
        Position position;
        if (!p->ops[sink]->recover(p->sinks[sink], &position, e) ||
            !sink_follow(p, sink, server, slot, &position, e))
            return false;
        if (lsn_before(position.applied, p->applied[sink]))
            return fail(e, ERR_RETRY, "the target went back from " LSN_FMT " to " LSN_FMT,
                        LSN_ARGS(p->applied[sink]), LSN_ARGS(position.applied));
        p->applied[sink] = position.applied;
        lowest = sink == 0 ? position.applied : lsn_min(lowest, position.applied);
    }
    tell_where(p, server);
    p->ledger = ledger_new(p->sink_count, p->applied, lsn_max(lowest, slot->confirmed));
    p->received = lowest;
    return true;
}

static void assembler_make(Pipeline *p) {
    const Config *cfg = p->job->cfg;
    p->spill = (JournalSpace){.dir = cfg->spill.dir, .max_bytes = (uint64_t)cfg->spill.max_bytes};
    size_t share = (size_t)cfg->memory_bytes / 4;
    AssemblerOptions options = {
        .abort_has_lsn = stream_aborts_have_lsn(p->stream),
        .two_phase = p->two_phase,
        .late_before = p->begin,
        .held_bytes = share,
        .batch_bytes = share / 8 < (1u << 20) ? share / 8 : (1u << 20),
        .batch_changes = BATCH_CHANGES,
        .spill = &p->spill,
        .job = cfg->name,
        .beat_schema = cfg->source.heartbeat_schema,
        .beat_table = cfg->source.heartbeat_table,
        .release = PQfreemem,
    };
    p->assembler = assembler_new(&options, p->ledger);
    assembler_until(p->assembler, p->until);
    for (int sink = 0; sink < p->sink_count; sink++)
        p->queues[sink] = queue_new(share / (size_t)p->sink_count);
}

/* Only where somebody reads them: within a stream the server does not say which savepoint wrote a message, so one of a
 * rolled-back savepoint cannot be told from the others, and would count in the numbering of changes. */
static bool wants_messages(const Pipeline *p) {
    return p->keeper->version >= 140000 &&
           (p->heartbeat == HEARTBEAT_MESSAGE || p->job->cfg->file.path != NULL);
}

static bool session_open(Pipeline *p, Error *e) {
    const Config *cfg = p->job->cfg;
    Position known;
    SlotView slot;
    ServerIdentity server;
    if (!sinks_open(p, &known, e) || !keeper_open(p, &known, e))
        return false;
    Lsn start = known.applied;
    int64_t patience_ms = p->job->sender_timeout_ms;
    p->sender_timeout_ms = sender_timeout_ms(p->keeper);
    Writer publications = writer_new(1024);
    publication_names(p->keeper, cfg, p->selection, &publications);
    StreamOptions options = {.slot = cfg->slot,
                             .publications = writer_string(&publications),
                             .start = start,
                             .whole = p->job->whole_transactions,
                             .two_phase = p->two_phase,
                             .messages = wants_messages(p),
                             .sender_timeout_ms = patience_ms > 0 ? patience_ms : p->sender_timeout_ms};
    bool ok = slot_take(p, &options, &server, e) && slot_look(p->keeper, cfg->slot, &slot, e) &&
              sinks_recover(p, &server, &slot, e) && until_find(p, e);
    writer_free(&publications);
    if (!ok)
        return false;
    p->begin = lsn_max(start, slot.confirmed);
    assembler_make(p);
    log_info("streaming from " LSN_FMT " (slot \"%s\")", LSN_ARGS(start), cfg->slot);
    return true;
}

/* ---- running ---- */

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

/* The sink may wait for a statement as long as the target takes for it; whether the target is there at all is seen on
 * this connection, where every statement is answered at once (F92). */
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
    while (atomic_load(&p->sinks_left) > 0) {
        bool ok = atomic_load(&p->target_wait.silent) ||
                  (look_at_target(p, record, &looked_ms, &e) && target_wait_tell(p, record, &told, &e));
        if (ok && !pipeline_ending(p))
            ok = watch_phase(p, record, &e);
        if (!ok) {
            atomic_store(&p->target_wait.silent, record != NULL && e.connection);
            pipeline_fail(p, &e);
        }
        clock_sleep_ms(WATCH_MS);
    }
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
    metrics_state(p->job->metrics, RUN_RUNNING, NULL);
    metrics_activity(p->job->metrics, "%s", "");
    atomic_store(&p->sinks_left, p->sink_count);
    int made = 0;
    for (bool ok = true; ok && made < p->sink_count; made += ok) {
        threads[made] = (SinkThread){p, made};
        ok = thread_start(p, &sinks[made], pipeline_sink, &threads[made]);
    }
    atomic_fetch_sub(&p->sinks_left, p->sink_count - made);
    bool reads = made == p->sink_count && thread_start(p, &source, pipeline_source, p);
    bool keeps = reads && thread_start(p, &keeper, keeper_thread, p);
    watch(p, record);
    for (int sink = 0; sink < made; sink++)
        pthread_join(sinks[sink], NULL);
    if (reads)
        pthread_join(source, NULL);
    if (keeps)
        pthread_join(keeper, NULL);
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

bool pipeline_run(Pipeline *p, bool *progressed, Error *e) {
    Metrics *m = p->job->metrics;
    pthread_mutex_init(&p->lock, NULL);
    atomic_store(&p->failed, false);
    atomic_store(&p->source_down, false);
    atomic_store(&p->target_wait.silent, false);
    atomic_store(&p->target_wait.since_ms, 0);
    atomic_store(&p->reached, false);
    bool ok = session_open(p, e);
    unsigned long long applied_before = atomic_load(&m->applied_lsn);
    ok = ok && session_run(p, e);
    *progressed = atomic_load(&m->applied_lsn) > applied_before;
    learn_patience(p, *progressed);
    learn_wholeness(p, *progressed);
    session_close(p);
    pthread_mutex_destroy(&p->lock);
    return ok;
}
