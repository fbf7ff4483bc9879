/* topic_reader: all records of a topic, read_committed, from its beginning to its end as it was when somebody asked for the ends. Keeps
 * no group and no offsets. Of several partitions always the one that is least far comes next, so that records come about in
 * the order in which they were written.
 *
 * What an end is. With transactions a partition's last offsets may be no records but their marks: then librdkafka's word that the
 * partition is at its end is what ends it. Where somebody goes on writing that word never comes, but a record behind the end does.
 * An open transaction is behind the end. */
#ifndef WALFERRY_SINK_TOPIC_READER_H
#define WALFERRY_SINK_TOPIC_READER_H

#include "core/bytes.h"
#include "sink/kafka/kafka_client.h"

typedef struct TopicEnds {
    int count;           /* partitions; 0: there is no such topic */
    int64_t *low, *high; /* high: behind the last */
} TopicEnds;

/* Lent, until the next one is read. */
typedef struct TopicRecord {
    int32_t partition;
    int64_t offset;
    Slice key, value;            /* at == NULL: none */
    rd_kafka_headers_t *headers; /* NULL: none */
} TopicRecord;

typedef struct TopicReader TopicReader;

/* client: with KAFKA_READ. */
bool topic_ends_find(KafkaClient *client, const char *topic, KafkaWait *wait, TopicEnds *out, Error *e);
void topic_ends_free(TopicEnds *ends);

/* NULL and e: librdkafka refuses. One reader of a topic at a time and client; the ends are lent. */
TopicReader *topic_reader_new(KafkaClient *client, const char *topic, const TopicEnds *ends, KafkaWait *wait,
                              Error *e);
void topic_reader_free(TopicReader *r); /* NULL is fine */
/* *ended: there is no further one. */
bool topic_reader_next(TopicReader *r, bool *ended, TopicRecord *out, Error *e);
double topic_reader_done(const TopicReader *r); /* 0 to 1: of the partition that is least far */

#endif
