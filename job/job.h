/* job: one job's life in this process: what it was started with, and what outlasts its walks. It is run by supervise.h, walk
 * by walk (phases.h, which also says what the files of this room are). */
#ifndef WALFERRY_JOB_JOB_H
#define WALFERRY_JOB_JOB_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/config.h"
#include "core/error.h"
#include "core/metrics.h"
#include "core/pg.h"
#include "core/selection.h"
#include "core/throttle.h"

typedef enum UntilKind { UNTIL_STOPPED, UNTIL_NOW, UNTIL_LSN } UntilKind;

typedef struct Until {
    UntilKind kind;
    Lsn lsn; /* UNTIL_LSN */
} Until;

typedef struct Job {
    const Config *cfg; /* as given, except that during a walk its source.dsn names one server */
    Config pinned;     /* what cfg points to */
    char *given_dsn;   /* the source's, perhaps with several hosts; the configuration's */
    Metrics *metrics;
    Throttle *throttle;       /* of the load: as the configuration says, until "set" says otherwise */
    Throttle *apply_throttle; /* the same of the changes */
    Until until;
    /* NULL, or where a Debezium connector's offset is, from which this job takes over when it is born: a file, or "topic:NAME" */
    const char *from_debezium;
    const char *debezium_slot, *debezium_connector; /* connector NULL: the only one with the prefix */
    int64_t first_wait_ms;   /* how long the first connection to each server is tried (--wait) */
    int64_t started_us;      /* monotonic */
    char instance[200];      /* "host, pid 123, since 2026-11-21 09:00:00 UTC" */
    char last_instance[200]; /* who ran it before, as the job's record says; "" for a new job */
    bool connected_once;     /* both were reached: from here on the retry windows count, not first_wait_ms */
    bool plan_told;
    bool whole_transactions;   /* the next stream asks for none before its commit */
    uint32_t held_transaction; /* of the source: the next stream holds it until its end; 0: none */
    bool text_values;          /* the next stream asks for no binary values */
    int64_t sender_timeout_ms; /* wal_sender_timeout that the next stream asks for; 0: the server's own */
    /* job/reload: tables are to be loaded again; the stream ends, and the walk begins anew */
    atomic_bool reload_wanted;       /* names were given that are not noted yet */
    _Atomic int64_t reload_later_ms; /* monotonic: when what is noted is tried again; 0: it is not */
    int reload_tries;                /* in vain, one after the other; the walk's */
    char reload_told[400];           /* why they wait; "" when they do not; the walk's */
    pthread_mutex_t lock;            /* guards reload: the names */
    json_t *reload;
    atomic_bool stop; /* settle and end; set by job_stop, read by every thread */
} Job;

Job *job_new(const Config *cfg, Metrics *metrics);
void job_free(Job *job);
/* Asks the run to settle and end; any thread, a signal-waiting thread included; returns at once. */
void job_stop(Job *job);

/* All connections of a walk go to the one server that its first connection found (trap A17): a list of hosts may lead
 * to another one at any moment. */
void job_pin_source(Job *job, const Pg *source);
void job_unpin_source(Job *job);

#endif
