/* meter: where a run stands at one moment, with speeds and the time left: metrics in, plain numbers out. What
 * the view, the progress lines and `status` print. Time is an argument. One thread at a time. */
#ifndef WALFERRY_CLI_METER_H
#define WALFERRY_CLI_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"
#include "core/metrics.h"
#include "core/throttle.h"

enum { PROGRESS_TABLES_MAX = 32 };

typedef struct ProgressTable {
    char name[132]; /* two names of 63 characters, cut to what a line can show */
    int64_t rows, rows_estimated, bytes;
    double share;       /* 0 to 1; -1: unknown */
    double bytes_per_s; /* -1: unknown */
    int64_t left_ms;    /* -1: unknown */
} ProgressTable;

/* In all numbers -1 means unknown. */
typedef struct Progress {
    char job[JOB_NAME_MAX + 1];
    char phase[20], state[20];
    char reason[600], activity[200], wal_status[16];
    int tables, loaded, copying, shown;       /* loaded counts the streaming ones, too */
    ProgressTable table[PROGRESS_TABLES_MAX]; /* the first `shown` of those in work */
    int64_t load_bytes, load_bytes_total;     /* by the size at the source */
    double bytes_per_s;
    int64_t load_left_ms;
    int post_data_done, post_data_total;
    int builds;
    BuildMetrics build[BUILDS_SHOWN_MAX]; /* the first `builds` */
    int64_t rows_copied, changes, transactions, conflicts, dead_letters, left_out, retries;
    double changes_per_s;
    bool in_sets; /* the catch-up gear applies them, */
    int workers;  /* on so many connections */
    int64_t lag_ms, received_ms, decoded_ms, queued_ms, applied_ms;
    int64_t received_behind_bytes, applied_behind_bytes, confirmed_behind_bytes;
    int64_t limit[THROTTLE_KINDS]; /* of the load, in a second; 0: none */
    int64_t apply_limit[THROTTLE_KINDS];
    int64_t retained_bytes, rss_bytes, elapsed_ms;
} Progress;

typedef struct Meter Meter;

Meter *meter_new(const Config *cfg, Metrics *metrics, const Throttle *load, const Throttle *apply,
                 int64_t started_us);
void meter_free(Meter *meter);
void meter_read(Meter *meter, int64_t now_us, Progress *out);
/* Everything unknown. */
Progress progress_unknown(void);
bool progress_loads(const Progress *p);   /* tables are being loaded */
bool progress_streams(const Progress *p); /* changes are being applied */

#endif
