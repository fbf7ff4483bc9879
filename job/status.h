/* status: one JSON object that says where a job stands (requirements section 6, "status --json"): made from
 * the metrics of a running process, or from the job's record at the destination and the slot when none runs.
 * Both have the same keys; what is not known is null. Never writes. */
#ifndef WALFERRY_JOB_STATUS_H
#define WALFERRY_JOB_STATUS_H

#include <jansson.h>

#include "core/config.h"
#include "core/error.h"
#include "core/metrics.h"
#include "core/throttle.h"

json_t *status_running(const Config *cfg, Metrics *metrics, const Throttle *load, const Throttle *apply);
/* state "stopped", phase as stored ("checking" when the job has no record yet). A server that cannot be
 * reached is named in "error"; NULL and e when nothing can be read. */
json_t *status_stored(const Config *cfg, Error *e);
/* The lag of the newest applied beat; it grows when the next beat is overdue. -1: no beat was applied yet. */
int64_t status_lag_ms(const Config *cfg, Metrics *metrics, int64_t now_us);
/* Resident memory of this process now, and its peak. */
int64_t status_rss_bytes(void);
int64_t status_peak_rss_bytes(void);

#endif
