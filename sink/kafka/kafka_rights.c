#include "sink/kafka/kafka_rights.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "sink/kafka/control_topic.h"
#include "sink/kafka/topics.h"

enum { SLICE_MS = 200, ABORT_MS = 10000, AT_ONCE = 500 /* topics: for each the brokers are asked */ };

/* What is open, or why it is of no use any more: librdkafka tells no other way of what has come over a transaction. */
static bool still_open(KafkaClient *c, const char *what, Error *e) {
    rd_kafka_error_t *error = rd_kafka_begin_transaction(c->handle);
    if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__STATE)
        return error == NULL || kafka_error_failed(c, error, what, e);
    rd_kafka_error_destroy(error);
    return true;
}

static bool put(KafkaClient *c, const char *topic, const char *what, KafkaWait *wait, Error *e) {
    rd_kafka_topic_t *handle = rd_kafka_topic_new(c->handle, topic, NULL);
    if (handle == NULL)
        return kafka_failed(c, rd_kafka_last_error(), NULL, what, e);
    Error why;
    KafkaRecord record = {.topic = handle, .partition = 0, .key = slice_text("{}")};
    bool ok = kafka_produce(c, &record, wait, &why);
    rd_kafka_topic_destroy(handle);
    if (!ok && still_open(c, what, e))
        *e = why;
    return ok;
}

/* A record makes librdkafka ask for its partition, and is taken back while it lingers. The one that is sent comes last, into
 * the control topic, whose readers do not see what was aborted: once it is there, all partitions before it were let in. */
static bool try_open(KafkaClient *c, const TopicWish *wishes, int count, const char *what, KafkaWait *wait,
                     Error *e) {
    for (int wish = 0; wish < count; wish++)
        if (!put(c, wishes[wish].name, what, wait, e))
            return false;
    rd_kafka_purge(c->handle, RD_KAFKA_PURGE_F_QUEUE);
    if (!put(c, c->cfg->kafka.control, what, wait, e))
        return false;
    while (c->reported < c->produced) {
        rd_kafka_flush(c->handle, SLICE_MS);
        if (!still_open(c, what, e))
            return false;
        if (c->refusal.kind != ERR_NONE) {
            *e = c->refusal;
            return false;
        }
        if (c->reported < c->produced && !kafka_patient(c, wait, what, e))
            return false;
    }
    return true;
}

typedef struct Trial {
    const Config *cfg;
    const char *id;
    KafkaWait *wait;
} Trial;

/* A producer each: one whose partitions were all refused cannot end its transaction. */
static bool try_some(const Trial *t, const TopicWish *wishes, int count, const char *what, Error *e) {
    TopicWish control = {.name = t->cfg->kafka.control};
    KafkaClient *c = kafka_client_new(t->cfg, KAFKA_TRY, t->id, e);
    bool begun = c != NULL && kafka_transact(c, t->wait, e) && topics_await(c, &control, 1, t->wait, e) &&
                 topics_await(c, wishes, count, t->wait, e) && kafka_begin(c, e);
    bool ok = begun && try_open(c, wishes, count, what, t->wait, e);
    if (begun)
        kafka_abort(c, ABORT_MS);
    kafka_client_free(c);
    return ok;
}

static bool try_named(const Trial *t, const TopicWish *wish, int count, Error *e) {
    char what[TOPIC_NAME_MAX + 32];
    snprintf(what, sizeof what, "write into topic \"%s\"", wish->name);
    return try_some(t, wish, count, what, e);
}

/* What the brokers say of many does not say which of them it is: looked for by halves. Always false. */
static bool find_refused(const Trial *t, const TopicWish *wishes, int count, Error *e) {
    Error why;
    while (count > 1) {
        int half = count / 2;
        if (try_some(t, wishes, half, "write into the topics", &why)) {
            wishes += half;
            count -= half;
        } else if (why.kind == ERR_CONFIG) {
            count = half;
        } else {
            *e = why;
            return false;
        }
    }
    if (!try_named(t, wishes, 1, &why))
        *e = why;
    return false;
}

static bool try_all(const Trial *t, const TopicList *topics, Error *e) {
    bool ok = try_named(t, topics->list, 0, e);
    for (int done = 1; ok && done < topics->count; done += AT_ONCE) {
        const TopicWish *some = topics->list + done;
        int count = topics->count - done < AT_ONCE ? topics->count - done : AT_ONCE;
        ok = try_some(t, some, count, "write into the topics", e) ||
             (e->kind == ERR_CONFIG && find_refused(t, some, count, e));
        kafka_moved(t->wait);
    }
    return ok;
}

bool kafka_rights_try(const Config *cfg, const Selection *selection, uint64_t system_id, KafkaWait *wait,
                      Error *e) {
    char id[CONTROL_ID_SIZE];
    Trial trial = {.cfg = cfg, .id = control_id(cfg, system_id, id), .wait = wait};
    TopicList topics = topic_list_new(cfg, selection);
    KafkaClient *looker = kafka_client_new(cfg, KAFKA_LOOK, NULL, e);
    bool ok = looker != NULL && topic_list_fits(cfg, &topics, selection, e) &&
              topics_make(looker, topics.list, topics.count, wait, e) && try_all(&trial, &topics, e);
    kafka_client_free(looker);
    topic_list_free(&topics);
    return ok;
}
