#include "sink/kafka/kafka_schemas.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"
#include "proto/avro_fingerprint.h"
#include "sink/kafka/control_topic.h"
#include "sink/kafka/topics.h"

enum { SCHEMA_LIMIT = 16 << 20, WAIT_MS = 25000 };

/* One that is in the control topic. Its fingerprint leaves out what readers do not need to take a body apart (defaults, names of
 * semantic types), so its text may be another one later. */
typedef struct Told {
    uint64_t fingerprint, text_sum;
    UT_hash_handle hh;
} Told;

struct KafkaSchemas {
    SinkOptions options;
    const Format *format;
    KafkaClient *producer;
    Registry *registry; /* NULL: none */
    Told *told;
};

Registry *kafka_registry_new(const Config *cfg, bool (*ending)(void *context), void *context, Error *e) {
    return registry_new(&(RegistryOptions){.urls = cfg->kafka.registry.url,
                                           .user = cfg->kafka.registry.user,
                                           .password = cfg->kafka.registry.password,
                                           .ca_file = cfg->kafka.registry.ca,
                                           .ending = ending,
                                           .context = context},
                        e);
}

KafkaSchemas *kafka_schemas_new(const SinkOptions *options, const Format *format, KafkaClient *producer,
                                Error *e) {
    KafkaSchemas *s = memory_new(sizeof *s);
    *s = (KafkaSchemas){.options = *options, .format = format, .producer = producer};
    if (!format_has_ids(format))
        return s;
    s->registry = kafka_registry_new(options->cfg, options->ending, options->context, e);
    if (s->registry != NULL)
        return s;
    kafka_schemas_free(s);
    return NULL;
}

void kafka_schemas_free(KafkaSchemas *s) {
    if (s == NULL)
        return;
    Told *told, *next;
    HASH_ITER (hh, s->told, told, next) {
        HASH_DEL(s->told, told);
        free(told);
    }
    registry_free(s->registry);
    free(s);
}

/* ---- in the registry ---- */

static bool schema_register(KafkaSchemas *s, const char *topic, bool key, Slice text, uint32_t *id,
                            Error *e) {
    static const RegistryType types[] = {REGISTRY_JSON, REGISTRY_AVRO, REGISTRY_PROTOBUF};
    char subject[TOPIC_NAME_MAX + 8];
    int32_t given = 0;
    snprintf(subject, sizeof subject, "%s-%s", topic, key ? "key" : "value");
    bool ok = registry_register(s->registry, subject, types[s->format->name], text, &given, e);
    *id = (uint32_t)given;
    return ok;
}

/* ---- in the control topic ---- */

static bool schema_put(KafkaSchemas *s, const FormatTable *table, const char *topic, bool key, Slice text,
                       Error *e) {
    uint64_t fingerprint = (key ? format_key_fingerprint : format_value_fingerprint)(table);
    uint64_t text_sum = avro_fingerprint(text);
    Told *told;
    HASH_FIND(hh, s->told, &fingerprint, sizeof fingerprint, told);
    if (told != NULL && told->text_sum == text_sum)
        return true;
    KafkaWait wait = kafka_wait_begin(&(KafkaWait){.ending = s->options.ending,
                                                   .context = s->options.context,
                                                   .metrics = s->options.metrics},
                                      WAIT_MS);
    if (!control_schema_put(s->producer, fingerprint, topic, key, text, &wait, e) ||
        (s->producer->use == KAFKA_PRODUCE && !kafka_drain(s->producer, &wait, e)))
        return false;
    if (told == NULL) {
        told = memory_new(sizeof *told);
        told->fingerprint = fingerprint;
        HASH_ADD(hh, s->told, fingerprint, sizeof told->fingerprint, told);
    }
    told->text_sum = text_sum;
    return true;
}

/* ---- either ---- */

static bool schema_tell(KafkaSchemas *s, const FormatTable *table, const char *topic, bool key, uint32_t *id,
                        Error *e) {
    Writer text = writer_new(SCHEMA_LIMIT);
    (key ? format_key_schema : format_value_schema)(table, &text);
    bool ok = !text.full || fail(e, ERR_LIMIT, "the schema of topic \"%s\" is too large", topic);
    if (ok && s->registry != NULL)
        ok = schema_register(s, topic, key, writer_slice(&text), id, e);
    else if (ok)
        ok = schema_put(s, table, topic, key, writer_slice(&text), e);
    writer_free(&text);
    return ok;
}

bool kafka_schemas_tell(KafkaSchemas *s, FormatTable *table, const char *topic, Error *e) {
    uint32_t key_id = 0, value_id = 0;
    if (s->format->name == FORMAT_JSON)
        return true;
    if ((format_has_key(table) && !schema_tell(s, table, topic, true, &key_id, e)) ||
        !schema_tell(s, table, topic, false, &value_id, e))
        return false;
    if (s->registry != NULL)
        format_table_ids(table, key_id, value_id);
    return true;
}
