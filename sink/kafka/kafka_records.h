/* kafka_records: changes as records: which topic, which key, encoded, and handed to a producer. Keeps what is made of relation
 * versions (source_facts.h asks the source for it) and which topics are known to be there. Decides nothing about
 * groups, positions or time. The sink's thread. */
#ifndef WALFERRY_SINK_KAFKA_RECORDS_H
#define WALFERRY_SINK_KAFKA_RECORDS_H

#include "proto/event.h"
#include "sink/kafka/group_list.h"
#include "sink/kafka/kafka_client.h"
#include "sink/sink.h"

typedef struct KafkaRecords KafkaRecords;

/* looker: for topics that are not there yet. All are lent. */
KafkaRecords *kafka_records_new(const SinkOptions *options, KafkaClient *producer, KafkaClient *looker,
                                Error *e);
void kafka_records_free(KafkaRecords *r);

/* The topics of all selected tables, and those that every job has. */
bool kafka_records_topics(KafkaRecords *r, KafkaWait *wait, Error *e);

/* Whether they are still there; false: without doubt not, and the producer's refused_topic says which. */
bool kafka_records_remain(KafkaRecords *r, KafkaWait *wait, Error *e);

/* The batch that the next pieces are of: what has to be read for them is read together. NULL: none; the last one is not used any more. */
void kafka_records_ahead(KafkaRecords *r, const Batch *batch);
/* One piece of a transaction; its records are counted in `list`. last_end: where the transaction before it ends. *left_out: changes
 * of kinds that the job does not take. */
bool kafka_records_write(KafkaRecords *r, const Transaction *tx, Lsn last_end, GroupList *list,
                         uint64_t *left_out, KafkaWait *wait, Error *e);
/* A row of a snapshot, of the columns of `rel`. */
bool kafka_records_row(KafkaRecords *r, const Relation *rel, const Value *values, const EventPlace *place,
                       KafkaWait *wait, Error *e);
/* Now and then: connections that nobody needs are given back, and relation versions that are over forgotten. */
void kafka_records_rest(KafkaRecords *r);

#endif
