/* phases: a job's walk: checking → schema → full → catching-up → running, from wherever its record at the destination
 * says it stands. Every walk begins at that record, so that going on after an error or a kill is the same as starting.
 *
 *   phases.c  the walk itself
 *   load_alone.c  its rows
 *   birth_alone.c of a job without a database as destination
 *   birth.c   a new job: intent, publication, slot with exported snapshot, record (trap A17)
 *   again.c   tables that are loaded again, with the form that they have by then
 *   join.c    tables that are new on the source
 *   build.c   definitions and rows at the destination: dump, load, indexes, constraints (traps A2, A10) */
#ifndef WALFERRY_JOB_PHASES_H
#define WALFERRY_JOB_PHASES_H

#include "core/selection.h"
#include "core/state.h"
#include "decoder/slot.h"
#include "job/job.h"
#include "sink/control_topic.h"
#include "snapshot/dump.h"

typedef struct Walk {
    Job *job;
    Pg *source;
    Pg *record; /* the job's record at the destination; holds the job's lock once it is taken */
    Selection *selection;
    JobRecord job_record;
    bool again; /* the load is of tables that were loaded before, or are new: the job was complete already */
    bool progressed; /* something was loaded or applied in this walk */
} Walk;

/* One walk, to its end or to the first failure. */
bool phases_walk(Walk *walk, Error *e);
/* Closes what a walk has opened. */
void phases_close(Walk *walk);

/* A source snapshot and the LSN that it belongs to; the exporter stays idle for as long as it is used. */
typedef struct Exported {
    Pg *exporter;
    char snapshot[64];
    Lsn point; /* none: a job without incremental */
} Exported;
void exported_end(Exported *exported); /* closes; a temporary slot goes with it */

/* The job's lock for the walk's record, then the record again: what was read before may be older than what another
 * instance has done meanwhile (then ERR_RETRY: the walk begins anew). Left-over sessions of our own are ended. */
bool walk_lock(Walk *walk, Error *e);

/* Streams until then (none: until now), and opens the source again, with the tables as they are by then. *reached: false
 * when the run is to end, or the walk to begin anew. The record's connection is closed. */
bool walk_stream(Walk *walk, Lsn until, bool *reached, Error *e);

/* birth.c */
bool birth_of_job(Walk *walk, Exported *out, Error *e);
/* Published with all tables of the selection, whose replica identities are set where the job is to. */
bool birth_publish(Walk *walk, Error *e);
/* Every transaction that is open on the source now has ended when it returns: a temporary slot is made and dropped. */
bool birth_wait(Walk *walk, Error *e);
/* Of a temporary slot, whose making may wait that long for transactions that are open on the source. */
bool birth_of_snapshot(Walk *walk, int64_t wait_ms, Exported *out, Error *e);
/* For tables that are not loaded yet. A load without a slot is of one snapshot: then every table is pending again. */
bool birth_of_load_snapshot(Walk *walk, Exported *out, Error *e);

/* birth_alone.c: a job without a target database, whose record is in Kafka or beside its file: record and slot; *already:
 * they were there. `exported`, with Kafka: the slot's snapshot, when it was made now. *record: with Kafka. Then which tables it
 * was born with. */
bool birth_alone(Walk *walk, bool *already, ControlRecord *record, Exported *exported, Error *e);
/* load_alone.c: the rows into Kafka, as far as the record says that they are not there. Takes over `exported`. */
bool load_alone(Walk *walk, const ControlRecord *record, Exported *exported, Error *e);
/* Once more those that are wanted (by table of the selection), under `exported`, which it takes over; what cannot be read now
 * stays wanted. *record: as it is noted then. */
bool load_alone_again(Walk *walk, ControlRecord *record, bool *wanted, Exported *exported, Error *e);
/* A lock at the source, for as long as the walk's connection, and nobody has the slot; else ERR_RETRY. */
bool birth_nobody_runs(Walk *walk, Error *e);
bool birth_keep_published(Walk *walk, Error *e);
/* What birth.c does for it: a slot of our name that only an intent knows is dropped; one that nothing knows is somebody's. */
bool birth_identify(Walk *walk, ServerIdentity *out, Error *e);
/* Of a job that is not born yet, before anything is made: Kafka, if it has one, will take its records. */
bool birth_kafka_may(Walk *walk, const ServerIdentity *server, Error *e);
bool birth_alone_begin(Walk *walk, bool intended, Error *e);
/* Heartbeat, publication, triggers. */
bool birth_source(Walk *walk, Error *e);
bool birth_alone_slot(Walk *walk, Exported *out, Error *e);

/* again.c: tables that are loaded again after the job was complete: set aside by the sink (`ddl: pause-table`). */
/* Whether there are such tables, or were when a killed run began with them. */
bool again_look(Walk *walk, Error *e);
/* With the job's lock: the phase goes back to `full`; gives them the form that they have at the source now, and loads them under a snapshot of a temporary slot (trap A2), with the indexes of `dump`. */
bool again_load(Walk *walk, Dump *dump, Error *e);

/* build.c */
bool build_schema(Walk *walk, const Exported *exported, Dump *dump, Error *e);
bool build_load(Walk *walk, Exported *first, Error *e); /* takes over `first` */
/* Whether every row and large object is there, by the job's record. */
bool build_load_is_complete(const Walk *walk, bool *complete, Error *e);
/* Everything after the rows that may exist before the stream has converged (indexes, keys), or the rest. */
bool build_indexes(Walk *walk, Dump *dump, Error *e);
bool build_rest(Walk *walk, Dump *dump, Error *e);
bool build_dump(Walk *walk, const char *snapshot, Dump *out, Error *e);
/* For tables that join (join.h): the definitions of now without those of the `others`, rows as of existing_relations; the
 * part before the rows, in the caller's transaction; and what build_rest does for the new ones alone. */
bool build_dump_beside(Walk *walk, const PGresult *others, Dump *out, Error *e);
bool build_definitions(const Walk *walk, const Dump *dump, Error *e);
bool build_rest_beside(Walk *walk, Dump *dump, Error *e);

#endif
