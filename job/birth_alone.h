/* birth_alone: a new job without a database as destination, whose record is in Kafka's control topic or beside its file: record
 * and slot, or the slot that a Debezium connector leaves to it (takeover.h). */
#ifndef WALFERRY_JOB_BIRTH_ALONE_H
#define WALFERRY_JOB_BIRTH_ALONE_H

#include "job/exported.h"
#include "sink/kafka/control_topic.h"

/* *already: they were there. `exported`, with Kafka: the slot's snapshot, when it was made now. *record: with Kafka. */
bool birth_alone(Walk *walk, bool *already, ControlRecord *record, Exported *exported, Error *e);
/* Of a job that was there: keeps of the selection the tables that it was born with. */
bool birth_alone_keep_published(Walk *walk, Error *e);

#endif
