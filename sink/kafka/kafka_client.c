#include "sink/kafka/kafka_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"

enum {
    SLICE_MS = 200, /* of a wait, in between of which somebody may end it */
    FULL_MS = 2,    /* of a wait for room: in a transaction nothing is told of what is written */
    TELL_AFTER_MS = 5000,
    SOCKET_MS = 20000,       /* at most what a transaction may take: librdkafka wants it so */
    TRANSACTION_MS = 900000, /* the brokers' default for the most that they allow (trap C3) */
    MESSAGE_BYTES = 1000000, /* librdkafka's default */
    ABORT_MS = 2000,
    LAST_MS = 5000, /* what is left to a wait when the job is to end */
    ERROR_TEXT_SIZE = 512,
    END_TRANSACTION_KEY = 26, /* of Kafka's protocol */
    QUEUE_SHARE = 10,         /* of `memory` */
    RECORD_BYTES = 320,       /* what librdkafka keeps of a record with its headers, beside key and value */
    FETCHED_SHARE = 8         /* of `memory`, for each partition that is read */
};

#define OUR_NAME "walferry"
/* What a broker waits for more: who reads up to the end of a topic pays it each time. */
#define READ_WAIT "20" /* ms */
/* The longest rest before a broker that was away is tried again; librdkafka's own is 10 s. */
#define BACK_MS    "1000"
#define TRY_LINGER "3000" /* ms; longer than it takes to take records back */

/* What the program depends on, and `kafka.config` cannot change. */
static const char *const OURS[] = {"bootstrap.servers",
                                   "transactional.id",
                                   "enable.idempotence",
                                   "isolation.level",
                                   "group.id",
                                   "enable.partition.eof",
                                   "acks",
                                   "request.required.acks",
                                   "client.id",
                                   "delivery.report.only.error",
                                   "auto.offset.reset",
                                   "retries",
                                   "message.send.max.retries",
                                   "max.in.flight",
                                   "max.in.flight.requests.per.connection"};

/* ---- errors ---- */

static ErrorKind kind_of(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE: return ERR_CONFIG;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD: return ERR_DATA;
    default: return ERR_RETRY;
    }
}

static const char *hint_of(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
        return "security.protocol, sasl.mechanism, sasl.username and sasl.password stand under kafka.config";
    case RD_KAFKA_RESP_ERR__SSL: return "security.protocol and ssl.ca.location stand under kafka.config";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return "the account needs Describe and Write on the topics, Read too on kafka.control, and Create "
               "where walferry makes them";
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return "the account needs IdempotentWrite on the cluster, and Create where walferry makes topics";
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return "the account needs Describe and Write on the transactional ids that begin with walferry.";
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
        return "set transaction.timeout.ms under kafka.config to the brokers' transaction.max.timeout.ms or "
               "less";
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return "somebody has deleted the topic; starting again makes it anew where kafka.topics.create is "
               "yes";
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return "raise max.message.bytes of the topic and message.max.bytes under kafka.config, or set "
               "kafka.refused to dead-letter";
    case RD_KAFKA_RESP_ERR_INVALID_RECORD: return "a compacted topic takes no records without a key";
    default: return NULL;
    }
}

static bool is_connection(rd_kafka_resp_err_t code) {
    switch (code) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS: return true;
    default: return false;
    }
}

bool kafka_failed(const KafkaClient *c, rd_kafka_resp_err_t code, const char *text, const char *what,
                  Error *e) {
    const char *hint = hint_of(code);
    (void)c;
    fail(e, kind_of(code), "kafka: cannot %s: %s", what, text == NULL ? rd_kafka_err2str(code) : text);
    e->connection = is_connection(code);
    return hint == NULL ? false : fail_hint(e, "%s", hint);
}

bool kafka_error_failed(const KafkaClient *c, rd_kafka_error_t *error, const char *what, Error *e) {
    kafka_failed(c, rd_kafka_error_code(error), rd_kafka_error_string(error), what, e);
    rd_kafka_error_destroy(error);
    return false;
}

/* ---- what librdkafka tells ---- */

static void log_took(const rd_kafka_t *handle, int level, const char *facility, const char *text) {
    (void)handle;
    (void)level; /* what matters comes as an error, too */
    log_debug("librdkafka: %s: %s", facility, text);
}

static void error_took(rd_kafka_t *handle, int code, const char *reason, void *client) {
    KafkaClient *c = client;
    char fatal[ERROR_TEXT_SIZE];
    rd_kafka_resp_err_t why = (rd_kafka_resp_err_t)code;
    if (why == RD_KAFKA_RESP_ERR__FATAL) {
        why = rd_kafka_fatal_error(handle, fatal, sizeof fatal);
        reason = fatal;
        c->dead = true;
    }
    c->trouble_ms = clock_ms();
    kafka_failed(c, why, reason, "reach the brokers", &c->trouble);
    if (c->dead && c->trouble.kind == ERR_NONE)
        c->trouble.kind = ERR_RETRY;
}

static void report_took(rd_kafka_t *handle, const rd_kafka_message_t *message, void *client) {
    KafkaClient *c = client;
    char what[320];
    (void)handle;
    c->reported++;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        c->trouble_ms = 0;
        return;
    }
    if (c->refusal.kind != ERR_NONE || message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
        message->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        return;
    snprintf(what, sizeof what, "write a record of %zu bytes into topic \"%s\"", message->len,
             message->rkt == NULL ? "" : rd_kafka_topic_name(message->rkt));
    kafka_failed(c, message->err, NULL, what, &c->refusal);
    if (message->rkt != NULL && (message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                                 message->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
                                 message->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION))
        snprintf(c->refused_topic, sizeof c->refused_topic, "%s", rd_kafka_topic_name(message->rkt));
}

/* An answer, also one that asks for the same again, shows that nothing of its request is on its way any more. */
static rd_kafka_resp_err_t request_took(rd_kafka_t *handle, int socket, const char *broker, int32_t number,
                                        int16_t key, int16_t version, int32_t correlation, size_t size,
                                        void *client) {
    KafkaClient *c = client;
    (void)handle, (void)socket, (void)broker, (void)number, (void)version, (void)correlation, (void)size;
    if (key == END_TRANSACTION_KEY && atomic_fetch_add(&c->ends_unanswered, 1) > 0)
        atomic_store(&c->end_lost, true);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t response_took(rd_kafka_t *handle, int socket, const char *broker, int32_t number,
                                         int16_t key, int16_t version, int32_t correlation, size_t size,
                                         int64_t took_us, rd_kafka_resp_err_t code, void *client) {
    KafkaClient *c = client;
    (void)handle, (void)socket, (void)broker, (void)number, (void)version, (void)correlation, (void)size;
    (void)took_us;
    if (key == END_TRANSACTION_KEY && code == RD_KAFKA_RESP_ERR_NO_ERROR)
        atomic_fetch_sub(&c->ends_unanswered, 1);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t requests_watch(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *client,
                                          char *why, size_t why_size) {
    (void)conf, (void)why, (void)why_size;
    rd_kafka_resp_err_t code =
        rd_kafka_interceptor_add_on_request_sent(handle, OUR_NAME, request_took, client);
    return code != RD_KAFKA_RESP_ERR_NO_ERROR
               ? code
               : rd_kafka_interceptor_add_on_response_received(handle, OUR_NAME, response_took, client);
}

/* ---- settings ---- */

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, Error *e) {
    char why[ERROR_TEXT_SIZE];
    switch (rd_kafka_conf_set(conf, name, value, why, sizeof why)) {
    case RD_KAFKA_CONF_OK: return true;
    case RD_KAFKA_CONF_UNKNOWN:
        return fail(e, ERR_CONFIG, "\"kafka.config.%s\" is no setting of librdkafka %s", name,
                    rd_kafka_version_str());
    default: /* its own sentence says the value */
        return fail(e, ERR_CONFIG, "\"kafka.config.%s\" has a value that librdkafka does not take", name);
    }
}

static bool set_number(rd_kafka_conf_t *conf, const char *name, int64_t value, Error *e) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return set(conf, name, text, e);
}

int64_t kafka_given_number(const Config *cfg, const char *name, int64_t usual) {
    for (int pair = 0; pair < cfg->kafka.config.count; pair++)
        if (strcmp(cfg->kafka.config.items[pair].key, name) == 0)
            return strtoll(cfg->kafka.config.items[pair].value, NULL, 10);
    return usual;
}

int64_t kafka_transaction_ms(const Config *cfg) {
    return kafka_given_number(cfg, "transaction.timeout.ms", TRANSACTION_MS);
}

int64_t kafka_message_bytes(const Config *cfg) {
    return kafka_given_number(cfg, "message.max.bytes", MESSAGE_BYTES);
}

static bool set_reading(rd_kafka_conf_t *conf, const Config *cfg, Error *e) {
    return set(conf, "fetch.wait.max.ms", READ_WAIT, e) &&
           set_number(conf, "queued.max.messages.kbytes", cfg->memory_bytes / FETCHED_SHARE / 1024, e);
}

/* A record is given up by whoever waits for it, never by librdkafka: one that is left out must end the group (F88). */
static bool set_defaults(rd_kafka_conf_t *conf, const Config *cfg, KafkaUse use, Error *e) {
    char name[64];
    int64_t queue_bytes = cfg->memory_bytes / QUEUE_SHARE;
    int64_t transaction_ms = kafka_transaction_ms(cfg);
    snprintf(name, sizeof name, "walferry_%s", cfg->name);
    return set(conf, "bootstrap.servers", cfg->kafka.brokers, e) && set(conf, "client.id", name, e) &&
           set(conf, "partitioner", "murmur2_random", e) && set(conf, "compression.type", "lz4", e) &&
           set(conf, "linger.ms", "5", e) && set(conf, "message.timeout.ms", "0", e) &&
           set_number(conf, "queue.buffering.max.messages", queue_bytes / RECORD_BYTES, e) &&
           set_number(conf, "queue.buffering.max.kbytes", queue_bytes / 1024, e) &&
           set(conf, "socket.keepalive.enable", "true", e) &&
           set(conf, "reconnect.backoff.max.ms", BACK_MS, e) &&
           set_number(conf, "socket.timeout.ms", transaction_ms < SOCKET_MS ? transaction_ms : SOCKET_MS,
                      e) &&
           set(conf, "allow.auto.create.topics", "false", e) &&
           (use != KAFKA_READ || set_reading(conf, cfg, e)) &&
           set_number(conf, "transaction.timeout.ms", TRANSACTION_MS, e) &&
           (cfg->kafka.batch_bytes == 0 || cfg->kafka.batch_bytes > MESSAGE_BYTES ||
            set_number(conf, "batch.size", cfg->kafka.batch_bytes, e));
}

static bool set_given(rd_kafka_conf_t *conf, const Config *cfg, Error *e) {
    for (int pair = 0; pair < cfg->kafka.config.count; pair++) {
        const ConfigPair *given = &cfg->kafka.config.items[pair];
        for (size_t n = 0; n < sizeof OURS / sizeof *OURS; n++)
            if (strcmp(given->key, OURS[n]) == 0)
                return fail(e, ERR_CONFIG, "\"kafka.config.%s\" is set by walferry itself", given->key);
        if (!set(conf, given->key, given->value, e))
            return false;
    }
    return true;
}

static bool set_use(rd_kafka_conf_t *conf, KafkaUse use, const char *transactional_id, Error *e) {
    switch (use) {
    case KAFKA_LOOK: return set(conf, "isolation.level", "read_uncommitted", e);
    case KAFKA_READ:
        return set(conf, "isolation.level", "read_committed", e) &&
               set(conf, "enable.partition.eof", "true", e) &&
               set(conf, "auto.offset.reset", "error", e); /* what is gone is not skipped */
    case KAFKA_PRODUCE:
        /* Of several requests on their way the first may be refused (its broker does not know the partition yet) and the next
         * taken: a broker that has seen nothing of a producer takes any as the first. librdkafka 2.0.2 then reports both as
         * written. In a transaction it notices. */
        return set(conf, "enable.idempotence", "true", e) && set(conf, "max.in.flight", "1", e);
    case KAFKA_TRANSACT:
        return set(conf, "enable.idempotence", "true", e) &&
               set(conf, "transactional.id", transactional_id, e) &&
               set(conf, "delivery.report.only.error", "true", e);
    case KAFKA_TRY:
        return set(conf, "enable.idempotence", "true", e) &&
               set(conf, "transactional.id", transactional_id, e) && set(conf, "linger.ms", TRY_LINGER, e);
    }
    return false;
}

KafkaClient *kafka_client_new(const Config *cfg, KafkaUse use, const char *transactional_id, Error *e) {
    char why[ERROR_TEXT_SIZE];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    KafkaClient *c = memory_new(sizeof *c);
    c->cfg = cfg;
    c->use = use;
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_log_cb(conf, log_took);
    rd_kafka_conf_set_error_cb(conf, error_took);
    rd_kafka_conf_set_dr_msg_cb(conf, report_took);
    if (use == KAFKA_TRANSACT)
        rd_kafka_conf_interceptor_add_on_new(conf, OUR_NAME, requests_watch, c);
    bool ok =
        set_defaults(conf, cfg, use, e) && set_given(conf, cfg, e) && set_use(conf, use, transactional_id, e);
    rd_kafka_type_t type = use == KAFKA_READ ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER;
    if (ok && (c->handle = rd_kafka_new(type, conf, why, sizeof why)) != NULL)
        return c;
    if (ok)
        fail(e, ERR_CONFIG, "kafka: %s", why);
    if (!ok || use != KAFKA_TRANSACT) /* else librdkafka 2.0.2 has freed the interceptor, and would again */
        rd_kafka_conf_destroy(conf);
    free(c);
    return NULL;
}

void kafka_client_free(KafkaClient *c) {
    if (c == NULL)
        return;
    if (c->open && !c->undecided)
        kafka_abort(c, ABORT_MS);
    rd_kafka_purge(c->handle,
                   RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    rd_kafka_destroy_flags(c->handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free(c);
}

/* ---- waiting ---- */

KafkaWait kafka_wait_begin(const KafkaWait *like, int64_t most_ms) {
    KafkaWait wait = *like;
    wait.begun_ms = clock_ms();
    wait.asked_ms = wait.begun_ms;
    wait.most_ms = most_ms;
    wait.told = false;
    return wait;
}

void kafka_moved(KafkaWait *wait) {
    wait->begun_ms = clock_ms();
    if (wait->told && wait->metrics != NULL)
        metrics_activity(wait->metrics, "%s", "");
    wait->told = false;
}

static bool is_troubled(const KafkaClient *c, const KafkaWait *wait) {
    return c->trouble_ms != 0 && c->trouble_ms >= wait->begun_ms;
}

static void long_tell(const KafkaClient *c, KafkaWait *wait, const char *doing) {
    if (wait->told || clock_ms() - wait->begun_ms < TELL_AFTER_MS)
        return;
    wait->told = true;
    log_warn("kafka: %s takes long%s%s", doing, is_troubled(c, wait) ? ": " : "",
             is_troubled(c, wait) ? c->trouble.text : "");
    if (wait->metrics != NULL)
        metrics_activity(wait->metrics, "waiting for Kafka: %s", doing);
}

bool kafka_patient(const KafkaClient *c, KafkaWait *wait, const char *doing, Error *e) {
    int64_t now_ms = clock_ms();
    if (c->dead || (is_troubled(c, wait) && c->trouble.kind == ERR_CONFIG)) {
        *e = c->trouble;
        return false;
    }
    if (wait->ending != NULL && wait->ending(wait->context)) {
        wait->ending_ms = wait->ending_ms == 0 ? now_ms : wait->ending_ms;
        if (now_ms - wait->ending_ms >= LAST_MS)
            return fail(e, ERR_STOPPED, "stopping");
    }
    long_tell(c, wait, doing);
    if (wait->promising != NULL && now_ms - wait->asked_ms >= TELL_AFTER_MS) {
        bool promising = wait->promising(wait->sink, e);
        wait->asked_ms = clock_ms();
        if (!promising)
            return false;
    }
    if (now_ms - wait->begun_ms < wait->most_ms)
        return true;
    if (is_troubled(c, wait))
        *e = c->trouble;
    else
        fail(e, ERR_RETRY, "kafka: %s: no answer for %lld s", doing, (long long)wait->most_ms / 1000);
    e->connection = true;
    return false;
}

static bool refused(const KafkaClient *c, Error *e) {
    if (c->refusal.kind != ERR_NONE)
        *e = c->refusal;
    return c->refusal.kind != ERR_NONE;
}

bool kafka_serve(KafkaClient *c, int wait_ms, Error *e) {
    rd_kafka_poll(c->handle, wait_ms);
    if (c->dead)
        *e = c->trouble;
    return !c->dead && !refused(c, e);
}

bool kafka_drain(KafkaClient *c, KafkaWait *wait, Error *e) {
    uint64_t before = c->reported;
    while (c->reported < c->produced) {
        rd_kafka_flush(c->handle, SLICE_MS);
        if (refused(c, e))
            return false;
        if (c->reported > before)
            kafka_moved(wait);
        before = c->reported;
        if (c->reported < c->produced && !kafka_patient(c, wait, "writing records", e))
            return false;
    }
    return !refused(c, e);
}

/* Room is the sign that something moves: in a transaction there are no reports of what was written. */
bool kafka_produce(KafkaClient *c, const KafkaRecord *record, KafkaWait *wait, Error *e) {
    for (bool waited = false;; waited = true) {
        rd_kafka_resp_err_t code = rd_kafka_producev(
            c->handle, RD_KAFKA_V_RKT(record->topic), RD_KAFKA_V_PARTITION(record->partition),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY((void *)(uintptr_t)record->key.at, record->key.len),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value.at, record->value.len),
            RD_KAFKA_V_HEADERS(record->headers), RD_KAFKA_V_END);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            c->produced++;
            if (waited)
                kafka_moved(wait);
            return true;
        }
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL && kafka_serve(c, FULL_MS, e) &&
            kafka_patient(c, wait, "writing records", e))
            continue;
        if (record->headers != NULL)
            rd_kafka_headers_destroy(record->headers);
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return false;
        char what[320];
        snprintf(what, sizeof what, "write a record of %zu bytes into topic \"%s\"",
                 record->key.len + record->value.len, rd_kafka_topic_name(record->topic));
        return kafka_failed(c, code, NULL, what, e);
    }
}

/* ---- transactions ---- */

/* Of an answer: again is true where the same question may be put once more. */
static bool answered(KafkaClient *c, rd_kafka_error_t *error, const char *what, bool *again, Error *e) {
    *again = false;
    if (error == NULL)
        return true;
    if (rd_kafka_error_is_retriable(error) && !rd_kafka_error_txn_requires_abort(error) &&
        !rd_kafka_error_is_fatal(error)) {
        *again = true;
        rd_kafka_error_destroy(error);
        return false;
    }
    c->undecided = c->undecided && !rd_kafka_error_txn_requires_abort(error);
    rd_kafka_poll(c->handle, 0); /* a refusal says more */
    if (refused(c, e)) {
        rd_kafka_error_destroy(error);
        return false;
    }
    c->denied = rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    c->unknown = rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    return kafka_error_failed(c, error, what, e);
}

bool kafka_transact(KafkaClient *c, KafkaWait *wait, Error *e) {
    bool again = true;
    while (again) {
        if (answered(c, rd_kafka_init_transactions(c->handle, SLICE_MS),
                     "take over the job's transactional id", &again, e)) {
            kafka_moved(wait);
            return true;
        }
        rd_kafka_poll(c->handle, 10);
        if (again && !kafka_patient(c, wait, "taking over the job's transactional id", e))
            return false;
    }
    return false;
}

bool kafka_is_settled(const KafkaClient *c, Error *e) {
    return !atomic_load(&c->end_lost) ||
           fail(e, ERR_RETRY, "kafka: the connection was lost during a commit: going on with a new producer");
}

bool kafka_begin(KafkaClient *c, Error *e) {
    if (!kafka_is_settled(c, e))
        return false;
    rd_kafka_error_t *error = rd_kafka_begin_transaction(c->handle);
    c->open = error == NULL;
    return c->open || kafka_error_failed(c, error, "begin a transaction", e);
}

/* Before a commit is asked for: as long as it is not, the transaction can be given up. */
static bool all_written(KafkaClient *c, KafkaWait *wait, Error *e) {
    while (rd_kafka_flush(c->handle, SLICE_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        if (refused(c, e) || !kafka_patient(c, wait, "writing records", e))
            return false;
    return !refused(c, e);
}

bool kafka_commit(KafkaClient *c, KafkaWait *wait, Error *e) {
    bool again = true;
    if (!all_written(c, wait, e))
        return false;
    atomic_store(&c->ends_unanswered, 0);
    atomic_store(&c->end_lost, false);
    c->undecided = true;
    while (again) {
        if (answered(c, rd_kafka_commit_transaction(c->handle, SLICE_MS), "commit a transaction", &again,
                     e)) {
            c->open = c->undecided = false;
            kafka_moved(wait);
            return true;
        }
        rd_kafka_poll(c->handle, 0);
        if (again && !kafka_patient(c, wait, "committing a transaction", e))
            return false;
    }
    return false;
}

void kafka_abort(KafkaClient *c, int most_ms) {
    rd_kafka_purge(c->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_error_t *error = rd_kafka_abort_transaction(c->handle, most_ms);
    if (error != NULL)
        rd_kafka_error_destroy(error);
    c->open = false;
}
