/* walk: one walk of the job, from its beginning at the job's record to its end or first failure: what it has open, and
 * the small things that its pieces share. It is of one thread, the one that runs the job, and so are all functions that take
 * a Walk. They return false with e, and leave what is open to walk_close. */
#ifndef WALFERRY_JOB_WALK_H
#define WALFERRY_JOB_WALK_H

#include "core/selection.h"
#include "core/state.h"
#include "job/job.h"
#include "sink/kafka/kafka_client.h"

typedef struct Walk {
    Job *job;
    Pg *source;
    Pg *record; /* the job's record at the destination; holds the job's lock once it is taken */
    Selection *selection;
    JobRecord job_record;
    bool again; /* the load is of tables that were loaded before, or are new: the job was complete already */
    bool progressed; /* something was loaded or applied in this walk */
} Walk;

/* Closes what the walk has opened. */
void walk_close(Walk *walk);

/* A session of its own; the first ones of the run are tried for as long as --wait says. */
Pg *walk_side_open(const Walk *walk, const char *dsn, const char *side, Error *e);
Pg *walk_walsender(const Walk *walk, Error *e);

/* The job's lock for the walk's record, then the record again: what was read before may be older than what another
 * instance has done meanwhile (then ERR_RETRY: the walk begins anew). Left-over sessions of our own are ended. */
bool walk_lock(Walk *walk, Error *e);
/* The same without a database as destination: a lock at the source, for as long as the walk's connection, and nobody has the
 * slot; else ERR_RETRY. */
bool walk_nobody_runs(Walk *walk, Error *e);

/* The job is to end; a Walk, as whoever waits takes it. */
bool walk_stops(void *walk);
/* For how long Kafka may keep the walk waiting; the end that somebody asks for ends it, too. */
KafkaWait walk_wait_kafka(Walk *walk, int64_t wait_ms);

/* The tables of the selection, for the view; once in a run. */
void walk_name_tables(Walk *walk);

#endif
