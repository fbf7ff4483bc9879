#include "sink/kafka/topic_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "sink/kafka/topics.h"

enum { SLICE_MS = 200, ASK_MS = 1000 };

struct TopicReader {
    KafkaClient *client;
    KafkaWait *wait;
    const char *name;
    rd_kafka_topic_t *topic;
    const TopicEnds *ends;
    int64_t *next; /* by partition; the end where it is read */
    rd_kafka_message_t *message;
};

/* The topic with its name; always false. */
static bool topic_failed(const KafkaClient *client, rd_kafka_resp_err_t code, const char *text,
                         const char *topic, Error *e) {
    char what[TOPIC_NAME_MAX + 32];
    snprintf(what, sizeof what, "read topic \"%s\"", topic);
    kafka_failed(client, code, text, what, e);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        fail_hint(e, "the account needs Describe and Read on it");
    return false;
}

/* ---- ends ---- */

/* A topic that is there may have no leader for a moment. */
static bool is_passing(rd_kafka_resp_err_t code, const Error *why) {
    return why->kind == ERR_RETRY || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

static bool partition_ends(KafkaClient *client, const char *topic, int partition, KafkaWait *wait,
                           TopicEnds *out, Error *e) {
    for (;;) {
        Error why;
        int partitions;
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            client->handle, topic, partition, &out->low[partition], &out->high[partition], ASK_MS);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return true;
        topic_failed(client, code, NULL, topic, &why);
        if (!is_passing(code, &why)) {
            *e = why;
            return false;
        }
        rd_kafka_poll(client->handle, SLICE_MS);
        /* librdkafka goes by what it was told of the leader, and would not ask again by itself. */
        if (!kafka_patient(client, wait, "looking at the topics", e) ||
            !topics_partitions(client, topic, &partitions, wait, e))
            return false;
    }
}

bool topic_ends_find(KafkaClient *client, const char *topic, KafkaWait *wait, TopicEnds *out, Error *e) {
    *out = (TopicEnds){.count = 0};
    if (!topics_partitions(client, topic, &out->count, wait, e))
        return false;
    out->low = memory_array((size_t)out->count + 1, sizeof *out->low);
    out->high = memory_array((size_t)out->count + 1, sizeof *out->high);
    for (int partition = 0; partition < out->count; partition++)
        if (partition_ends(client, topic, partition, wait, out, e)) {
            kafka_moved(wait);
        } else {
            topic_ends_free(out);
            return false;
        }
    return true;
}

void topic_ends_free(TopicEnds *ends) {
    free(ends->low);
    free(ends->high);
    *ends = (TopicEnds){.count = 0};
}

/* ---- records ---- */

static void message_drop(TopicReader *r) {
    if (r->message != NULL)
        rd_kafka_message_destroy(r->message);
    r->message = NULL;
}

TopicReader *topic_reader_new(KafkaClient *client, const char *topic, const TopicEnds *ends, KafkaWait *wait,
                              Error *e) {
    TopicReader *r = memory_new(sizeof *r);
    *r = (TopicReader){.client = client, .wait = wait, .name = topic, .ends = ends};
    r->next = memory_array((size_t)ends->count + 1, sizeof *r->next);
    for (int partition = 0; partition < ends->count; partition++)
        r->next[partition] = ends->high[partition];
    r->topic = rd_kafka_topic_new(client->handle, topic, NULL);
    bool ok = r->topic != NULL;
    for (int partition = 0; ok && partition < ends->count; partition++) {
        int64_t low = ends->low[partition];
        if (low >= ends->high[partition])
            continue;
        ok = rd_kafka_consume_start(r->topic, partition, low) == 0;
        r->next[partition] = ok ? low : r->next[partition];
    }
    if (ok)
        return r;
    topic_failed(client, rd_kafka_last_error(), NULL, topic, e);
    topic_reader_free(r);
    return NULL;
}

static bool is_read(const TopicReader *r, int partition) {
    return r->next[partition] >= r->ends->high[partition];
}

static void partition_end(TopicReader *r, int partition) {
    rd_kafka_consume_stop(r->topic, partition);
    r->next[partition] = r->ends->high[partition];
}

void topic_reader_free(TopicReader *r) {
    if (r == NULL)
        return;
    message_drop(r);
    for (int partition = 0; partition < r->ends->count; partition++)
        if (!is_read(r, partition))
            partition_end(r, partition);
    if (r->topic != NULL)
        rd_kafka_topic_destroy(r->topic);
    free(r->next);
    free(r);
}

static double partition_done(const TopicReader *r, int partition) {
    int64_t low = r->ends->low[partition], high = r->ends->high[partition];
    return is_read(r, partition) ? 1 : (double)(r->next[partition] - low) / (double)(high - low);
}

/* -1: all are read. */
static int least_far(const TopicReader *r) {
    int found = -1;
    double least = 2;
    for (int partition = 0; partition < r->ends->count; partition++) {
        double done = partition_done(r, partition);
        if (is_read(r, partition) || done >= least)
            continue;
        least = done;
        found = partition;
    }
    return found;
}

double topic_reader_done(const TopicReader *r) {
    int partition = least_far(r);
    return partition < 0 ? 1 : partition_done(r, partition);
}

/* False where there is no record in it yet, or none any more. */
static bool is_record(TopicReader *r, int partition) {
    const rd_kafka_message_t *message = r->message;
    bool end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
    bool behind = message->offset >= r->ends->high[partition];
    if (behind)
        partition_end(r, partition);
    return !end && !behind;
}

/* *got false: nothing came, or nothing that counts. */
static bool message_take(TopicReader *r, int partition, bool *got, Error *e) {
    *got = false;
    r->message = rd_kafka_consume(r->topic, partition, SLICE_MS);
    if (r->message == NULL) {
        rd_kafka_poll(r->client->handle, 0);
        return kafka_patient(r->client, r->wait, "reading records", e);
    }
    if (r->message->err != RD_KAFKA_RESP_ERR_NO_ERROR && r->message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return topic_failed(r->client, r->message->err, rd_kafka_message_errstr(r->message), r->name, e);
    *got = is_record(r, partition);
    if (*got)
        return true;
    message_drop(r);
    return kafka_patient(r->client, r->wait, "waiting for the end of a topic", e);
}

static void record_take(TopicReader *r, int partition, TopicRecord *out) {
    const rd_kafka_message_t *message = r->message;
    *out = (TopicRecord){.partition = message->partition, .offset = message->offset};
    out->key = (Slice){message->key, message->key_len};
    out->value = (Slice){message->payload, message->len};
    if (rd_kafka_message_headers(message, &out->headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        out->headers = NULL;
    kafka_moved(r->wait);
    if (message->offset + 1 >= r->ends->high[partition])
        partition_end(r, partition);
    else
        r->next[partition] = message->offset + 1;
}

bool topic_reader_next(TopicReader *r, bool *ended, TopicRecord *out, Error *e) {
    bool got = false;
    message_drop(r);
    while (!got) {
        int partition = least_far(r);
        *ended = partition < 0;
        if (*ended)
            return true;
        if (!message_take(r, partition, &got, e))
            return false;
        if (got)
            record_take(r, partition, out);
    }
    return true;
}
