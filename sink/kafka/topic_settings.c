#include "sink/kafka/topic_settings.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { SLICE_MS = 1000, ASK_AT_ONCE = 200, GLANCE_MS = 3000 };

static void setting_take(const char *name, const char *value, TopicSettings *out) {
    if (strcmp(name, "min.insync.replicas") == 0)
        out->in_sync = (int)strtol(value, NULL, 10);
    if (strcmp(name, "max.message.bytes") == 0)
        out->most_bytes = strtoll(value, NULL, 10);
    if (strcmp(name, "cleanup.policy") != 0)
        return;
    out->compacted = strstr(value, "compact") != NULL;
    out->expires = strstr(value, "delete") != NULL;
}

static void resource_take(const rd_kafka_ConfigResource_t *resource, TopicSettings *out) {
    size_t count = 0;
    if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    out->known = true;
    for (size_t entry = 0; entry < count; entry++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[entry]);
        setting_take(rd_kafka_ConfigEntry_name(entries[entry]), value == NULL ? "" : value, out);
    }
}

static void answers_take(rd_kafka_event_t *event, const TopicWish *wishes, int count, TopicSettings *out) {
    size_t answered = 0;
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(event);
    const rd_kafka_ConfigResource_t **resources =
        result == NULL ? NULL : rd_kafka_DescribeConfigs_result_resources(result, &answered);
    for (size_t at = 0; at < answered; at++)
        for (int wish = 0; wish < count; wish++)
            if (strcmp(wishes[wish].name, rd_kafka_ConfigResource_name(resources[at])) == 0)
                resource_take(resources[at], &out[wish]);
}

static bool ask(KafkaClient *looker, const TopicWish *wishes, int count, TopicSettings *out, KafkaWait *wait,
                Error *e) {
    rd_kafka_ConfigResource_t *resources[ASK_AT_ONCE];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(looker->handle);
    rd_kafka_event_t *event;
    bool ok = true;
    for (int wish = 0; wish < count; wish++)
        resources[wish] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, wishes[wish].name);
    rd_kafka_DescribeConfigs(looker->handle, resources, (size_t)count, NULL, queue);
    while ((event = rd_kafka_queue_poll(queue, SLICE_MS)) == NULL && ok)
        ok = kafka_patient(looker, wait, "asking for the topics' settings", e);
    if (event != NULL) {
        rd_kafka_resp_err_t code = rd_kafka_event_error(event);
        ok =
            code == RD_KAFKA_RESP_ERR_NO_ERROR ||
            kafka_failed(looker, code, rd_kafka_event_error_string(event), "ask for the topics' settings", e);
        answers_take(event, wishes, count, out);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_ConfigResource_destroy_array(resources, (size_t)count);
    rd_kafka_queue_destroy(queue);
    return ok;
}

bool topic_settings_read(KafkaClient *looker, const TopicWish *wishes, int count, TopicSettings *out,
                         KafkaWait *wait, Error *e) {
    memset(out, 0, (size_t)count * sizeof *out);
    for (int done = 0; done < count; done += ASK_AT_ONCE)
        if (!ask(looker, wishes + done, count - done < ASK_AT_ONCE ? count - done : ASK_AT_ONCE, out + done,
                 wait, e))
            return false;
    return true;
}

void topic_settings_batch(KafkaClient *looker, const Config *cfg, const Selection *selection, Config *out,
                          const KafkaWait *like) {
    *out = *cfg;
    if (kafka_given_number(cfg, "batch.size", 0) != 0)
        return;
    Error ignored;
    KafkaWait wait = kafka_wait_begin(like, GLANCE_MS);
    TopicList topics = topic_list_new(cfg, selection);
    TopicSettings *are = memory_array((size_t)topics.count, sizeof *are);
    bool known = topic_settings_read(looker, topics.list, topics.count, are, &wait, &ignored);
    for (int topic = 0; known && topic < topics.count; topic++) {
        int64_t most_bytes = are[topic].most_bytes;
        if (most_bytes > 0 && (out->kafka.batch_bytes == 0 || most_bytes < out->kafka.batch_bytes))
            out->kafka.batch_bytes = most_bytes;
    }
    free(are);
    topic_list_free(&topics);
}
