/* check_kafka: the brokers, the schema registry, the topics, and tables without a key. */
#ifndef WALFERRY_JOB_CHECK_KAFKA_H
#define WALFERRY_JOB_CHECK_KAFKA_H

#include "job/check_item.h"

CheckLook check_kafka, check_kafka_registry, check_kafka_topics, check_kafka_keys;

#endif
