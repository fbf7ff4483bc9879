/* kafka_rights: whether the job may write what it will write, found out before anything is made on the source: else the first
 * record would tell, and the slot that waits for it would hold the source's WAL until somebody mends the rights. */
#ifndef WALFERRY_SINK_KAFKA_RIGHTS_H
#define WALFERRY_SINK_KAFKA_RIGHTS_H

#include "core/selection.h"
#include "sink/kafka/kafka_client.h"

/* Makes the topics where the job does so, and asks the brokers to take them into a Kafka transaction, which is aborted: no
 * reader sees a record of it. Takes the job's transactional id, so nobody may be running it. ERR_CONFIG names the topic or
 * the id. */
bool kafka_rights_try(const Config *cfg, const Selection *selection, uint64_t system_id, KafkaWait *wait,
                      Error *e);

#endif
