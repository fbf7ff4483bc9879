#include "sink/kafka/known_topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "sink/kafka/topic_settings.h"
#include "sink/kafka/topics.h"

struct KnownTopics {
    SinkOptions options;
    KafkaClient *producer, *looker;
    KnownTopic *topics;
    Arena *names;
};

KnownTopics *known_topics_new(const SinkOptions *options, KafkaClient *producer, KafkaClient *looker) {
    KnownTopics *k = memory_new(sizeof *k);
    *k = (KnownTopics){.options = *options, .producer = producer, .looker = looker, .names = arena_new()};
    return k;
}

void known_topics_free(KnownTopics *k) {
    KnownTopic *known, *next;
    HASH_ITER (hh, k->topics, known, next) {
        HASH_DEL(k->topics, known);
        if (known->handle != NULL)
            rd_kafka_topic_destroy(known->handle);
        free(known);
    }
    arena_free(k->names);
    free(k);
}

static KnownTopic *known_add(KnownTopics *k, const char *name) {
    KnownTopic *known = memory_new(sizeof *known);
    known->name = arena_text(k->names, slice_text(name));
    known->number = HASH_COUNT(k->topics);
    HASH_ADD_KEYPTR(hh, k->topics, known->name, strlen(known->name), known);
    return known;
}

/* What a broker refuses is told too late to put something else in its place. */
static bool limits_learn(KnownTopics *k, const TopicWish *wishes, int count, KafkaWait *wait, Error *e) {
    if (k->options.cfg->kafka.refused != REFUSED_DEAD_LETTER)
        return true;
    TopicSettings *are = memory_array((size_t)count, sizeof *are);
    bool ok = topic_settings_read(k->looker, wishes, count, are, wait, e);
    for (int wish = 0; ok && wish < count; wish++) {
        KnownTopic *known;
        HASH_FIND_STR(k->topics, wishes[wish].name, known);
        if (known != NULL)
            known->most_bytes = are[wish].most_bytes;
    }
    free(are);
    return ok || e->kind == ERR_CONFIG;
}

KnownTopic *known_topic(KnownTopics *k, const char *name, KafkaWait *wait, Error *e) {
    KnownTopic *known;
    HASH_FIND_STR(k->topics, name, known);
    TopicWish wish = {.name = name};
    if (known == NULL) {
        if (!topics_make(k->looker, &wish, 1, wait, e))
            return NULL;
        known = known_add(k, name);
        if (!limits_learn(k, &wish, 1, wait, e))
            return NULL;
    }
    if (known->handle == NULL)
        known->handle = rd_kafka_topic_new(k->producer->handle, name, NULL);
    if (known->handle != NULL)
        return known;
    kafka_failed(k->producer, rd_kafka_last_error(), NULL, "use a topic", e);
    return NULL;
}

bool known_topics_make(KnownTopics *k, KafkaWait *wait, Error *e) {
    TopicList topics = topic_list_new(k->options.cfg, k->options.selection);
    bool ok = topic_list_fits(k->options.cfg, &topics, k->options.selection, e) &&
              topics_make(k->looker, topics.list, topics.count, wait, e);
    for (int wish = 1; ok && wish < topics.count; wish++) {
        KnownTopic *known;
        HASH_FIND_STR(k->topics, topics.list[wish].name, known);
        if (known == NULL)
            known_add(k, topics.list[wish].name);
    }
    ok = ok && limits_learn(k, topics.list, topics.count, wait, e);
    topic_list_free(&topics);
    return ok;
}

bool known_topics_remain(KnownTopics *k, KafkaWait *wait, Error *e) {
    KnownTopic *known, *next;
    Error ignored;
    char what[TOPIC_NAME_MAX + 32];
    const char *gone = NULL;
    int count = 0;
    TopicWish *wishes = memory_array(HASH_COUNT(k->topics) + 1, sizeof *wishes);
    HASH_ITER (hh, k->topics, known, next)
        wishes[count++] = (TopicWish){.name = known->name};
    bool remain = !topics_missing(k->looker, wishes, count, &gone, wait, &ignored) || gone == NULL;
    if (!remain) {
        snprintf(k->producer->refused_topic, sizeof k->producer->refused_topic, "%s", gone);
        snprintf(what, sizeof what, "write into topic \"%s\"", gone);
        kafka_failed(k->producer, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, NULL, what, e);
    }
    free(wishes);
    return remain;
}
