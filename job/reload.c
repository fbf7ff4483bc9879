#include "job/reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "job/load_alone.h"
#include "job/reload_ask.h"
#include "job/units.h"
#include "job/walk_stream.h"
#include "job/watch.h"

enum {
    WAIT_MS = 30000,
    END_MS = 5000,
    END_LOOK_MS = 50,
    SLOT_FIRST_MS = 2000, /* for the source's open transactions, with the stream held */
    SLOT_MOST_MS = 60000,
    LATER_TIMES = 6 /* the stream goes on as many times as long before it is held again */
};
#define ROUND_BYTES ((int64_t)1 << 30)

/* ---- the note ---- */

static bool is_among(const json_t *names, const char *table) {
    for (size_t at = 0; at < json_array_size(names); at++) {
        const char *name = json_string_value(json_array_get(names, at));
        if (name != NULL && strcmp(name, table) == 0)
            return true;
    }
    return false;
}

/* One transaction: `left` is what is to be loaded from here on (empty: nothing), and what was said of `before` goes. */
static bool note_write(Walk *walk, ControlRecord *record, const json_t *before, const json_t *left,
                       Error *e) {
    KafkaWait wait = walk_wait_kafka(walk, WAIT_MS);
    KafkaClient *control =
        control_take(walk->job->cfg, record->position.system_id, record->workers, &wait, e);
    record->again = json_array_size(left) > 0;
    record->workers = record->again ? record->workers : 0;
    bool ok = control != NULL && kafka_begin(control, e);
    for (size_t at = 0; ok && at < json_array_size(before); at++)
        ok = control_table_forget(control, json_string_value(json_array_get(before, at)), &wait, e);
    ok = ok && control_again_put(control, record->again ? left : NULL, &wait, e) &&
         control_position_put(control, record, &wait, e) && kafka_commit(control, &wait, e);
    kafka_client_free(control);
    return ok && FAULT("reload.noted", e);
}

static bool list_read(Walk *walk, const ControlRecord *record, json_t **before, json_t **left, Error *e) {
    KafkaWait wait = walk_wait_kafka(walk, WAIT_MS);
    *before = *left = NULL;
    if (record->again)
        return control_again(walk->job->cfg, &wait, before, left, e);
    *before = json_array();
    *left = json_array();
    return true;
}

/* Names that were asked for, and are not noted; taken out by asked_end, as many. */
static json_t *asked_begin(Job *job) {
    pthread_mutex_lock(&job->lock);
    json_t *asked = json_copy(job->reload);
    pthread_mutex_unlock(&job->lock);
    return asked;
}

static void asked_end(Job *job, const json_t *asked) {
    pthread_mutex_lock(&job->lock);
    for (size_t at = 0; at < json_array_size(asked); at++)
        json_array_remove(job->reload, 0);
    atomic_store(&job->reload_wanted, json_array_size(job->reload) > 0);
    pthread_mutex_unlock(&job->lock);
}

static bool asked_note(Walk *walk, ControlRecord *record, Error *e) {
    Job *job = walk->job;
    json_t *before, *left;
    if (reload_is_noted(job))
        return true;
    bool ok = list_read(walk, record, &before, &left, e);
    json_t *asked = asked_begin(job);
    for (size_t at = 0; ok && at < json_array_size(asked); at++) {
        const char *name = json_string_value(json_array_get(asked, at));
        if (!is_among(left, name))
            json_array_append(left, json_array_get(asked, at));
        log_info("table \"%s\" is loaded again, as asked for by \"snapshot\"", name);
    }
    ok = ok && note_write(walk, record, before, left, e);
    if (ok)
        asked_end(job, asked);
    json_decref(asked);
    json_decref(before);
    json_decref(left);
    return ok;
}

/* The end of our own stream may take the server a moment. */
static bool nobody_runs(Walk *walk, Error *e) {
    for (int64_t until_ms = clock_ms() + END_MS; !walk_nobody_runs(walk, e); clock_sleep_ms(END_LOOK_MS))
        if (e->kind != ERR_RETRY || e->connection || clock_ms() >= until_ms || walk_stops(walk))
            return false;
    error_clear(e);
    return true;
}

/* ---- a round ---- */

typedef struct Round {
    Walk *walk;
    ControlRecord record;
    Exported exported;
    bool *wanted; /* by table of the walk's selection */
    int tables;
    bool later; /* could not be done now */
} Round;

/* Those of the list that the round takes; how many are behind it. */
static int round_choose(Round *round, const json_t *left) {
    const Selection *selection = round->walk->selection;
    int64_t bytes = 0;
    int rest = 0;
    free(round->wanted);
    round->wanted = memory_array((size_t)selection->count + 1, sizeof *round->wanted);
    round->tables = 0;
    for (int number = 0; number < selection->count; number++) {
        const Table *table = &selection->tables[number];
        if (!is_among(left, table->full_name))
            continue;
        bool fits = round->tables == 0 || bytes + table->bytes <= ROUND_BYTES;
        round->wanted[number] = fits;
        round->tables += fits;
        rest += !fits;
        bytes += fits ? table->bytes : 0;
    }
    return rest;
}

/* Also of a run that was killed: it is told in `status` from the beginning. */
static void tables_reset(const Round *round) {
    const Walk *walk = round->walk;
    for (int number = 0; number < walk->selection->count; number++) {
        const Table *table = &walk->selection->tables[number];
        TableMetrics *shown = metrics_table_of(walk->job->metrics, table->full_name, table->oid);
        if (!round->wanted[number] || shown == NULL)
            continue;
        atomic_store(&shown->stage, TABLE_PENDING);
        atomic_store(&shown->rows, 0);
        atomic_store(&shown->bytes, 0);
    }
}

/* The stream goes on meanwhile. */
static void round_later(Round *round, int64_t waited_ms, const char *why) {
    Job *job = round->walk->job;
    int64_t wait_ms = LATER_TIMES * waited_ms;
    snprintf(job->reload_told, sizeof job->reload_told,
             "tables that are to be loaded again wait, the stream does not: %s", why);
    log_warn("%s; tried again in %lld s", job->reload_told, (long long)wait_ms / 1000);
    atomic_store(&job->reload_later_ms, clock_ms() + wait_ms);
    job->reload_tries++;
    round->later = true;
}

static int64_t patience_ms(const Job *job) {
    int64_t wait_ms = SLOT_FIRST_MS;
    for (int tries = 0; tries < job->reload_tries && wait_ms < SLOT_MOST_MS; tries++)
        wait_ms *= 2;
    return wait_ms < SLOT_MOST_MS ? wait_ms : SLOT_MOST_MS;
}

/* Where this is not the place to end a run that streams well. */
static bool is_ours(const Error *e) {
    return e->connection || e->kind == ERR_STOPPED || e->kind == ERR_LOST || e->kind == ERR_PROTOCOL;
}

/* With the stream ended, so that nothing behind the consistent point is written. */
static bool round_begin(Round *round, Error *e) {
    Walk *walk = round->walk;
    int64_t wait_ms = patience_ms(walk->job);
    if (exported_by_load_slot(walk, wait_ms, &round->exported, e))
        return FAULT("reload.after_slot", e);
    metrics_activity(walk->job->metrics, "%s", "");
    if (is_ours(e))
        return false;
    round_later(round, wait_ms, e->text);
    error_clear(e);
    return true;
}

/* The stream must not end for what somebody asked for beside it. */
static bool round_give_up(Round *round, const json_t *before, Error *e) {
    Job *job = round->walk->job;
    if (is_ours(e) || e->kind == ERR_RETRY)
        return false;
    snprintf(job->reload_told, sizeof job->reload_told, "tables were not loaded again: %.300s", e->text);
    log_warn("%s; the stream goes on", job->reload_told);
    error_clear(e);
    return nobody_runs(round->walk, e) && note_write(round->walk, &round->record, before, NULL, e);
}

/* The stream stands at the snapshot's point. */
static bool round_load(Round *round, int rest, Error *e) {
    Walk *walk = round->walk;
    Metrics *m = walk->job->metrics;
    char why[200];
    int tables = round->tables;
    long long rows = atomic_load(&m->rows_copied), bytes = atomic_load(&m->bytes_copied);
    snprintf(why, sizeof why, "the stream waits while tables are loaded again: %d now, %d later", tables,
             rest);
    metrics_state(m, RUN_RUNNING, why);
    log_info("%s", why);
    tables_reset(round);
    Watch *watch = watch_start(walk->job);
    bool ok = load_alone_again(walk, &round->record, round->wanted, &round->exported, e) &&
              FAULT("reload.after_rows", e);
    watch_end(watch);
    metrics_phase(m, PHASE_CATCHING_UP);
    if (!ok)
        return false;
    for (int number = 0; number < walk->selection->count; number++)
        tables -= round->wanted[number];
    log_info("rows are loaded: %s, %s, of %d table%s", UNIT_COUNT(atomic_load(&m->rows_copied) - rows),
             UNIT_BYTES(atomic_load(&m->bytes_copied) - bytes), tables, tables == 1 ? "" : "s");
    if (tables == 0)
        round_later(round, patience_ms(walk->job), "they are locked, or rewritten again and again");
    else
        walk->job->reload_tries = 0;
    walk->progressed = walk->progressed || tables > 0;
    return true;
}

static bool record_read(Round *round, Error *e) {
    KafkaWait wait = walk_wait_kafka(round->walk, WAIT_MS);
    return control_read(round->walk->job->cfg, true, &wait, &round->record, e);
}

/* Where a run that was killed may have left transactions open. */
static bool record_settle(Round *round, Error *e) {
    KafkaWait wait = walk_wait_kafka(round->walk, WAIT_MS);
    KafkaClient *control = control_take(round->walk->job->cfg, round->record.position.system_id,
                                        round->record.workers, &wait, e);
    bool ok = control != NULL && record_read(round, e);
    kafka_client_free(control);
    return ok;
}

/* Up to the point; from there on nobody else may have written. */
static bool round_reach(Round *round, bool *ends, Error *e) {
    bool reached;
    if (!walk_stream(round->walk, round->exported.point, &reached, e))
        return false;
    *ends = !reached;
    if (*ends)
        return true;
    if (!nobody_runs(round->walk, e) || !record_read(round, e))
        return false;
    return !lsn_before(round->exported.point, round->record.position.applied) ||
           fail(e, ERR_RETRY, "another instance has worked on job \"%s\" meanwhile",
                round->walk->job->cfg->name);
}

/* *done: no table is left. */
static bool round_run(Round *round, bool *done, bool *ends, Error *e) {
    json_t *before, *left;
    if (!list_read(round->walk, &round->record, &before, &left, e))
        return false;
    round_choose(round, left);
    *done = round->tables == 0;
    bool ok = *done ? note_write(round->walk, &round->record, before, NULL, e)
                    : round_begin(round, e) && (round->later || round_reach(round, ends, e));
    if (ok && !*done && !round->later && !*ends) {
        int rest = round_choose(round, left); /* of the tables as they are by now */
        ok = round_load(round, rest, e) || (*done = round_give_up(round, before, e));
    }
    json_decref(before);
    json_decref(left);
    return ok;
}

static bool rounds_run(Round *round, bool *ends, Error *e) {
    bool ok = true, done = false;
    while (ok && !done && !round->later && !*ends) {
        ok = round_run(round, &done, ends, e);
        exported_end(&round->exported);
    }
    *ends = ok && *ends;
    return ok;
}

/* ---- by the walk ---- */

/* A run that was killed, or has failed, may be far behind: the snapshot is not to be held until it has caught up. */
static bool catch_up(Round *round, bool near, bool *ends, Error *e) {
    bool reached = true;
    if (!near && !walk_stream(round->walk, LSN_NONE, &reached, e))
        return false;
    *ends = !reached;
    return *ends || near || (nobody_runs(round->walk, e) && record_read(round, e));
}

bool reload_run(Walk *walk, bool *ends, Error *e) {
    Job *job = walk->job;
    Round round = {.walk = walk};
    *ends = false;
    if (job->cfg->kafka.brokers == NULL ||
        (atomic_load(&job->reload_later_ms) != 0 && !reload_is_wanted(job)))
        return true;
    bool near = reload_is_wanted(job) && (Phase)atomic_load(&job->metrics->phase) == PHASE_RUNNING;
    KafkaWait wait = walk_wait_kafka(walk, WAIT_MS);
    if (!control_read(job->cfg, false, &wait, &round.record, e))
        return false;
    if (!round.record.exists || !(round.record.again || reload_is_wanted(job)))
        return true;
    atomic_store(&job->reload_later_ms, 0);
    job->reload_told[0] = '\0';
    bool ok = nobody_runs(walk, e) && record_settle(&round, e) && asked_note(walk, &round.record, e) &&
              catch_up(&round, near, ends, e) && rounds_run(&round, ends, e);
    free(round.wanted);
    return ok;
}
