#include "sink/kafka/topics.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"

enum { SLICE_MS = 1000, MAKE_AT_ONCE = 200, NAMED_MAX = 20, WHY_SIZE = 512 };

/* ---- names ---- */

static bool is_plain(char c) {
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

/* Debezium replaces characters of UTF-16: one outside of the basic plane is two of them. */
static void name_clean(const char *text, char out[TOPIC_NAME_MAX + 1]) {
    size_t length = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0' && length < TOPIC_NAME_MAX; c++) {
        if (*c < 0x80)
            out[length++] = is_plain((char)*c) ? (char)*c : '_';
        else if (*c >= 0xC0)
            out[length++] = '_';
        if (*c >= 0xF0 && length < TOPIC_NAME_MAX)
            out[length++] = '_';
    }
    out[length] = '\0';
}

static void name_join(char out[TOPIC_NAME_MAX + 1], const char *first, const char *second,
                      const char *third) {
    char text[3 * (TOPIC_NAME_MAX + 1)];
    snprintf(text, sizeof text, "%s.%s%s%s", first, second, third == NULL ? "" : ".",
             third == NULL ? "" : third);
    name_clean(text, out);
}

/* Nor is it empty, or one that stands for a folder. */
static void name_use(char name[TOPIC_NAME_MAX + 1]) {
    if (name[0] == '\0' || strcmp(name, ".") == 0)
        strcpy(name, "_");
    else if (strcmp(name, "..") == 0)
        strcpy(name, "__");
}

static const Route *name_route(const Config *cfg, const char *plain, char out[TOPIC_NAME_MAX + 1]) {
    Writer name = writer_new(SIZE_MAX);
    const Route *route = routes_find(&cfg->kafka.routes, plain, &name);
    name_clean(route == NULL ? plain : writer_string(&name), out);
    name_use(out);
    writer_free(&name);
    return route;
}

void topic_of_table(const Config *cfg, const char *schema, const char *table, char out[TOPIC_NAME_MAX + 1]) {
    char plain[TOPIC_NAME_MAX + 1];
    name_join(plain, cfg->kafka.prefix, schema, table);
    name_route(cfg, plain, out);
}

const Route *topic_route(const Config *cfg, const char *schema, const char *table,
                         char plain[TOPIC_NAME_MAX + 1]) {
    char routed[TOPIC_NAME_MAX + 1];
    name_join(plain, cfg->kafka.prefix, schema, table);
    return name_route(cfg, plain, routed);
}

void topic_of_heartbeat(const Config *cfg, char out[TOPIC_NAME_MAX + 1]) {
    name_join(out, "__debezium-heartbeat", cfg->kafka.prefix, NULL);
}

void topic_of_transactions(const Config *cfg, char out[TOPIC_NAME_MAX + 1]) {
    name_join(out, cfg->kafka.prefix, "transaction", NULL);
}

void topic_of_messages(const Config *cfg, char out[TOPIC_NAME_MAX + 1]) {
    name_join(out, cfg->kafka.prefix, "message", NULL);
}

void topic_of_shapes(const Config *cfg, char out[TOPIC_NAME_MAX + 1]) {
    name_clean(cfg->kafka.prefix, out);
    name_use(out);
}

void topic_of_dead_letters(const Config *cfg, char out[TOPIC_NAME_MAX + 1]) {
    name_join(out, cfg->kafka.prefix, "dead-letter", NULL);
}

bool topic_is_tables(const Config *cfg, const char *name, Error *e) {
    char own[6][TOPIC_NAME_MAX + 1];
    topic_of_heartbeat(cfg, own[0]);
    topic_of_messages(cfg, own[1]);
    topic_of_dead_letters(cfg, own[2]);
    topic_of_shapes(cfg, own[3]);
    snprintf(own[4], sizeof own[4], "%s", cfg->kafka.control);
    topic_of_transactions(cfg, own[5]);
    for (size_t at = 0; at < sizeof own / sizeof *own; at++)
        if (strcmp(name, own[at]) == 0) {
            fail(e, ERR_CONFIG, "topic \"%s\" is one of the job's own, and no table's", name);
            return fail_hint(e, "change kafka.topics.route or kafka.control, or leave the table out");
        }
    return true;
}

/* ---- all of a job ---- */

/* Where a name stands in the list. */
typedef struct Place {
    const char *name;
    int wish;
    UT_hash_handle hh;
} Place;

/* The place of the one that has this name already, or behind all, which is where `rooms` has room for it. */
static int wish_place(Place **places, Place *rooms, int count, const char *name) {
    Place *found, *room = &rooms[count];
    HASH_FIND_STR(*places, name, found);
    if (found != NULL)
        return found->wish;
    *room = (Place){.name = name, .wish = count};
    HASH_ADD_KEYPTR(hh, *places, room->name, strlen(name), room);
    return count;
}

static void wish_own(TopicList *topics, const Config *cfg, void (*name_of)(const Config *cfg, char *out)) {
    char *name = topics->names[topics->count];
    name_of(cfg, name);
    topics->list[topics->count++] = (TopicWish){.name = name};
}

TopicList topic_list_new(const Config *cfg, const Selection *selection) {
    size_t most = (size_t)selection->count + 4;
    TopicList topics = {.names = memory_array(most, sizeof *topics.names),
                        .list = memory_array(most, sizeof *topics.list),
                        .of_table = memory_array(most, sizeof *topics.of_table)};
    topics.list[topics.count++] = (TopicWish){.name = cfg->kafka.control, .control = true};
    if (cfg->source.heartbeat_ms > 0)
        wish_own(&topics, cfg, topic_of_heartbeat);
    if (cfg->kafka.schema_changes)
        wish_own(&topics, cfg, topic_of_shapes);
    if (cfg->kafka.transactions == TRANSACTIONS_DEBEZIUM)
        wish_own(&topics, cfg, topic_of_transactions);
    Place *places = NULL, *rooms = memory_array(most, sizeof *rooms);
    for (int wish = 0; wish < topics.count; wish++)
        wish_place(&places, rooms, wish, topics.list[wish].name);
    for (int table = 0; table < selection->count; table++) {
        char *name = topics.names[topics.count];
        topic_of_table(cfg, selection->tables[table].schema, selection->tables[table].name, name);
        int place = topics.of_table[table] = wish_place(&places, rooms, topics.count, name);
        if (place == topics.count)
            topics.list[topics.count++] = (TopicWish){.name = name};
    }
    HASH_CLEAR(hh, places);
    free(rooms);
    return topics;
}

bool topic_list_fits(const Config *cfg, const TopicList *topics, const Selection *selection, Error *e) {
    for (int table = 0; table < selection->count; table++)
        if (!topic_is_tables(cfg, topics->list[topics->of_table[table]].name, e))
            return fail_context(e, "table \"%s\"", selection->tables[table].full_name);
    return true;
}

void topic_list_free(TopicList *topics) {
    free(topics->names);
    free(topics->list);
    free(topics->of_table);
}

/* ---- looking ---- */

typedef struct Cluster {
    const struct rd_kafka_metadata *metadata;
    const rd_kafka_metadata_topic_t **by_name;
} Cluster;

static int names_compare(const void *one, const void *other) {
    const rd_kafka_metadata_topic_t *const *a = one, *const *b = other;
    return strcmp((*a)->topic, (*b)->topic);
}

static void cluster_sort(Cluster *cluster) {
    int count = cluster->metadata->topic_cnt;
    cluster->by_name = memory_array((size_t)count + 1, sizeof *cluster->by_name);
    for (int topic = 0; topic < count; topic++)
        cluster->by_name[topic] = &cluster->metadata->topics[topic];
    qsort(cluster->by_name, (size_t)count, sizeof *cluster->by_name, names_compare);
}

static void cluster_free(Cluster *cluster) {
    rd_kafka_metadata_destroy(cluster->metadata);
    free(cluster->by_name);
}

static bool cluster_look(KafkaClient *looker, Cluster *out, KafkaWait *wait, Error *e) {
    for (;;) {
        rd_kafka_resp_err_t code = rd_kafka_metadata(looker->handle, 1, NULL, &out->metadata, SLICE_MS);
        rd_kafka_poll(looker->handle, 0);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            cluster_sort(out);
            return true;
        }
        Error why;
        kafka_failed(looker, code, NULL, "look at the topics", &why);
        if (why.kind != ERR_RETRY) {
            *e = why;
            return false;
        }
        if (!kafka_patient(looker, wait, "looking for the brokers", e))
            return false;
    }
}

static const rd_kafka_metadata_topic_t *topic_find(const Cluster *cluster, const char *name) {
    const rd_kafka_metadata_topic_t wanted = {.topic = (char *)(uintptr_t)name}, *key = &wanted;
    const rd_kafka_metadata_topic_t *const *found =
        bsearch(&key, cluster->by_name, (size_t)cluster->metadata->topic_cnt, sizeof key, names_compare);
    return found == NULL ? NULL : *found;
}

static bool is_missing(const rd_kafka_metadata_topic_t *topic) {
    return topic == NULL || topic->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           topic->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

bool topics_brokers(KafkaClient *looker, int *count, KafkaWait *wait, Error *e) {
    Cluster cluster;
    if (!cluster_look(looker, &cluster, wait, e))
        return false;
    *count = cluster.metadata->broker_cnt;
    cluster_free(&cluster);
    return true;
}

/* All topics are asked for: to ask for one would make it, where the brokers do that. */
bool topics_missing(KafkaClient *looker, const TopicWish *wishes, int count, const char **missing,
                    KafkaWait *wait, Error *e) {
    Cluster cluster;
    *missing = NULL;
    if (!cluster_look(looker, &cluster, wait, e))
        return false;
    for (int wish = 0; *missing == NULL && wish < count; wish++)
        if (is_missing(topic_find(&cluster, wishes[wish].name)))
            *missing = wishes[wish].name;
    cluster_free(&cluster);
    return true;
}

bool topics_there(KafkaClient *looker, const char *name, bool *there, KafkaWait *wait, Error *e) {
    TopicWish wish = {.name = name};
    const char *missing;
    bool ok = topics_missing(looker, &wish, 1, &missing, wait, e);
    *there = missing == NULL;
    return ok;
}

bool topics_partitions(KafkaClient *looker, const char *name, int *count, KafkaWait *wait, Error *e) {
    Cluster cluster;
    if (!cluster_look(looker, &cluster, wait, e))
        return false;
    const rd_kafka_metadata_topic_t *topic = topic_find(&cluster, name);
    *count = is_missing(topic) ? 0 : topic->partition_cnt;
    cluster_free(&cluster);
    return true;
}

bool topics_visit(KafkaClient *looker, TopicVisit *visit, void *context, KafkaWait *wait, Error *e) {
    Cluster cluster;
    if (!cluster_look(looker, &cluster, wait, e))
        return false;
    for (int topic = 0; topic < cluster.metadata->topic_cnt; topic++)
        visit(context, cluster.metadata->topics[topic].topic);
    cluster_free(&cluster);
    return true;
}

static bool all_led(const Cluster *cluster, const TopicWish *wishes, int count) {
    for (int wish = 0; wish < count; wish++) {
        const rd_kafka_metadata_topic_t *topic = topic_find(cluster, wishes[wish].name);
        if (topic == NULL || topic->partition_cnt == 0)
            return false;
    }
    return true;
}

bool topics_await(KafkaClient *client, const TopicWish *wishes, int count, KafkaWait *wait, Error *e) {
    for (;;) {
        Cluster cluster;
        if (!cluster_look(client, &cluster, wait, e))
            return false;
        bool led = all_led(&cluster, wishes, count);
        cluster_free(&cluster);
        if (led)
            return true;
        rd_kafka_poll(client->handle, SLICE_MS / 10);
        if (!kafka_patient(client, wait, "waiting for the topics' leaders", e))
            return false;
    }
}

/* ---- making ---- */

/* What a looker does not see, and what is there all the same. Always false. */
static bool is_hidden(const char *name, Error *e) {
    fail(e, ERR_CONFIG, "kafka: topic \"%s\" is there, but this account may not see it", name);
    return fail_hint(e, "the account needs Describe and Write on the topics");
}

static bool created(const KafkaClient *looker, const rd_kafka_topic_result_t *result, bool trial, Error *e) {
    char what[320];
    rd_kafka_resp_err_t code = rd_kafka_topic_result_error(result);
    if (trial && code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return is_hidden(rd_kafka_topic_result_name(result), e);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return true;
    snprintf(what, sizeof what, "make topic \"%s\"", rd_kafka_topic_result_name(result));
    return kafka_failed(looker, code, rd_kafka_topic_result_error_string(result), what, e);
}

static rd_kafka_NewTopic_t *wish_new(const Config *cfg, const TopicWish *wish, Error *e) {
    char why[WHY_SIZE];
    int partitions = wish->control ? 1 : cfg->kafka.partitions;
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(wish->name, partitions, cfg->kafka.replication, why, sizeof why);
    if (topic == NULL) {
        fail(e, ERR_CONFIG, "kafka: cannot make topic \"%s\": %s", wish->name, why);
        return NULL;
    }
    if (wish->control)
        rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "compact");
    for (int pair = 0; pair < cfg->kafka.topic_config.count && !wish->control; pair++)
        rd_kafka_NewTopic_set_config(topic, cfg->kafka.topic_config.items[pair].key,
                                     cfg->kafka.topic_config.items[pair].value);
    return topic;
}

static bool answer_take(KafkaClient *looker, rd_kafka_queue_t *queue, bool trial, KafkaWait *wait, Error *e) {
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, SLICE_MS)) == NULL)
        if (!kafka_patient(looker, wait, "making topics", e))
            return false;
    size_t count = 0;
    bool ok = true;
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        ok = kafka_failed(looker, rd_kafka_event_error(event), rd_kafka_event_error_string(event),
                          "make topics", e);
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    const rd_kafka_topic_result_t **topics =
        ok && result != NULL ? rd_kafka_CreateTopics_result_topics(result, &count) : NULL;
    for (size_t topic = 0; ok && topic < count; topic++)
        ok = created(looker, topics[topic], trial, e);
    rd_kafka_event_destroy(event);
    return ok;
}

/* trial: the brokers only say whether they would. */
static bool create(KafkaClient *looker, const TopicWish *const *wishes, size_t count, bool trial,
                   KafkaWait *wait, Error *e) {
    rd_kafka_NewTopic_t *topics[MAKE_AT_ONCE];
    size_t made = 0;
    while (made < count && (topics[made] = wish_new(looker->cfg, wishes[made], e)) != NULL)
        made++;
    bool ok = made == count;
    if (ok) {
        rd_kafka_queue_t *queue = rd_kafka_queue_new(looker->handle);
        rd_kafka_AdminOptions_t *options =
            rd_kafka_AdminOptions_new(looker->handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
        rd_kafka_AdminOptions_set_validate_only(options, trial, NULL, 0);
        rd_kafka_CreateTopics(looker->handle, topics, count, options, queue);
        ok = answer_take(looker, queue, trial, wait, e);
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_queue_destroy(queue);
    }
    for (size_t topic = 0; ok && !trial && topic < count; topic++)
        log_info("kafka: topic \"%s\" made", wishes[topic]->name);
    rd_kafka_NewTopic_destroy_array(topics, made);
    return ok;
}

/* Always false. */
static bool all_missing(const TopicWish *const *missing, int count, Error *e) {
    Writer names = writer_new(sizeof e->text);
    for (int wish = 0; wish < count && wish < NAMED_MAX; wish++)
        writer_format(&names, "%s\"%s\"", wish > 0 ? ", " : "", missing[wish]->name);
    fail(e, ERR_CONFIG, "kafka: %d topic%s not there: %s", count, count == 1 ? " is" : "s are",
         writer_string(&names));
    writer_free(&names);
    return fail_hint(e, "make them, or set kafka.topics.create to yes; the account needs Describe on them");
}

static bool fits(const KafkaClient *looker, const rd_kafka_metadata_topic_t *topic, const TopicWish *wish,
                 Error *e) {
    if (topic->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        char what[320];
        snprintf(what, sizeof what, "use topic \"%s\"", wish->name);
        return kafka_failed(looker, topic->err, NULL, what, e);
    }
    if (!wish->control || topic->partition_cnt == 1)
        return true;
    fail(e, ERR_CONFIG, "topic \"%s\" has %d partitions, and the position needs a topic with one", wish->name,
         topic->partition_cnt);
    return fail_hint(e, "choose another kafka.control");
}

/* *missing: an array of those, for the caller to free. */
static bool wishes_sort(KafkaClient *looker, const TopicWish *wishes, int count, const TopicWish ***missing,
                        int *missing_count, KafkaWait *wait, Error *e) {
    Cluster cluster;
    *missing_count = 0;
    *missing = memory_array((size_t)count + 1, sizeof **missing);
    if (!cluster_look(looker, &cluster, wait, e))
        return false;
    bool ok = true;
    for (int wish = 0; ok && wish < count; wish++) {
        const rd_kafka_metadata_topic_t *topic = topic_find(&cluster, wishes[wish].name);
        if (is_missing(topic))
            (*missing)[(*missing_count)++] = &wishes[wish];
        else
            ok = fits(looker, topic, &wishes[wish], e);
    }
    cluster_free(&cluster);
    if (ok && *missing_count > 0 && !looker->cfg->kafka.create)
        ok = all_missing(*missing, *missing_count, e);
    return ok;
}

static bool wishes_do(KafkaClient *looker, const TopicWish *wishes, int count, bool trial, KafkaWait *wait,
                      Error *e) {
    const TopicWish **missing;
    int missing_count;
    bool ok = wishes_sort(looker, wishes, count, &missing, &missing_count, wait, e);
    for (int done = 0; ok && done < missing_count; done += MAKE_AT_ONCE)
        ok = create(looker, missing + done,
                    (size_t)(missing_count - done < MAKE_AT_ONCE ? missing_count - done : MAKE_AT_ONCE),
                    trial, wait, e);
    free(missing);
    return ok;
}

bool topics_fit(KafkaClient *looker, const TopicWish *wishes, int count, KafkaWait *wait, Error *e) {
    return wishes_do(looker, wishes, count, true, wait, e);
}

bool topics_make(KafkaClient *looker, const TopicWish *wishes, int count, KafkaWait *wait, Error *e) {
    return wishes_do(looker, wishes, count, false, wait, e);
}
