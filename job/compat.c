#include "job/compat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "sink/kafka/topic_reader.h"
#include "sink/kafka/topic_schemas.h"
#include "sink/kafka/topics.h"

enum { PATIENCE_MS = 60000, TELL_EVERY = 1000, HEADERS_MAX = 64 };

/* One of the two, or both. */
typedef struct Couple {
    char name[TOPIC_NAME_MAX + 1]; /* without the prefix */
    bool there[SIDES];
    TopicEnds ends[SIDES];
} Couple;

typedef struct Compat {
    const Config *cfg;
    const CompatWish *wish;
    const CompatListener *listener;
    const char *prefixes[SIDES];
    KafkaClient *client;
    KafkaWait wait;
    char control[2 * (TOPIC_NAME_MAX + 1)]; /* of the other side */
    TopicSchemas *schemas;
    CompareDecoder decoder;
    Couple *couples;
    int count, room;
} Compat;

/* ---- which topics ---- */

static const char *behind_prefix(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 && name[length] == '.' ? name + length + 1 : NULL;
}

static bool is_ours_alone(const Compat *c, const char *name, const char *rest) {
    return strcmp(name, c->cfg->kafka.control) == 0 || strcmp(name, c->control) == 0 ||
           strcmp(rest, "walferry") == 0 || strcmp(rest, "dead-letter") == 0;
}

static bool is_wished(const Compat *c, const char *rest) {
    for (int topic = 0; topic < c->wish->topic_count; topic++)
        if (strcmp(c->wish->topics[topic], rest) == 0)
            return true;
    return c->wish->topic_count == 0;
}

static Couple *couple_get(Compat *c, const char *rest) {
    for (int couple = 0; couple < c->count; couple++)
        if (strcmp(c->couples[couple].name, rest) == 0)
            return &c->couples[couple];
    if (c->count == c->room) {
        c->room = c->room == 0 ? 16 : 2 * c->room;
        c->couples = memory_grow(c->couples, (size_t)c->room * sizeof *c->couples);
    }
    Couple *couple = &c->couples[c->count++];
    *couple = (Couple){.there = {false, false}};
    snprintf(couple->name, sizeof couple->name, "%s", rest);
    return couple;
}

/* Of a topic that could be of both prefixes, because one is the beginning of the other, the longer one is meant. */
static void topic_take(void *context, const char *name) {
    Compat *c = context;
    const char *rests[SIDES];
    for (int side = 0; side < SIDES; side++)
        rests[side] = behind_prefix(name, c->prefixes[side]);
    int side = rests[OURS] != NULL ? OURS : THEIRS;
    if (rests[OURS] != NULL && rests[THEIRS] != NULL && rests[THEIRS] > rests[OURS])
        side = THEIRS;
    if (rests[side] != NULL && !is_ours_alone(c, name, rests[side]) && is_wished(c, rests[side]))
        couple_get(c, rests[side])->there[side] = true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const Couple *)a)->name, ((const Couple *)b)->name);
}

static bool is_found(const Compat *c, const char *topic) {
    for (int couple = 0; couple < c->count; couple++)
        if (strcmp(c->couples[couple].name, topic) == 0)
            return true;
    return false;
}

static bool topics_enough(const Compat *c, Error *e) {
    bool there[SIDES] = {false, false};
    for (int topic = 0; topic < c->wish->topic_count; topic++)
        if (!is_found(c, c->wish->topics[topic])) {
            fail(e, ERR_CONFIG, "neither prefix has a topic \"%s\"", c->wish->topics[topic]);
            return fail_hint(e, "topics are named without their prefix, for example --topics public.orders");
        }
    for (int couple = 0; couple < c->count; couple++)
        for (int side = 0; side < SIDES; side++)
            there[side] |= c->couples[couple].there[side];
    for (int side = 0; side < SIDES && c->wish->topic_count == 0; side++)
        if (!there[side]) {
            fail(e, ERR_CONFIG, "there are no topics \"%s.*\" to compare", c->prefixes[side]);
            return fail_hint(e, "is \"%s\" right, and may this account Describe and Read them?",
                             side == OURS ? "kafka.prefix" : "--with");
        }
    return true;
}

/* The ends of all of them at first: what is written while records are compared does not count. */
static bool topics_find(Compat *c, Error *e) {
    char name[2 * (TOPIC_NAME_MAX + 1)];
    if (!topics_visit(c->client, topic_take, c, &c->wait, e) || !topics_enough(c, e))
        return false;
    qsort(c->couples, (size_t)c->count, sizeof *c->couples, by_name);
    for (int couple = 0; couple < c->count; couple++)
        for (int side = 0; side < SIDES; side++) {
            snprintf(name, sizeof name, "%s.%s", c->prefixes[side], c->couples[couple].name);
            if (c->couples[couple].there[side] &&
                !topic_ends_find(c->client, name, &c->wait, &c->couples[couple].ends[side], e))
                return false;
        }
    return true;
}

/* ---- one topic ---- */

typedef struct Work {
    Compat *c;
    CompatTopic topic;
    CompatPairs *pairs;
    char names[SIDES][2 * (TOPIC_NAME_MAX + 1)];
    TopicReader *readers[SIDES];
    bool ended[SIDES];
} Work;

static bool record_take(Work *w, int side, const TopicRecord *from, Error *e) {
    CompareHeader headers[HEADERS_MAX];
    CompareRecord record = {.key = from->key, .value = from->value, .headers = headers};
    const void *value;
    while (from->headers != NULL && record.header_count < HEADERS_MAX &&
           rd_kafka_header_get_all(from->headers, record.header_count, &headers[record.header_count].name,
                                   &value,
                                   &headers[record.header_count].value.len) == RD_KAFKA_RESP_ERR_NO_ERROR)
        headers[record.header_count++].value.at = value;
    CompatPlace at = {from->partition, from->offset};
    return compat_pairs_take(w->pairs, side, at, &record, e) ||
           fail_context(e, "topic \"%s\"", w->names[side]);
}

static void progress_tell(Work *w) {
    double done[SIDES] = {topic_reader_done(w->readers[OURS]), topic_reader_done(w->readers[THEIRS])};
    w->topic.done = done[OURS] < done[THEIRS] ? done[OURS] : done[THEIRS];
    w->topic.counts = *compat_pairs_counts(w->pairs);
    w->c->listener->progress(w->c->listener->context, &w->topic);
}

/* The side that is less far, so that little has to wait; but that one has nothing any more is to be known at once, because then
 * nothing waits for it. */
static int side_next(const Work *w) {
    double done[SIDES];
    for (int side = 0; side < SIDES; side++) {
        done[side] = topic_reader_done(w->readers[side]);
        if (done[side] >= 1 && !w->ended[side])
            return side;
    }
    return done[OURS] <= done[THEIRS] ? OURS : THEIRS;
}

static bool records_compare(Work *w, Error *e) {
    for (int64_t turn = 1; !w->ended[OURS] || !w->ended[THEIRS]; turn++) {
        TopicRecord record;
        int side = side_next(w);
        if (!topic_reader_next(w->readers[side], &w->ended[side], &record, e))
            return false;
        if (w->ended[side] ? !compat_pairs_end(w->pairs, side, e) : !record_take(w, side, &record, e))
            return false;
        if (turn % TELL_EVERY == 0)
            progress_tell(w);
    }
    progress_tell(w);
    return true;
}

/* A job makes the topics of all its tables, others make theirs when the first record comes. */
static bool emptiness_look(Work *w, int side, Error *e) {
    bool empty;
    TopicRecord record;
    if (!topic_reader_next(w->readers[side], &empty, &record, e))
        return false;
    if (!empty)
        w->topic.missing = side == OURS ? THEIRS : OURS;
    return true;
}

static bool readers_open(Work *w, const Couple *couple, Error *e) {
    for (int side = 0; side < SIDES; side++) {
        const TopicEnds *ends = &couple->ends[side];
        snprintf(w->names[side], sizeof w->names[side], "%s.%s", w->c->prefixes[side], couple->name);
        for (int partition = 0; partition < ends->count; partition++)
            w->topic.cut[side] |= ends->low[partition] > 0;
        if (!couple->there[side])
            continue;
        w->readers[side] = topic_reader_new(w->c->client, w->names[side], ends, &w->c->wait, e);
        if (w->readers[side] == NULL)
            return false;
    }
    return true;
}

static bool couple_compare(Compat *c, int number, Error *e) {
    const Couple *couple = &c->couples[number];
    const CompatListener *listener = c->listener;
    Work w = {.c = c,
              .topic = {.name = couple->name, .number = number + 1, .count = c->count, .missing = -1}};
    w.pairs = compat_pairs_new(c->prefixes, &c->decoder, (size_t)c->cfg->memory_bytes / 2, listener->found,
                               listener->context);
    bool ok = readers_open(&w, couple, e);
    if (ok && couple->there[OURS] && couple->there[THEIRS])
        ok = records_compare(&w, e);
    else if (ok)
        ok = emptiness_look(&w, couple->there[OURS] ? OURS : THEIRS, e);
    if (ok)
        listener->end(listener->context, &w.topic);
    topic_reader_free(w.readers[OURS]);
    topic_reader_free(w.readers[THEIRS]);
    compat_pairs_free(w.pairs);
    return ok;
}

/* ---- all ---- */

bool compat_topic_differs(const CompatTopic *topic) {
    const CompatCounts *counts = &topic->counts;
    return topic->missing >= 0 || counts->differing > 0 || counts->alone[OURS] > 0 ||
           counts->alone[THEIRS] > 0;
}

bool compat_run(const Config *cfg, const CompatWish *wish, const CompatListener *listener, Error *e) {
    if (cfg->kafka.brokers == NULL)
        return fail(e, ERR_CONFIG, "\"compat\" needs a job with \"kafka.brokers\"");
    if (strcmp(wish->with, cfg->kafka.prefix) == 0)
        return fail(e, ERR_CONFIG, "\"--with %s\" is the job's own prefix", wish->with);
    Compat c = {.cfg = cfg, .wish = wish, .listener = listener, .prefixes = {cfg->kafka.prefix, wish->with}};
    snprintf(c.control, sizeof c.control, "%s%s",
             wish->with_control != NULL ? wish->with_control : wish->with,
             wish->with_control != NULL ? "" : ".walferry");
    c.schemas = topic_schemas_new(cfg, c.control);
    c.decoder = (CompareDecoder){c.schemas, topic_schemas_decode};
    c.wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, PATIENCE_MS);
    c.client = kafka_client_new(cfg, KAFKA_READ, NULL, e);
    bool ok = c.client != NULL && topics_find(&c, e);
    for (int number = 0; ok && number < c.count; number++)
        ok = couple_compare(&c, number, e);
    for (int number = 0; number < c.count; number++)
        for (int side = 0; side < SIDES; side++)
            topic_ends_free(&c.couples[number].ends[side]);
    kafka_client_free(c.client);
    topic_schemas_free(c.schemas);
    free(c.couples);
    return ok;
}
