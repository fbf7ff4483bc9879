#include "job/pipeline_open.h"

#include <assert.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/binary_type.h"
#include "core/budget.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/sqlstate.h"
#include "decoder/publication.h"
#include "decoder/slot.h"
#include "job/pipeline_recover.h"
#include "job/position.h"

static const char SQL_SENDER_TIMEOUT[] =
    "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";

#define SQL_BE_PATIENT "SET wal_sender_timeout = '%lldms'"

enum {
    CONNECT_MS = 10000,
    SLOT_WAIT_EXTRA_MS = 5000,
    SLOT_TRY_EVERY_MS = 250,
    BATCH_CHANGES = 4096,
    EARLY_MOST = 4,
    EARLY_SMALL = 7
};

static Pg *source_open(const Pipeline *p, bool replication, const char *options, Error *e) {
    const Config *cfg = p->job->cfg;
    PgAddress source = {.dsn = cfg->source.dsn,
                        .side = "source",
                        .job = cfg->name,
                        .replication = replication,
                        .options = options};
    return pg_open(&source, CONNECT_MS, e);
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
        if (!sqlstate_is(e, SQLSTATE_OBJECT_IN_USE))
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
    Position now; /* judged again, and recorded, once slot and lock are ours (pipeline_recover.c) */
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

/* Tests make parts of small transactions, too. */
static uint32_t early_changes(void) {
    Error e = {0};
    bool usual = FAULT("early.small_parts", &e);
    return usual && e.kind == ERR_NONE ? BATCH_CHANGES : EARLY_SMALL;
}

/* Prepared transactions are prepared at the destination, by the connection that keeps their record. */
static uint32_t early_most(const Pipeline *p) {
    return lsn_is_none(p->early_from) || p->job->cfg->source.two_phase ? 0 : EARLY_MOST;
}

static void assembler_make(Pipeline *p) {
    const Config *cfg = p->job->cfg;
    p->spill = (JournalSpace){.dir = cfg->spill.dir, .max_bytes = (uint64_t)cfg->spill.max_bytes};
    Budget budget = budget_of((size_t)cfg->memory_bytes, p->sink_count);
    AssemblerOptions options = {
        .abort_has_lsn = stream_aborts_have_lsn(p->stream),
        .two_phase = p->two_phase,
        .late_before = p->begin,
        .held_bytes = budget.held_bytes,
        .batch_bytes = budget.batch_bytes,
        .batch_changes = BATCH_CHANGES,
        .early_most = early_most(p),
        .early_changes = early_changes(),
        .early_from = p->early_from,
        .early_alone = p->sink_count == 1,
        .early_never = p->job->held_transaction,
        .spill = &p->spill,
        .job = cfg->name,
        .beat_schema = cfg->source.heartbeat_schema,
        .beat_table = cfg->source.heartbeat_table,
        .release = PQfreemem,
    };
    p->assembler = assembler_new(&options, p->ledger);
    assembler_until(p->assembler, p->until);
    assembler_reached(p->assembler, p->begin); /* what commits before it is not streamed */
    for (int sink = 0; sink < p->sink_count; sink++)
        p->queues[sink] = queue_new(budget.queue_bytes);
}

/* Sinks that are no database. */
static bool others_read(const Pipeline *p) {
    return p->job->cfg->file.path != NULL || p->job->cfg->kafka.brokers != NULL;
}

/* Only where somebody reads them: within a stream (which `ddl: apply` does not ask for, therefore) the server does not say which savepoint wrote a message, so one of a
 * rolled-back savepoint cannot be told from the others, and would count in the numbering of changes. */
static bool wants_messages(const Pipeline *p) {
    return p->keeper->version >= 140000 &&
           (p->job->cfg->ddl == DDL_APPLY || p->heartbeat == HEARTBEAT_MESSAGE || others_read(p));
}

/* Trap B3: it is one option for all columns of all tables, and other sinks read text. */
static bool wants_binary(const Pipeline *p) {
    if (p->job->text_values || p->keeper->version < 140000 || others_read(p))
        return false;
    for (int at = 0; at < p->selection->count; at++) {
        const Table *table = &p->selection->tables[at];
        for (uint16_t column = 0; column < table->column_count; column++)
            if (table->columns[column].taken && !table->columns[column].generated &&
                !binary_type(table->columns[column].type))
                return false;
    }
    return true;
}

bool pipeline_open(Pipeline *p, Error *e) {
    const Config *cfg = p->job->cfg;
    Position known;
    SlotView slot;
    ServerIdentity server;
    if (!pipeline_sinks_open(p, &known, e) || !keeper_open(p, &known, e))
        return false;
    Lsn start = known.applied;
    p->binary = wants_binary(p);
    int64_t patience_ms = p->job->sender_timeout_ms;
    p->sender_timeout_ms = sender_timeout_ms(p->keeper);
    Writer publications = writer_new(1024);
    publication_names(p->keeper, cfg, p->selection, &publications);
    StreamOptions options = {.slot = cfg->slot,
                             .publications = writer_string(&publications),
                             .start = start,
                             .binary = p->binary,
                             .whole = p->job->whole_transactions || p->job->cfg->ddl == DDL_APPLY,
                             .two_phase = p->two_phase,
                             .messages = wants_messages(p),
                             .sender_timeout_ms = patience_ms > 0 ? patience_ms : p->sender_timeout_ms};
    bool ok = slot_take(p, &options, &server, e) && slot_look(p->keeper, cfg->slot, &slot, e) &&
              pipeline_sinks_recover(p, &server, &slot, e) && until_find(p, e);
    writer_free(&publications);
    if (!ok)
        return false;
    p->begin = lsn_max(start, slot.confirmed);
    assembler_make(p);
    log_info("streaming from " LSN_FMT " (slot \"%s\"), values in %s", LSN_ARGS(start), cfg->slot,
             p->binary ? "binary" : "text");
    return true;
}
