/* control_topic: where a job stands in Kafka. Its topic (kafka.control) has one partition and is compacted; jobs may share it.
 *
 *   key {"job":"shop"}                      the position: the newest record of this key counts. `loaded`, where a load went on under
 *                                           a later snapshot: rows of that may be in the topics
 *   key {"job":"shop","table":"public.t"}   while a load goes on: this table's rows are all there
 *   key {"job":"shop","again":true}         the tables that are to be loaded again (job/reload); of those, the ones that a
 *                                           record behind it says are there are done
 *   key {"job":"shop","lsn":"0/16B3748"}    a group: which transactions it has (xid, end, how many records in which topic), in
 *                                           commit order; what a reader needs to put whole transactions together again
 *
 *   key {"job":"shop","schema":"63dd24e7cc258f8a"}   of Avro without a registry: a schema, by its fingerprint (CRC-64-AVRO), with which
 *                                           bodies begin: C3 01 and the fingerprint, its lowest byte first. The value is
 *                                           {"version":1,"topic":"shop.public.t","part":"key" or "value","schema":{...}}
 *
 * Position and group are written in one Kafka transaction, in exactly-once mode the one of the records themselves. Reading is
 * read_committed: what is found is what readers see. Order of a start (trap A3): kafka_transact, which settles the last
 * transaction of whoever wrote before, then control_read. */
#ifndef WALFERRY_SINK_CONTROL_TOPIC_H
#define WALFERRY_SINK_CONTROL_TOPIC_H

#include <jansson.h>

#include "core/bytes.h"
#include "sink/kafka/kafka_client.h"
#include "sink/sink.h"

typedef struct ControlRecord {
    bool exists;
    bool intent;  /* the slot may have been made, or not */
    bool loading; /* tables are still to be loaded; `applied` is where the slot began */
    bool again;   /* tables are to be loaded again: control_again says which */
    int workers;  /* of the load: as many have had a transactional id */
    Position position;
} ControlRecord;

/* The job's position. settled: up to the topic's end as it is now, waiting for transactions that are open there; else up to the
 * first of these. A topic that is not there has no record. ERR_LOST: the record is not one of ours. */
bool control_read(const Config *cfg, bool settled, KafkaWait *wait, ControlRecord *out, Error *e);

/* Within an open Kafka transaction of `producer`. */
bool control_position_put(KafkaClient *producer, const ControlRecord *record, KafkaWait *wait, Error *e);
bool control_group_put(KafkaClient *producer, Lsn end, Slice value, KafkaWait *wait, Error *e);
/* Of a load: this table's rows are all there, read at `snapshot`; in the transaction of the last of them. `born`: where the slot began,
 * by which the record of a load is told from that of an earlier job. */
bool control_table_put(KafkaClient *producer, const char *table, Lsn born, Lsn snapshot, int64_t rows,
                       KafkaWait *wait, Error *e);
bool control_table_forget(KafkaClient *producer, const char *table, KafkaWait *wait, Error *e);
/* Also by a producer without transactions. `schema`: its JSON. Stays when the job is no more: its topics do, too. */
bool control_schema_put(KafkaClient *producer, uint64_t fingerprint, const char *topic, bool key,
                        Slice schema, KafkaWait *wait, Error *e);
/* False: the record is none of a schema. *schema: of malloc. */
bool control_schema_parse(Slice key, Slice value, uint64_t *fingerprint, char **schema);
typedef void ControlTable(void *context, const char *table);
bool control_tables(const Config *cfg, Lsn born, KafkaWait *wait, ControlTable *visit, void *context,
                    Error *e);

/* Names of tables that are to be loaded again; NULL: the note goes. In the transaction that writes a position with `again`. */
bool control_again_put(KafkaClient *producer, const json_t *tables, KafkaWait *wait, Error *e);
/* *tables: as they were put, *left: those that are not loaded since then; arrays for the caller. Settled. */
bool control_again(const Config *cfg, KafkaWait *wait, json_t **tables, json_t **left, Error *e);

/* The job's transactional id, "walferry.<system identifier>.<slot>" (trap C3); returns `out`. */
enum { CONTROL_ID_SIZE = 120 };
const char *control_id(const Config *cfg, uint64_t system_id, char out[CONTROL_ID_SIZE]);
/* Whoever wrote for this job before is fenced, and its last transaction settled, as are those of a load's `workers`, as many as
 * were noted: one that a killed worker left open would keep every reader from what is behind it, and a settled reading of ours
 * waiting, until the broker gives it up. The topic is there, and fit for a position.
 * By the owner of the slot only: two that take it from each other would do so for ever. */
KafkaClient *control_take(const Config *cfg, uint64_t system_id, int workers, KafkaWait *wait, Error *e);
/* Of a record that was read since then: its workers are fenced, too. */
bool control_workers_take(const Config *cfg, uint64_t system_id, int workers, KafkaWait *wait, Error *e);
/* Likewise of one of the workers of a load, from 0, which have ids of their own. */
KafkaClient *control_worker_take(const Config *cfg, uint64_t system_id, int worker, KafkaWait *wait,
                                 Error *e);
/* The position, in a Kafka transaction of its own. */
bool control_write(KafkaClient *producer, const ControlRecord *record, KafkaWait *wait, Error *e);
/* Of a job that is no more; *found: it had one. */
bool control_remove(const Config *cfg, bool dry_run, bool *found, Error *e);

/* Text of a position, and back; for unit tests, too. */
void control_position_write(Writer *out, const Config *cfg, const ControlRecord *record);
bool control_position_parse(const Config *cfg, Slice text, ControlRecord *out, Error *e);

#endif
