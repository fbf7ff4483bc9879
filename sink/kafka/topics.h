/* topics: names of topics (kafka-contract.md, section 1), and whether they are there and fit: asked from the cluster, and made
 * where kafka.topics.create says so. Knows no records. */
#ifndef WALFERRY_SINK_TOPICS_H
#define WALFERRY_SINK_TOPICS_H

#include "core/selection.h"
#include "sink/kafka/kafka_client.h"

enum { TOPIC_NAME_MAX = 249 };

/* "<prefix>.<schema>.<table>", or what kafka.topics.route makes of it; what a topic's name cannot hold becomes "_", and it is
 * cut at the broker's limit. */
void topic_of_table(const Config *cfg, const char *schema, const char *table, char out[TOPIC_NAME_MAX + 1]);
/* Which route that was, and the name without it; NULL: none. */
const Route *topic_route(const Config *cfg, const char *schema, const char *table,
                         char plain[TOPIC_NAME_MAX + 1]);
/* ERR_CONFIG: a table's topic has the name of one that the job has for something else. */
bool topic_is_tables(const Config *cfg, const char *name, Error *e);
void topic_of_heartbeat(const Config *cfg, char out[TOPIC_NAME_MAX + 1]);
void topic_of_transactions(const Config *cfg, char out[TOPIC_NAME_MAX + 1]);
void topic_of_messages(const Config *cfg, char out[TOPIC_NAME_MAX + 1]);
void topic_of_shapes(const Config *cfg, char out[TOPIC_NAME_MAX + 1]);
void topic_of_dead_letters(const Config *cfg, char out[TOPIC_NAME_MAX + 1]);

typedef struct TopicWish {
    const char *name;
    bool control; /* one partition, compacted */
} TopicWish;

/* What a job with these tables needs: first the control topic, then those of the heartbeats, the shapes and the transactions, if
 * there are any, then the tables'. Equal names are one. */
typedef struct TopicList {
    int count;
    TopicWish *list;
    int *of_table; /* places in the list, by table of the selection */
    char (*names)[TOPIC_NAME_MAX + 1];
} TopicList;
TopicList topic_list_new(const Config *cfg, const Selection *selection);
void topic_list_free(TopicList *list);
bool topic_list_fits(const Config *cfg, const TopicList *list, const Selection *selection,
                     Error *e); /* topic_is_tables */

bool topics_brokers(KafkaClient *looker, int *count, KafkaWait *wait, Error *e);
/* Until `client` knows the partitions of all of them. */
bool topics_await(KafkaClient *client, const TopicWish *wishes, int count, KafkaWait *wait, Error *e);
/* *missing: the first one that is not there, or NULL. */
bool topics_missing(KafkaClient *looker, const TopicWish *wishes, int count, const char **missing,
                    KafkaWait *wait, Error *e);
bool topics_there(KafkaClient *looker, const char *name, bool *there, KafkaWait *wait, Error *e);
/* 0: it is not there. */
bool topics_partitions(KafkaClient *looker, const char *name, int *count, KafkaWait *wait, Error *e);
typedef void TopicVisit(void *context, const char *name);
bool topics_visit(KafkaClient *looker, TopicVisit *visit, void *context, KafkaWait *wait, Error *e);
/* Those that are there fit, and none is missing that is not to be made; else ERR_CONFIG. Makes nothing. */
bool topics_fit(KafkaClient *looker, const TopicWish *wishes, int count, KafkaWait *wait, Error *e);
/* All are there afterwards. ERR_CONFIG: one is missing and is not to be made, or does not fit. */
bool topics_make(KafkaClient *looker, const TopicWish *wishes, int count, KafkaWait *wait, Error *e);

#endif
