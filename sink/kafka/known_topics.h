/* known_topics: the topics that a session of the Kafka sink writes into: made where they are missing, a handle for each from its first
 * record on, and the largest record that it takes, where larger ones are to be dead letters. The sink's thread. */
#ifndef WALFERRY_SINK_KNOWN_TOPICS_H
#define WALFERRY_SINK_KNOWN_TOPICS_H

#include "core/hash.h"
#include "sink/kafka/kafka_client.h"
#include "sink/sink.h"

typedef struct KnownTopic {
    const char *name;
    uint32_t number; /* from 0 */
    rd_kafka_topic_t
        *handle;        /* of the producer; NULL before the first record: for each the brokers are asked */
    int64_t most_bytes; /* of a record; 0: not asked for */
    UT_hash_handle hh;
} KnownTopic;

typedef struct KnownTopics KnownTopics;

/* All are lent. */
KnownTopics *known_topics_new(const SinkOptions *options, KafkaClient *producer, KafkaClient *looker);
void known_topics_free(KnownTopics *k);

/* Those of all selected tables, and those that every job has. */
bool known_topics_make(KnownTopics *k, KafkaWait *wait, Error *e);
/* Whether they are still there; false: without doubt not, and the producer's refused_topic says which. */
bool known_topics_remain(KnownTopics *k, KafkaWait *wait, Error *e);
/* One that records can be written into; lives as long as `k`. */
KnownTopic *known_topic(KnownTopics *k, const char *name, KafkaWait *wait, Error *e);

#endif
