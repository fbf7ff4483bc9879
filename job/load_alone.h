/* load_alone: rows into Kafka, by load.workers at a time under one snapshot; the tables that are done are noted in the control
 * topic, and a killed run goes on with the others under a new one. */
#ifndef WALFERRY_JOB_LOAD_ALONE_H
#define WALFERRY_JOB_LOAD_ALONE_H

#include "job/exported.h"
#include "sink/kafka/control_topic.h"

/* As far as the record says that they are not there. Takes over `exported`. */
bool load_alone(Walk *walk, const ControlRecord *record, Exported *exported, Error *e);
/* Once more those that are wanted (by table of the selection), under `exported`, which it takes over; what cannot be read now
 * stays wanted. *record: as it is noted then. */
bool load_alone_again(Walk *walk, ControlRecord *record, bool *wanted, Exported *exported, Error *e);

#endif
