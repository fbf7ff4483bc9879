/* metrics: what a run tells about itself: phase, counters, lag by stage, tables. Written by the threads that know,
 * read by the live view, status and log lines. Numbers are atomics; texts are under one mutex. */
#ifndef WALFERRY_CORE_METRICS_H
#define WALFERRY_CORE_METRICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/lsn.h"

typedef enum Phase {
    PHASE_CHECKING,
    PHASE_SCHEMA,
    PHASE_FULL,
    PHASE_CATCHING_UP,
    PHASE_RUNNING,
    PHASE_CUTTING_OVER,
    PHASE_COMPLETED
} Phase;
const char *phase_name(Phase phase); /* "checking", "schema", "full", "catching-up", … */
bool phase_parse(const char *name, Phase *out);

/* How changes are applied: one by one, or collected into sets. */
typedef enum Gear { GEAR_NONE, GEAR_LIVE, GEAR_CATCH_UP } Gear;
const char *gear_name(Gear gear); /* "live", "catch-up", NULL for none */

typedef enum RunState { RUN_RUNNING, RUN_PAUSED, RUN_RETRYING, RUN_STOPPED, RUN_FAILED } RunState;
const char *run_state_name(RunState state);

typedef enum TableStage { TABLE_PENDING, TABLE_COPYING, TABLE_LOADED, TABLE_STREAMING } TableStage;
const char *table_stage_name(TableStage stage); /* "pending", "copying", "loaded", "streaming" */

typedef struct TableMetrics {
    char *name, *target; /* schema.table on the source, and at the destination; fixed after metrics_tables */
    uint32_t oid;        /* at the source; 0: not told. By it a table is found that was renamed since */
    atomic_int stage;    /* TableStage */
    atomic_llong began_us; /* monotonic clock: when copying began; 0: it did not */
    atomic_llong rows, rows_estimated, bytes, bytes_estimated;
    /* core/audit.h: applied changes by ChangeKind; all that were received, and those that were left out of them */
    atomic_llong changes[4], received, left_out;
    atomic_bool uneven; /* and the sums do not agree */
} TableMetrics;

/* A statement that builds something at the destination behind the rows: an index, a constraint, a vacuum. What the server
 * itself tells of it (pg_stat_progress_*) comes about once a second. */
typedef struct BuildMetrics {
    int pid; /* of its session at the destination */
    char name[140];
    char table[160];     /* schema.table at the destination; "": the server has not told yet */
    char step[64];       /* in the server's words: "index: building index: scanning table" */
    int64_t done, total; /* blocks or rows of this step; total 0: not known */
} BuildMetrics;
enum { BUILDS_SHOWN_MAX = 16 };

/* When a beat passed each stage, by the monotonic clock in microseconds. */
typedef struct BeatStamps {
    int64_t number;
    int64_t received_us, decoded_us, queued_us, applied_us;
} BeatStamps;

typedef struct Metrics {
    atomic_int phase, state, gear;
    atomic_int workers; /* connections that the catch-up gear applies on; 0: unknown */
    atomic_llong runs_early,
        runs_again;        /* its runs of which something was sent before their turn; and all of it again */
    atomic_llong since_us; /* wall clock: when the phase began */
    atomic_ullong source_lsn, received_lsn, applied_lsn, confirmed_lsn, restart_lsn;
    atomic_llong retained_bytes, safe_wal_bytes; /* safe: -1 unknown */
    atomic_llong early, early_given_up; /* transactions applied while they arrived; begun so, and given up */
    atomic_llong rows_copied, bytes_copied, changes, transactions, bytes, conflicts, dead_letters, retries;
    atomic_llong left_out; /* changes of kinds that objects.dml does not take */
    atomic_llong lag_ms, received_ms, decoded_ms, queued_ms, applied_ms; /* of the last beat; -1 unknown */
    atomic_llong beat_applied_us; /* monotonic clock: when the last beat was applied; 0: never */
    atomic_int post_data_done, post_data_total; /* indexes, constraints, triggers after the load */
    atomic_ullong system_id;
    atomic_uint timeline;

    pthread_mutex_t lock; /* guards what follows */
    BeatStamps beat;      /* the last one that was applied; number 0: none */
    char reason[600];     /* why the state is what it is */
    char error[600];      /* the last error */
    char wal_status[16];
    Lsn audit_since;                       /* core/audit.h; none: nothing is counted */
    char audit_broken[200];                /* "": it is not */
    char activity[200];                    /* what is being waited for or built, for the view */
    BuildMetrics builds[BUILDS_SHOWN_MAX]; /* the first build_count; more than that are not shown */
    int build_count;
    TableMetrics *tables; /* fixed array once set */
    TableMetrics **tables_by_name;
    int table_count;
    TableMetrics later; /* of tables that are not in the array */
} Metrics;

Metrics *metrics_new(void);
void metrics_free(Metrics *m);
/* Names are copied. Once a process. */
void metrics_tables(Metrics *m, const char *const *names, const char *const *targets, int count);
/* NULL when there is no such table. */
TableMetrics *metrics_table(Metrics *m, const char *name);
/* Never NULL: one that came to the job since has a place that nobody shows. */
TableMetrics *metrics_table_of(Metrics *m, const char *name, uint32_t oid);
/* Copying begins, unless it is under way. */
void metrics_copying(TableMetrics *table, int64_t now_us);
/* So much of it is copied, besides what was before; below zero: it is not any more. */
void metrics_copied(Metrics *m, TableMetrics *table, int64_t rows, int64_t bytes);
/* How much of a table is copied, 0 to 1; -1: nobody knows. */
double metrics_share(const TableMetrics *table);
/* One session builds one thing at a time. */
void metrics_build_begin(Metrics *m, int pid, const char *name);
void metrics_build_progress(Metrics *m,
                            const BuildMetrics *told); /* of a session that builds; others are nobody's */
void metrics_build_end(Metrics *m, int pid);
void metrics_phase(Metrics *m, Phase phase);
void metrics_state(Metrics *m, RunState state, const char *reason); /* reason may be NULL */
/* A beat was applied; the keeper, who knows when it was made, turns the stamps into lags. */
void metrics_beat(Metrics *m, const BeatStamps *stamps);
void metrics_error(Metrics *m, const char *text);
void metrics_audit(Metrics *m, Lsn since, const char *broken);
void metrics_activity(Metrics *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
