#include "job/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"

static void instance_describe(char *out, size_t size) {
    char host[100] = "unknown host", since[40];
    time_t now = time(NULL);
    struct tm utc;
    gethostname(host, sizeof host - 1);
    gmtime_r(&now, &utc);
    strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", &utc);
    snprintf(out, size, "host %s, pid %d, since %s", host, (int)getpid(), since);
}

static Throttle *apply_throttle_of(const Config *cfg) {
    Throttle *throttle = throttle_new();
    throttle_set(throttle, THROTTLE_ROWS, cfg->throttle.apply.rows_per_s, 0);
    throttle_set(throttle, THROTTLE_BYTES, cfg->throttle.apply.bytes_per_s, 0);
    return throttle;
}

static Throttle *throttle_of(const Config *cfg) {
    Throttle *throttle = throttle_new();
    throttle_set(throttle, THROTTLE_QUERIES, cfg->throttle.load.queries_per_s, 0);
    throttle_set(throttle, THROTTLE_ROWS, cfg->throttle.load.rows_per_s, 0);
    throttle_set(throttle, THROTTLE_BYTES, cfg->throttle.load.bytes_per_s, 0);
    return throttle;
}

Job *job_new(const Config *cfg, Metrics *metrics) {
    Job *job = memory_new(sizeof *job);
    job->pinned = *cfg;
    job->cfg = &job->pinned;
    job->given_dsn = cfg->source.dsn;
    job->metrics = metrics;
    job->throttle = throttle_of(cfg);
    job->apply_throttle = apply_throttle_of(cfg);
    job->first_wait_ms = 10000;
    job->started_us = clock_us();
    pthread_mutex_init(&job->lock, NULL);
    instance_describe(job->instance, sizeof job->instance);
    return job;
}

void job_pin_source(Job *job, const Pg *source) {
    job_unpin_source(job);
    job->pinned.source.dsn = pg_dsn_pin(job->given_dsn, source);
}

void job_unpin_source(Job *job) {
    if (job->pinned.source.dsn != job->given_dsn)
        pg_forget(job->pinned.source.dsn);
    job->pinned.source.dsn = job->given_dsn;
}

void job_free(Job *job) {
    job_unpin_source(job);
    json_decref(job->reload);
    pthread_mutex_destroy(&job->lock);
    throttle_free(job->throttle);
    throttle_free(job->apply_throttle);
    free(job);
}

void job_stop(Job *job) {
    atomic_store(&job->stop, true);
}
