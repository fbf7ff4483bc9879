/* topic_settings: how topics are kept by their brokers, as far as it decides whether records get in and stay there. The
 * thread of the client. */
#ifndef WALFERRY_SINK_TOPIC_SETTINGS_H
#define WALFERRY_SINK_TOPIC_SETTINGS_H

#include "sink/kafka/topics.h"

typedef struct TopicSettings {
    bool known;         /* else it is not there, or this account may not ask */
    bool compacted;     /* keeps the newest record of each key, and takes none without */
    bool expires;       /* old records are deleted */
    int in_sync;        /* min.insync.replicas */
    int64_t most_bytes; /* max.message.bytes: of what is written at once, a record or many */
} TopicSettings;

/* Of each of the wishes. */
bool topic_settings_read(KafkaClient *looker, const TopicWish *wishes, int count, TopicSettings *out,
                         KafkaWait *wait, Error *e);
/* *out: `cfg`, with batches that none of the job's topics refuses for its size (F87), unless it says batch.size itself. Where nobody
 * answers soon, or this account may not ask, it is as it was. */
void topic_settings_batch(KafkaClient *looker, const Config *cfg, const Selection *selection, Config *out,
                          const KafkaWait *like);

#endif
