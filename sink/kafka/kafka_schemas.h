/* kafka_schemas: the schemas of keys and values are told before the first record that needs them: to the registry, whose ids then stand
 * before bodies; or, of Avro without one, in the control topic, where readers find them by the fingerprint that
 * bodies begin with. There they are in the same Kafka transaction as that record, or in an earlier one; of a producer without
 * transactions they are on the brokers before it. Told again by every session: the same. The sink's thread. */
#ifndef WALFERRY_SINK_KAFKA_SCHEMAS_H
#define WALFERRY_SINK_KAFKA_SCHEMAS_H

#include "proto/format.h"
#include "proto/registry.h"
#include "sink/kafka/kafka_client.h"
#include "sink/sink.h"

/* Of the job's options; NULL and e: an address that is none. */
Registry *kafka_registry_new(const Config *cfg, bool (*ending)(void *context), void *context, Error *e);

typedef struct KafkaSchemas KafkaSchemas;

/* All are lent. NULL and e as of kafka_registry_new. */
KafkaSchemas *kafka_schemas_new(const SinkOptions *options, const Format *format, KafkaClient *producer,
                                Error *e);
void kafka_schemas_free(KafkaSchemas *s); /* NULL is fine */

/* Within an open Kafka transaction, where the producer has them. Nothing is told of JSON. */
bool kafka_schemas_tell(KafkaSchemas *s, FormatTable *table, const char *topic, Error *e);

#endif
