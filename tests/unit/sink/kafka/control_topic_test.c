#include <string.h>

#include "mock_cluster.h"
#include "sink/kafka/control_topic.h"
#include "testing.h"

static char name[] = "shop", slot[] = "dts_sync_shop", control[] = "shop.walferry";

static Config config(void) {
    return (Config){.name = name, .slot = slot, .kafka = {.control = control}};
}

static bool parses(const char *text, ControlRecord *out) {
    Config cfg = config();
    Error e;
    bool ok = control_position_parse(&cfg, slice_text(text), out, &e);
    if (!ok)
        assert_int_equal(e.kind, ERR_LOST);
    return ok;
}

static void a_position_is_read_as_it_was_written(void **unused) {
    (void)unused;
    const ControlRecord records[] = {
        {.position = {{0x16B3748}, {0x16B3800}, UINT64_MAX, UINT32_MAX, {0}}},
        {.intent = true, .position = {{0}, {0}, 1, 1, {0}}},
        {.again = true, .workers = 3, .position = {{0x10}, {0x20}, 5, 2, {0x18}}},
        {.loading = true, .workers = 8, .position = {{UINT64_MAX}, {UINT64_MAX}, 7, 3, {0}}},
    };
    Config cfg = config();
    for (size_t n = 0; n < 4; n++) {
        ControlRecord read;
        Error e;
        Writer text = writer_new(1000);
        control_position_write(&text, &cfg, &records[n]);
        assert_true(control_position_parse(&cfg, writer_slice(&text), &read, &e));
        assert_memory_equal(&read.position, &records[n].position, sizeof read.position);
        assert_int_equal(read.intent, records[n].intent);
        assert_int_equal(read.loading, records[n].loading);
        assert_int_equal(read.again, records[n].again);
        assert_int_equal(read.workers, records[n].workers);
        assert_true(read.exists);
        writer_free(&text);
    }
}

#define GOOD                                                                                                 \
    "{\"version\":1,\"job\":\"shop\",\"slot\":\"dts_sync_shop\",\"system_identifier\":\"7\",\"timeline\":1," \
    "\"intent\":false,\"applied\":\"0/10\",\"bound\":\"0/20\"}"

/* Every prefix of it, and every byte of it changed: refused, or a position that holds together. */
static void what_is_damaged_is_refused(void **unused) {
    (void)unused;
    ControlRecord read;
    char text[sizeof GOOD];
    assert_true(parses(GOOD, &read));
    for (size_t length = 0; length < sizeof GOOD - 1; length++) {
        memcpy(text, GOOD, length);
        text[length] = '\0';
        assert_false(parses(text, &read));
    }
    for (size_t at = 0; at < sizeof GOOD - 1; at++)
        for (int byte = 1; byte < 256; byte++) {
            memcpy(text, GOOD, sizeof GOOD);
            text[at] = (char)byte;
            if (parses(text, &read))
                assert_false(lsn_before(read.position.bound, read.position.applied));
        }
}

static void what_is_of_another_job_is_refused(void **unused) {
    (void)unused;
    static const char *const wrong[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"version\":2}",
        "{\"version\":1,\"job\":\"shop\",\"slot\":\"dts_sync_other\",\"system_identifier\":\"7\","
        "\"timeline\":1,"
        "\"intent\":false,\"applied\":\"0/10\",\"bound\":\"0/20\"}",
        "{\"version\":1,\"job\":\"shop\",\"slot\":\"dts_sync_shop\",\"system_identifier\":\"7\",\"timeline\":"
        "1,"
        "\"intent\":false,\"applied\":\"0/30\",\"bound\":\"0/20\"}",
        "{\"version\":1,\"job\":\"shop\",\"slot\":\"dts_sync_shop\",\"system_identifier\":\"7x\","
        "\"timeline\":1,"
        "\"intent\":false,\"applied\":\"0/10\",\"bound\":\"0/20\"}",
        "{\"version\":1,\"job\":\"shop\",\"slot\":\"dts_sync_shop\",\"system_identifier\":\"7\",\"timeline\":"
        "0,"
        "\"intent\":false,\"applied\":\"0/10\",\"bound\":\"0/20\"}",
    };
    ControlRecord read;
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++)
        assert_false(parses(wrong[n], &read));
}

/* ---- reading ---- */

enum { LOOKS = 3, PATIENCE_MS = 20000 };

typedef struct Election {
    Cluster *cluster;
    int looks;
} Election;

/* Asked while somebody waits: after some looks there is a leader. */
static bool leader_elect(void *election) {
    Election *of = election;
    if (++of->looks == LOOKS)
        rd_kafka_mock_partition_set_leader(of->cluster->mock, control, 0, 1);
    return false;
}

/* A cluster that comes back has no leaders for a moment (found by the kill test, as a session that waited in vain for as long
 * as it may): librdkafka keeps what it was told of a topic, and does not ask again by itself. */
static void a_leader_that_comes_later_is_found(void **unused) {
    (void)unused;
    Cluster c;
    Error e;
    ControlRecord read;
    cluster_open(&c, control);
    c.cfg.kafka.control = control;
    assert_int_equal(rd_kafka_mock_partition_set_leader(c.mock, control, 0, -1), 0);
    Election election = {.cluster = &c};
    KafkaWait wait =
        kafka_wait_begin(&(KafkaWait){.ending = leader_elect, .context = &election}, PATIENCE_MS);
    assert_true(control_read(&c.cfg, false, &wait, &read, &e));
    assert_false(read.exists);
    assert_true(election.looks >= LOOKS);
    cluster_close(&c);
}

enum { WORKERS = 10, ANSWERS_AFTER_MS = 100, NOTHING_MOVES_MS = 3000 };

/* Each takes some answers of the brokers, and all together more time than a single step may. */
static void many_workers_are_settled_one_after_another(void **unused) {
    (void)unused;
    Cluster c;
    Error e;
    cluster_open(&c, control);
    c.cfg.kafka.control = control;
    rd_kafka_mock_broker_set_rtt(c.mock, -1, ANSWERS_AFTER_MS);
    KafkaWait wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, NOTHING_MOVES_MS);
    KafkaClient *producer = control_take(&c.cfg, 77, WORKERS, &wait, &e);
    if (producer == NULL)
        fail_test("%s", e.text);
    kafka_client_free(producer);
    cluster_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_position_is_read_as_it_was_written),
        cmocka_unit_test(what_is_damaged_is_refused),
        cmocka_unit_test(what_is_of_another_job_is_refused),
        cmocka_unit_test(a_leader_that_comes_later_is_found),
        cmocka_unit_test(many_workers_are_settled_one_after_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
