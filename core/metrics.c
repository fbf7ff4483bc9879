#include "core/metrics.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"

static const char *const PHASES[] = {
    [PHASE_CHECKING] = "checking",       [PHASE_SCHEMA] = "schema",   [PHASE_FULL] = "full",
    [PHASE_CATCHING_UP] = "catching-up", [PHASE_RUNNING] = "running", [PHASE_CUTTING_OVER] = "cutting-over",
    [PHASE_COMPLETED] = "completed",
};
static const char *const STATES[] = {
    [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused", [RUN_RETRYING] = "retrying",
    [RUN_STOPPED] = "stopped", [RUN_FAILED] = "failed",
};
static const char *const STAGES[] = {
    [TABLE_PENDING] = "pending",
    [TABLE_COPYING] = "copying",
    [TABLE_LOADED] = "loaded",
    [TABLE_STREAMING] = "streaming",
};

enum { PHASE_COUNT = sizeof PHASES / sizeof *PHASES };

const char *phase_name(Phase phase) {
    assert((size_t)phase < PHASE_COUNT);
    return PHASES[phase];
}

bool phase_parse(const char *name, Phase *out) {
    for (size_t phase = 0; phase < PHASE_COUNT; phase++)
        if (strcmp(name, PHASES[phase]) == 0) {
            *out = (Phase)phase;
            return true;
        }
    return false;
}

const char *gear_name(Gear gear) {
    return gear == GEAR_LIVE ? "live" : gear == GEAR_CATCH_UP ? "catch-up" : NULL;
}

const char *run_state_name(RunState state) {
    assert((size_t)state < sizeof STATES / sizeof *STATES);
    return STATES[state];
}

const char *table_stage_name(TableStage stage) {
    assert((size_t)stage < sizeof STAGES / sizeof *STAGES);
    return STAGES[stage];
}

Metrics *metrics_new(void) {
    Metrics *m = memory_new(sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    atomic_store(&m->phase, PHASE_CHECKING);
    atomic_store(&m->state, RUN_RUNNING);
    atomic_store(&m->since_us, clock_wall_us());
    atomic_store(&m->safe_wal_bytes, -1);
    atomic_store(&m->lag_ms, -1);
    atomic_store(&m->received_ms, -1);
    atomic_store(&m->decoded_ms, -1);
    atomic_store(&m->queued_ms, -1);
    atomic_store(&m->applied_ms, -1);
    return m;
}

void metrics_free(Metrics *m) {
    if (m == NULL)
        return;
    for (int table = 0; table < m->table_count; table++) {
        free(m->tables[table].name);
        free(m->tables[table].target);
    }
    free(m->tables);
    free(m->tables_by_name);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static int names_compare(const void *a, const void *b) {
    const TableMetrics *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

void metrics_tables(Metrics *m, const char *const *names, const char *const *targets, int count) {
    assert(count >= 0);
    TableMetrics *tables = memory_array(count > 0 ? (size_t)count : 1, sizeof *tables);
    TableMetrics **by_name = memory_array(count > 0 ? (size_t)count : 1, sizeof *by_name);
    for (int table = 0; table < count; table++) {
        tables[table].name = memory_text(names[table]);
        tables[table].target = memory_text(targets[table]);
        by_name[table] = &tables[table];
    }
    qsort(by_name, (size_t)count, sizeof *by_name, names_compare);
    pthread_mutex_lock(&m->lock);
    assert(m->tables == NULL); /* readers keep pointers into the array */
    m->tables = tables;
    m->tables_by_name = by_name;
    m->table_count = count;
    pthread_mutex_unlock(&m->lock);
}

void metrics_phase(Metrics *m, Phase phase) {
    if (atomic_exchange(&m->phase, (int)phase) != (int)phase)
        atomic_store(&m->since_us, clock_wall_us());
}

static void text_set(Metrics *m, char *text, size_t size, const char *value) {
    pthread_mutex_lock(&m->lock);
    snprintf(text, size, "%s", value);
    pthread_mutex_unlock(&m->lock);
}

void metrics_state(Metrics *m, RunState state, const char *reason) {
    text_set(m, m->reason, sizeof m->reason, reason != NULL ? reason : "");
    atomic_store(&m->state, (int)state);
}

void metrics_error(Metrics *m, const char *text) {
    text_set(m, m->error, sizeof m->error, text);
}

void metrics_audit(Metrics *m, Lsn since, const char *broken) {
    pthread_mutex_lock(&m->lock);
    m->audit_since = since;
    snprintf(m->audit_broken, sizeof m->audit_broken, "%s", broken);
    pthread_mutex_unlock(&m->lock);
}

void metrics_activity(Metrics *m, const char *format, ...) {
    char activity[sizeof m->activity];
    va_list args;
    va_start(args, format);
    vsnprintf(activity, sizeof activity, format, args);
    va_end(args);
    text_set(m, m->activity, sizeof m->activity, activity);
}

void metrics_beat(Metrics *m, const BeatStamps *stamps) {
    pthread_mutex_lock(&m->lock);
    m->beat = *stamps;
    pthread_mutex_unlock(&m->lock);
    atomic_store(&m->beat_applied_us, stamps->applied_us);
}

static int name_compare(const void *name, const void *table) {
    const TableMetrics *const *there = table;
    return strcmp(name, (*there)->name);
}

TableMetrics *metrics_table(Metrics *m, const char *name) {
    TableMetrics **found = m->table_count == 0 ? NULL
                                               : bsearch(name, m->tables_by_name, (size_t)m->table_count,
                                                         sizeof *found, name_compare);
    return found == NULL ? NULL : *found;
}

TableMetrics *metrics_table_of(Metrics *m, const char *name, uint32_t oid) {
    TableMetrics *named = metrics_table(m, name);
    if (named != NULL && (named->oid == 0 || named->oid == oid))
        return named;
    for (int table = 0; table < m->table_count; table++)
        if (m->tables[table].oid == oid)
            return &m->tables[table];
    return &m->later;
}

void metrics_copying(TableMetrics *table, int64_t now_us) {
    if (atomic_exchange(&table->stage, TABLE_COPYING) != TABLE_COPYING)
        atomic_store(&table->began_us, now_us);
}

void metrics_copied(Metrics *m, TableMetrics *table, int64_t rows, int64_t bytes) {
    atomic_fetch_add(&table->rows, rows);
    atomic_fetch_add(&table->bytes, bytes);
    atomic_fetch_add(&m->rows_copied, rows);
    atomic_fetch_add(&m->bytes_copied, bytes);
}

/* Rows count where they are estimated: a COPY's bytes are not the table's bytes. An estimate that was too low does not
 * make a table in work look finished. */
double metrics_share(const TableMetrics *table) {
    double share = -1;
    switch ((TableStage)atomic_load(&table->stage)) {
    case TABLE_LOADED:
    case TABLE_STREAMING: return 1;
    case TABLE_PENDING: return 0;
    case TABLE_COPYING: break;
    }
    if (table->rows_estimated > 0)
        share = (double)table->rows / (double)table->rows_estimated;
    else if (table->bytes_estimated > 0)
        share = (double)table->bytes / (double)table->bytes_estimated;
    return share > 0.99 ? 0.99 : share;
}

/* With the lock held; NULL: not there. */
static BuildMetrics *build_find(Metrics *m, int pid) {
    for (int at = 0; at < m->build_count; at++)
        if (m->builds[at].pid == pid)
            return &m->builds[at];
    return NULL;
}

void metrics_build_begin(Metrics *m, int pid, const char *name) {
    pthread_mutex_lock(&m->lock);
    BuildMetrics *build = build_find(m, pid);
    if (build == NULL && m->build_count < BUILDS_SHOWN_MAX)
        build = &m->builds[m->build_count++];
    if (build != NULL) {
        *build = (BuildMetrics){.pid = pid};
        snprintf(build->name, sizeof build->name, "%s", name);
    }
    pthread_mutex_unlock(&m->lock);
}

void metrics_build_progress(Metrics *m, const BuildMetrics *told) {
    pthread_mutex_lock(&m->lock);
    BuildMetrics *build = build_find(m, told->pid);
    if (build != NULL) {
        memcpy(build->table, told->table, sizeof build->table);
        memcpy(build->step, told->step, sizeof build->step);
        build->done = told->done;
        build->total = told->total;
    }
    pthread_mutex_unlock(&m->lock);
}

void metrics_build_end(Metrics *m, int pid) {
    pthread_mutex_lock(&m->lock);
    BuildMetrics *build = build_find(m, pid);
    if (build != NULL)
        *build = m->builds[--m->build_count];
    pthread_mutex_unlock(&m->lock);
}
