/* kafka_load: rows of the source's snapshot as records (op r), by one worker of a load, in Kafka transactions of its own. A
 * table counts as loaded with the transaction of its last row, which writes that into the control topic. A load that was killed
 * reads the tables that are not whole again, under a snapshot of its own; the changes since the first snapshot follow all of
 * them, so that a reader who follows the topic ends up with the table, whichever row came from which snapshot.
 * One thread. */
#ifndef WALFERRY_SINK_KAFKA_LOAD_H
#define WALFERRY_SINK_KAFKA_LOAD_H

#include "sink/kafka/control_topic.h"
#include "sink/sink.h"

typedef struct KafkaLoader KafkaLoader;

/* worker: from 0; whoever had this number before is fenced. born: where the slot began. */
KafkaLoader *kafka_loader_new(const SinkOptions *options, uint64_t system_id, Lsn born, int worker, Error *e);
void kafka_loader_free(KafkaLoader *l); /* what is not committed is given up; NULL is fine */

bool kafka_loader_begin(KafkaLoader *l, const Table *table, Lsn snapshot, Error *e);
/* As snapshot/read.h gives it. */
bool kafka_loader_row(KafkaLoader *l, const Value *values, bool last, Error *e);
/* All rows were given, also where there is none. */
bool kafka_loader_end(KafkaLoader *l, Error *e);
/* The table cannot be read to its end now. */
bool kafka_loader_leave(KafkaLoader *l, Error *e);

#endif
