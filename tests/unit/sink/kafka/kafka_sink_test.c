#include <stdlib.h>
#include <string.h>

#include "batches.h"
#include "core/clock.h"
#include "mock_cluster.h"
#include "sink/kafka/control_topic.h"
#include "sink/sink.h"
#include "testing.h"

/* The sink at a mock cluster of three brokers, which moves leaders, answers late and refuses on request (F85 to F88, F90). Its
 * changes are logical messages: they need no source. */
enum {
    BROKERS = 3,
    PARTITIONS = 4,
    PREFIXES = 12, /* the keys: they meet all partitions */
    ROUNDS_MAX = 128,
    WAIT_MS = 20000,
    PRODUCE = 0,
    ADD_PARTITIONS = 24,
    END_TRANSACTION = 26
};

static char control[] = "shop.walferry", prefix[] = "shop", messages[] = "shop.message";
static char dsn[] = "dbname=shop";
static const Position BEGIN = {{1000}, {1000}, 77, 1, {0}};

typedef struct Fixture {
    Cluster cluster;
    Metrics *metrics;
    Selection selection;
    SinkOptions options;
    Sink *sink;
    Lsn durable;
    uint64_t given; /* the newest transaction's end */
    bool begun_anew;
    /* What happens while the sink waits: */
    void (*meanwhile)(struct Fixture *f);
    int looks;
    Error e;
} Fixture;

static bool look(void *context) {
    Fixture *f = context;
    f->looks++;
    if (f->meanwhile != NULL)
        f->meanwhile(f);
    return false;
}

static void sink_begin(Fixture *f) {
    Position at;
    f->sink = sink_kafka.open(&f->options, &f->e);
    if (f->sink == NULL || !sink_kafka.peek(f->sink, &at, &f->e) || !sink_kafka.recover(f->sink, &at, &f->e))
        fail_test("recover: %s", f->e.text);
    f->durable = at.applied;
}

static void set(Fixture *f, const char *name, const char *value) {
    static char names[2][40], values[2][20];
    ConfigPairs *config = &f->cluster.cfg.kafka.config;
    int at = config->count++ - 1;
    snprintf(names[at], sizeof names[at], "%s", name);
    snprintf(values[at], sizeof values[at], "%s", value);
    f->cluster.pairs[at + 1] = (ConfigPair){names[at], values[at]};
}

static void fixture_begin(Fixture *f, KafkaDelivery delivery) {
    *f = (Fixture){.durable = {0}};
    cluster_start(&f->cluster, BROKERS);
    assert_int_equal(rd_kafka_mock_topic_create(f->cluster.mock, control, 1, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(f->cluster.mock, messages, PARTITIONS, 1), 0);
    Config *cfg = &f->cluster.cfg;
    cfg->source.dsn = dsn;
    cfg->kafka.prefix = prefix;
    cfg->kafka.control = control;
    cfg->kafka.delivery = delivery;
    cfg->kafka.replication = -1;
    cfg->retry.connection_ms = WAIT_MS;
    set(f, "batch.size",
        "1000000"); /* else the topics are asked for it, which this cluster does not answer */
    f->metrics = metrics_new();
    f->given = BEGIN.applied.at;
    f->options = (SinkOptions){.cfg = cfg,
                               .selection = &f->selection,
                               .metrics = f->metrics,
                               .begin = &BEGIN,
                               .ending = look,
                               .context = f};
}

static void sink_end(Fixture *f) {
    if (f->sink != NULL)
        sink_kafka.close(f->sink);
    f->sink = NULL;
}

static void fixture_end(Fixture *f) {
    sink_end(f);
    metrics_free(f->metrics);
    cluster_close(&f->cluster);
}

/* Transactions (BEGIN, upto], of a message for each prefix; those that are there already are skipped by the sink. */
static bool give(Fixture *f, uint64_t upto) {
    static char names[PREFIXES][4];
    Maker m = maker_new((uint32_t)(upto - BEGIN.applied.at) * PREFIXES);
    for (uint64_t end = BEGIN.applied.at + 1; end <= upto; end++) {
        for (int number = 0; number < PREFIXES; number++) {
            snprintf(names[number], sizeof names[number], "p%d", number);
            Change *change = maker_add(&m, CHANGE_MESSAGE, NULL);
            change->message.prefix = slice_text(names[number]);
            change->message.content = slice_text("x");
        }
        maker_commit(&m, (uint32_t)end, end);
    }
    Batch *b = maker_batch(&m);
    bool ok = sink_kafka.write(f->sink, b, &f->e);
    batch_drop(b);
    f->given = upto;
    return ok;
}

static bool settle(Fixture *f) {
    return sink_kafka.settle(f->sink, true, 1, &f->durable, &f->e);
}

/* A session that failed begins anew, as the pipeline would do it: with the position of before. In exactly-once mode the one that it
 * had not committed is to be seen in this cluster; it is taken back here. */
static void anew(Fixture *f) {
    Lsn before = f->durable;
    f->begun_anew = true;
    sink_end(f);
    if (f->options.cfg->kafka.delivery == DELIVERY_EXACTLY_ONCE) {
        ControlRecord record = {.exists = true, .position = BEGIN};
        KafkaWait wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, WAIT_MS);
        record.position.applied = record.position.bound = before;
        KafkaClient *other = control_take(f->options.cfg, BEGIN.system_id, 0, &wait, &f->e);
        assert_non_null(other);
        assert_true(control_write(other, &record, &wait, &f->e));
        kafka_client_free(other);
    }
    sink_begin(f);
    assert_false(lsn_before(f->durable, before));
}

static void deliver(Fixture *f, uint64_t upto) {
    for (int round = 0; round < 10; round++) {
        if (give(f, upto) && settle(f)) {
            assert_int_equal(f->durable.at, upto);
            return;
        }
        if (f->e.kind != ERR_RETRY)
            fail_test("%s", f->e.text);
        anew(f);
    }
    fail_test("it does not go on: %s", f->e.text);
}

/* ---- what the topic has ----*/

typedef struct Seen {
    int times[ROUNDS_MAX][PREFIXES];
    int64_t last[PREFIXES]; /* the newest transaction, by prefix */
} Seen;

static int64_t header_number(const rd_kafka_message_t *message, const char *name, int base) {
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    char text[24];
    assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
    assert_int_equal(rd_kafka_header_get_last(headers, name, &value, &size), 0);
    snprintf(text, sizeof text, "%.*s", (int)size, (const char *)value);
    return strtoll(base == 16 ? strchr(text, '/') + 1 : text, NULL, base);
}

static void message_take(Seen *seen, const rd_kafka_message_t *message, bool ordered) {
    int64_t end = header_number(message, "walferry.lsn", 16),
            seq = header_number(message, "walferry.seq", 10);
    int64_t round = end - (int64_t)BEGIN.applied.at - 1;
    assert_in_range(round, 0, ROUNDS_MAX - 1);
    assert_in_range(seq, 0, PREFIXES - 1);
    seen->times[round][seq]++;
    if (ordered)
        assert_true(seen->last[seq] <= end);
    seen->last[seq] = end;
}

static Seen topic_read(Fixture *f, bool ordered) {
    static Seen seen;
    memset(&seen, 0, sizeof seen);
    KafkaClient *reader = kafka_client_new(&f->cluster.cfg, KAFKA_READ, NULL, &f->e);
    assert_non_null(reader);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(reader->handle, messages, NULL);
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        bool ended = false;
        assert_int_equal(rd_kafka_consume_start(topic, partition, RD_KAFKA_OFFSET_BEGINNING), 0);
        while (!ended) {
            rd_kafka_message_t *message = rd_kafka_consume(topic, partition, WAIT_MS);
            assert_non_null(message);
            ended = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
            if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                message_take(&seen, message, ordered);
            rd_kafka_message_destroy(message);
        }
        rd_kafka_consume_stop(topic, partition);
    }
    rd_kafka_topic_destroy(topic);
    kafka_client_free(reader);
    return seen;
}

/* All is there; once and in order, unless a session had to begin anew: the mock hides nothing of what was aborted. */
static void assert_delivered(Fixture *f) {
    Seen seen = topic_read(f, !f->begun_anew);
    for (int number = 0; number < PREFIXES; number++)
        assert_int_equal(seen.last[number], f->given);
    for (uint64_t round = 0; round < f->given - BEGIN.applied.at; round++)
        for (int number = 0; number < PREFIXES; number++)
            if (seen.times[round][number] == 0 || (seen.times[round][number] > 1 && !f->begun_anew))
                fail_test("transaction %d, message %d: %d times", (int)round, number,
                          seen.times[round][number]);
}

static Lsn noted(Fixture *f) {
    ControlRecord record;
    Error e;
    KafkaWait wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, WAIT_MS);
    if (!control_read(&f->cluster.cfg, true, &wait, &record, &e))
        fail_test("%s", e.text);
    return record.position.applied;
}

/* ---- the tests ---- */

enum { STUCK_LOOKS = 8 };

/* One partition has no leader, while the others take what they get. */
static void stuck_for_a_while(Fixture *f) {
    assert_int_equal(f->durable.at, 1001);
    if (f->cluster.cfg.kafka.delivery == DELIVERY_AT_LEAST_ONCE)
        assert_int_equal(noted(f).at, 1001);
    if (f->looks >= STUCK_LOOKS)
        rd_kafka_mock_partition_set_leader(f->cluster.mock, messages, 1, 1);
}

/* F86. */
static void nothing_is_durable_before_the_partition_that_is_stuck(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    sink_begin(&f);
    deliver(&f, 1001);
    rd_kafka_mock_partition_set_leader(f.cluster.mock, messages, 1, -1);
    clock_sleep_ms(500);
    f.looks = 0;
    f.meanwhile = stuck_for_a_while;
    deliver(&f, 1005);
    assert_true(f.looks >= STUCK_LOOKS);
    assert_false(f.begun_anew);
    f.meanwhile = NULL;
    assert_int_equal(noted(&f).at, 1005);
    assert_delivered(&f);
    fixture_end(&f);
}

/* F85. */
static void leaders_move(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    sink_begin(&f);
    for (uint64_t round = 1; round <= 24; round++) {
        if (round % 4 == 0) {
            for (int32_t partition = 0; partition < PARTITIONS; partition++)
                rd_kafka_mock_partition_set_leader(f.cluster.mock, messages, partition,
                                                   (int32_t)((uint64_t)partition + round / 4) % BROKERS + 1);
            rd_kafka_mock_partition_set_leader(f.cluster.mock, control, 0,
                                               (int32_t)(round / 4 % BROKERS) + 1);
        }
        deliver(&f, 1000 + round);
    }
    assert_false(f.begun_anew);
    assert_delivered(&f);
    fixture_end(&f);
}

/* A broker goes away with its partitions, which get another leader a little later. */
static void leaders_die(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    sink_begin(&f);
    for (int32_t broker = 1; broker <= BROKERS; broker++) {
        deliver(&f, f.given + 2);
        rd_kafka_mock_broker_set_down(f.cluster.mock, broker);
        for (int32_t partition = 0; partition < PARTITIONS; partition++)
            rd_kafka_mock_partition_set_leader(f.cluster.mock, messages, partition, broker % BROKERS + 1);
        rd_kafka_mock_partition_set_leader(f.cluster.mock, control, 0, broker % BROKERS + 1);
        rd_kafka_mock_coordinator_set(f.cluster.mock, "transaction", "walferry.77.dts_sync_shop",
                                      broker % BROKERS + 1);
        deliver(&f, f.given + 2);
        rd_kafka_mock_broker_set_up(f.cluster.mock, broker);
    }
    assert_delivered(&f);
    fixture_end(&f);
}

/* F90. */
static void the_coordinator_moves(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    sink_begin(&f);
    for (int32_t round = 0; round < 6; round++) {
        rd_kafka_mock_coordinator_set(f.cluster.mock, "transaction", "walferry.77.dts_sync_shop",
                                      round % BROKERS + 1);
        deliver(&f, f.given + 1);
    }
    assert_delivered(&f);
    fixture_end(&f);
}

/* F87: it waits, and drops nothing. */
static void the_queue_is_full(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    set(&f, "queue.buffering.max.messages", "10");
    sink_begin(&f);
    rd_kafka_mock_broker_set_rtt(f.cluster.mock, -1, 10);
    deliver(&f, 1010);
    assert_false(f.begun_anew);
    assert_delivered(&f);
    fixture_end(&f);
}

/* F88: only where the user wants it is a record given up at all; and then its group is. */
static void records_that_time_out_are_sent_again(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    set(&f, "message.timeout.ms", "1000");
    sink_begin(&f);
    deliver(&f, 1001);
    rd_kafka_mock_partition_set_leader(f.cluster.mock, messages, 1, -1);
    clock_sleep_ms(500);
    assert_false(give(&f, 1003) && settle(&f));
    assert_int_equal(f.e.kind, ERR_RETRY);
    assert_int_equal(f.durable.at, 1001);
    rd_kafka_mock_partition_set_leader(f.cluster.mock, messages, 1, 2);
    anew(&f);
    deliver(&f, 1003);
    assert_delivered(&f);
    fixture_end(&f);
}

/* F90: without an answer for too long nothing is known, and nothing counts as durable. */
static void a_commit_without_an_answer(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    f.cluster.cfg.retry.connection_ms = 1000;
    set(&f, "transaction.timeout.ms", "3000");
    sink_begin(&f);
    deliver(&f, 1001);
    for (int32_t broker = 1; broker <= BROKERS; broker++)
        rd_kafka_mock_broker_push_request_error_rtts(f.cluster.mock, broker, END_TRANSACTION, 1,
                                                     RD_KAFKA_RESP_ERR_NO_ERROR, 5000);
    assert_false(give(&f, 1003) && settle(&f));
    assert_int_equal(f.e.kind, ERR_RETRY);
    assert_true(f.e.connection);
    assert_int_equal(f.durable.at, 1001);
    rd_kafka_mock_clear_request_errors(f.cluster.mock, END_TRANSACTION);
    anew(&f);
    deliver(&f, 1004);
    assert_delivered(&f);
    fixture_end(&f);
}

typedef struct Refusal {
    int16_t request;
    rd_kafka_resp_err_t code;
    bool passes; /* without a new producer */
} Refusal;

static const Refusal REFUSALS[] = {
    {PRODUCE, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, false},
    {PRODUCE, RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, false},
    {PRODUCE, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, false},
    {PRODUCE, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, false},
    {PRODUCE, RD_KAFKA_RESP_ERR_UNKNOWN, false},
    {PRODUCE, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, true},
    {PRODUCE, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, true},
    {PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, true},
    {PRODUCE, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, true},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, false},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, false},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, false},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, false},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, true},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, true},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, true},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, false},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, false},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, false},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, false},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_UNKNOWN, false},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, true},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, true},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, true},
    {END_TRANSACTION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, false},
};

/* Where a broker does not know the producer any more, librdkafka 2.0.2 numbers its records anew, and may then report one as written
 * that is not; in a transaction it does not. Brokers give that answer no more since Kafka 2.5. */
static bool is_asked(const Fixture *f, const Refusal *r) {
    return f->options.cfg->kafka.delivery == DELIVERY_EXACTLY_ONCE ||
           r->code != RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID;
}

/* F88, F90: whatever a broker answers, the group is sent, or sent again by a new producer; nothing else ends the job. */
static void what_brokers_refuse_is_sent_again(void **delivery) {
    Fixture f;
    fixture_begin(&f, *(KafkaDelivery *)*delivery);
    sink_begin(&f);
    for (size_t at = 0; at < sizeof REFUSALS / sizeof *REFUSALS; at++) {
        const Refusal *r = &REFUSALS[at];
        if (!is_asked(&f, r))
            continue;
        uint64_t before = f.given + 1;
        deliver(&f, before);
        rd_kafka_mock_push_request_errors(f.cluster.mock, r->request, 1, r->code);
        bool ok = give(&f, before + 2) && settle(&f);
        if (!ok && (f.e.kind != ERR_RETRY || f.durable.at != before || r->passes))
            fail_test("request %d, %s: %s", r->request, rd_kafka_err2name(r->code), f.e.text);
        if (!ok)
            anew(&f);
        deliver(&f, before + 2);
        rd_kafka_mock_clear_request_errors(f.cluster.mock, r->request);
    }
    assert_delivered(&f);
    fixture_end(&f);
}

int main(void) {
    static KafkaDelivery exactly = DELIVERY_EXACTLY_ONCE, at_least = DELIVERY_AT_LEAST_ONCE;
#define BOTH(test)                                                                                           \
    cmocka_unit_test_prestate(test, &exactly), {                                                             \
#test ", at least once", test, NULL, NULL, &at_least                                                 \
    }
    const struct CMUnitTest tests[] = {
        BOTH(nothing_is_durable_before_the_partition_that_is_stuck),
        BOTH(leaders_move),
        BOTH(leaders_die),
        BOTH(the_coordinator_moves),
        BOTH(the_queue_is_full),
        BOTH(records_that_time_out_are_sent_again),
        BOTH(a_commit_without_an_answer),
        BOTH(what_brokers_refuse_is_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
