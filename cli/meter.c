#include "cli/meter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "job/status.h"

/* Speeds are averages over about this time, weighted towards now. */
#define METER_WINDOW_S 5.0

typedef struct Speed {
    double seen, per_s; /* per_s < 0: not known yet */
    double age_s;
    bool begun;
} Speed;

struct Meter {
    const Config *cfg;
    Metrics *metrics;
    const Throttle *load, *apply;
    int64_t started_us, read_us;
    Speed bytes, share, changes;
    Speed *tables;
    int table_count;
};

Meter *meter_new(const Config *cfg, Metrics *metrics, const Throttle *load, const Throttle *apply,
                 int64_t started_us) {
    Meter *meter = memory_new(sizeof *meter);
    meter->cfg = cfg;
    meter->metrics = metrics;
    meter->load = load;
    meter->apply = apply;
    meter->started_us = meter->read_us = started_us;
    return meter;
}

void meter_free(Meter *meter) {
    if (meter == NULL)
        return;
    free(meter->tables);
    free(meter);
}

Progress progress_unknown(void) {
    Progress p = {.load_bytes = -1,
                  .load_bytes_total = -1,
                  .bytes_per_s = -1,
                  .load_left_ms = -1,
                  .rows_copied = -1,
                  .changes = -1,
                  .transactions = -1,
                  .conflicts = -1,
                  .dead_letters = -1,
                  .left_out = -1,
                  .retries = -1,
                  .changes_per_s = -1,
                  .lag_ms = -1,
                  .received_ms = -1,
                  .decoded_ms = -1,
                  .queued_ms = -1,
                  .applied_ms = -1,
                  .received_behind_bytes = -1,
                  .applied_behind_bytes = -1,
                  .confirmed_behind_bytes = -1,
                  .retained_bytes = -1,
                  .rss_bytes = -1,
                  .elapsed_ms = -1};
    return p;
}

bool progress_loads(const Progress *p) {
    return strcmp(p->phase, phase_name(PHASE_FULL)) == 0;
}

bool progress_streams(const Progress *p) {
    return strcmp(p->phase, phase_name(PHASE_CATCHING_UP)) == 0 ||
           strcmp(p->phase, phase_name(PHASE_RUNNING)) == 0 ||
           strcmp(p->phase, phase_name(PHASE_CUTTING_OVER)) == 0;
}

/* A count that went back (a table that begins again) begins a new measurement. */
static double speed_note(Speed *speed, double count, double passed_s) {
    if (!speed->begun || count < speed->seen) {
        *speed = (Speed){.seen = count, .per_s = -1, .begun = true};
        return -1;
    }
    if (passed_s <= 0)
        return speed->per_s;
    double now_per_s = (count - speed->seen) / passed_s;
    speed->age_s += passed_s;
    double window_s = speed->age_s < METER_WINDOW_S ? speed->age_s : METER_WINDOW_S;
    double weight = passed_s < window_s ? passed_s / window_s : 1;
    speed->per_s = speed->per_s < 0 ? now_per_s : speed->per_s + weight * (now_per_s - speed->per_s);
    speed->seen = count;
    return speed->per_s;
}

static int64_t time_left_ms(double remaining, double per_s) {
    return per_s > 0 && remaining >= 0 ? (int64_t)(remaining / per_s * 1000) : -1;
}

static void table_show(ProgressTable *out, const TableMetrics *table, double share, double bytes_per_s) {
    *out = (ProgressTable){.rows = table->rows,
                           .rows_estimated = table->rows_estimated,
                           .bytes = table->bytes,
                           .share = share,
                           .bytes_per_s = bytes_per_s,
                           .left_ms = -1};
    snprintf(out->name, sizeof out->name, "%s", table->name);
    if (share > 0)
        out->left_ms = time_left_ms((double)table->bytes / share - (double)table->bytes, bytes_per_s);
}

static void tables_read(Meter *meter, double passed_s, Progress *out) {
    Metrics *m = meter->metrics;
    double done = 0, total = 0;
    if (meter->table_count != m->table_count) {
        meter->tables = memory_grow(meter->tables, (size_t)m->table_count * sizeof *meter->tables);
        memset(meter->tables, 0, (size_t)m->table_count * sizeof *meter->tables);
        meter->table_count = m->table_count;
    }
    for (int at = 0; at < m->table_count; at++) {
        TableMetrics *table = &m->tables[at];
        TableStage stage = (TableStage)atomic_load(&table->stage);
        double share = metrics_share(table);
        int64_t size = table->bytes_estimated > 0 ? table->bytes_estimated : table->bytes;
        double per_s = speed_note(&meter->tables[at], (double)table->bytes, passed_s);
        total += (double)size;
        done += share > 0 ? share * (double)size : 0;
        out->loaded += stage == TABLE_LOADED || stage == TABLE_STREAMING ? 1 : 0;
        out->copying += stage == TABLE_COPYING ? 1 : 0;
        if (stage == TABLE_COPYING && out->shown < PROGRESS_TABLES_MAX)
            table_show(&out->table[out->shown++], table, share, per_s);
    }
    out->tables = m->table_count;
    out->builds = m->build_count;
    memcpy(out->build, m->builds, sizeof out->build);
    out->load_bytes = (int64_t)done;
    out->load_bytes_total = (int64_t)total;
    out->load_left_ms = time_left_ms(total - done, speed_note(&meter->share, done, passed_s));
}

static void texts_read(Meter *meter, Progress *out) {
    Metrics *m = meter->metrics;
    snprintf(out->job, sizeof out->job, "%s", meter->cfg->name);
    snprintf(out->phase, sizeof out->phase, "%s", phase_name((Phase)atomic_load(&m->phase)));
    snprintf(out->state, sizeof out->state, "%s", run_state_name((RunState)atomic_load(&m->state)));
    snprintf(out->reason, sizeof out->reason, "%s", m->reason);
    snprintf(out->activity, sizeof out->activity, "%s", m->activity);
    snprintf(out->wal_status, sizeof out->wal_status, "%s", m->wal_status);
}

static int64_t behind_bytes(uint64_t source, uint64_t here) {
    if (source == 0 || here == 0)
        return -1;
    return source > here ? (int64_t)(source - here) : 0;
}

static void stream_read_metrics(Metrics *m, Progress *out) {
    uint64_t source = atomic_load(&m->source_lsn);
    out->received_ms = atomic_load(&m->received_ms);
    out->decoded_ms = atomic_load(&m->decoded_ms);
    out->queued_ms = atomic_load(&m->queued_ms);
    out->applied_ms = atomic_load(&m->applied_ms);
    out->received_behind_bytes = behind_bytes(source, atomic_load(&m->received_lsn));
    out->applied_behind_bytes = behind_bytes(source, atomic_load(&m->applied_lsn));
    out->confirmed_behind_bytes = behind_bytes(source, atomic_load(&m->confirmed_lsn));
    out->changes = atomic_load(&m->changes);
    out->transactions = atomic_load(&m->transactions);
    out->conflicts = atomic_load(&m->conflicts);
    out->dead_letters = atomic_load(&m->dead_letters);
    out->left_out = atomic_load(&m->left_out);
    out->retries = atomic_load(&m->retries);
    out->rows_copied = atomic_load(&m->rows_copied);
    out->post_data_done = atomic_load(&m->post_data_done);
    out->post_data_total = atomic_load(&m->post_data_total);
}

void meter_read(Meter *meter, int64_t now_us, Progress *out) {
    Metrics *m = meter->metrics;
    double passed_s = (double)(now_us - meter->read_us) / 1e6;
    meter->read_us = now_us;
    *out = progress_unknown();
    stream_read_metrics(m, out);
    pthread_mutex_lock(&m->lock);
    texts_read(meter, out);
    tables_read(meter, passed_s, out);
    out->retained_bytes = m->wal_status[0] != '\0' ? atomic_load(&m->retained_bytes) : -1;
    pthread_mutex_unlock(&m->lock);
    for (int kind = 0; kind < THROTTLE_KINDS; kind++) {
        out->limit[kind] = throttle_get(meter->load, (ThrottleKind)kind);
        out->apply_limit[kind] = throttle_get(meter->apply, (ThrottleKind)kind);
    }
    out->bytes_per_s = speed_note(&meter->bytes, (double)atomic_load(&m->bytes_copied), passed_s);
    out->changes_per_s = speed_note(&meter->changes, (double)out->changes, passed_s);
    out->lag_ms = status_lag_ms(meter->cfg, m, now_us);
    out->rss_bytes = status_rss_bytes();
    out->in_sets = atomic_load(&m->gear) == GEAR_CATCH_UP;
    out->workers = atomic_load(&m->workers);
    out->elapsed_ms = (now_us - meter->started_us) / 1000;
}
