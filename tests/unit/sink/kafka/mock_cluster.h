/* mock_cluster: a Kafka in this process, as librdkafka brings it. It checks no sequence numbers, and hides no record of a
 * transaction that is open or was aborted. */
#ifndef WALFERRY_TESTS_SINK_MOCK_CLUSTER_H
#define WALFERRY_TESTS_SINK_MOCK_CLUSTER_H

#include <stdio.h>

#include "sink/kafka/kafka_client.h"

#include <librdkafka/rdkafka_mock.h>

#include "testing.h"

typedef struct Cluster {
    rd_kafka_t *handle;
    rd_kafka_mock_cluster_t *mock;
    char brokers[200];
    ConfigPair pairs[3]; /* the first one is taken */
    Config cfg;
} Cluster;

/* Each partition has a leader of its own, as far as there are brokers. */
static inline void cluster_start(Cluster *c, int brokers) {
    static char name[] = "shop", slot[] = "dts_sync_shop", linger[] = "linger.ms", zero[] = "0";
    char why[200];
    c->handle = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
    assert_non_null(c->handle);
    c->mock = rd_kafka_mock_cluster_new(c->handle, brokers);
    assert_non_null(c->mock);
    snprintf(c->brokers, sizeof c->brokers, "%s", rd_kafka_mock_cluster_bootstraps(c->mock));
    c->pairs[0] = (ConfigPair){linger, zero}; /* each record is a request of its own */
    c->cfg = (Config){.name = name,
                      .slot = slot,
                      .memory_bytes = 64 << 20,
                      .kafka = {.brokers = c->brokers, .config = {.count = 1, .items = c->pairs}}};
}

/* Of one broker, with one topic of one partition. */
static inline void cluster_open(Cluster *c, const char *topic) {
    cluster_start(c, 1);
    assert_int_equal(rd_kafka_mock_topic_create(c->mock, topic, 1, 1), 0);
}

static inline void cluster_close(Cluster *c) {
    rd_kafka_mock_cluster_destroy(c->mock);
    rd_kafka_destroy(c->handle);
}

#endif
