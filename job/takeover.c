#include "job/takeover.h"

#include <string.h>

#include "core/config_expand.h"
#include "core/fault.h"
#include "core/log.h"
#include "decoder/slot.h"
#include "proto/debezium_offsets.h"
#include "sink/kafka/topic_reader.h"

static const char SQL_COPY[] = "SELECT pg_catalog.pg_copy_logical_replication_slot($1, $2)";

#define TOPIC "topic:" /* what stands before its name */

enum { OFFSETS_BYTES_MAX = 16 << 20, KAFKA_WAIT_MS = 60000 };

static bool file_read(const char *path, DebeziumOffsets *offsets, Error *e) {
    Writer file = writer_new(OFFSETS_BYTES_MAX);
    bool ok = config_file_read(path, OFFSETS_BYTES_MAX, &file, e) &&
              debezium_offsets_file(offsets, writer_slice(&file), e);
    writer_free(&file);
    return ok || fail_context(e, "%s", path);
}

static bool records_read(KafkaClient *client, const char *topic, KafkaWait *wait, DebeziumOffsets *offsets,
                         Error *e) {
    TopicEnds ends;
    TopicRecord record;
    bool ended = false;
    if (!topic_ends_find(client, topic, wait, &ends, e))
        return false;
    TopicReader *reader = ends.count == 0 ? NULL : topic_reader_new(client, topic, &ends, wait, e);
    bool ok = reader != NULL;
    while (ok && !ended) {
        ok = topic_reader_next(reader, &ended, &record, e);
        if (ok && !ended && record.key.at != NULL)
            debezium_offsets_record(offsets, record.key, record.value);
    }
    topic_reader_free(reader);
    if (ends.count == 0) {
        fail(e, ERR_CONFIG, "there is no topic \"%s\", or this account may not see it", topic);
        fail_hint(e,
                  "name the offset.storage.topic of the Connect workers, which has to be at kafka.brokers");
    }
    topic_ends_free(&ends);
    return ok;
}

static bool topic_read(Walk *walk, const char *topic, DebeziumOffsets *offsets, Error *e) {
    KafkaWait wait = walk_wait_kafka(walk, KAFKA_WAIT_MS);
    KafkaClient *client = kafka_client_new(walk->job->cfg, KAFKA_READ, NULL, e);
    bool ok = client != NULL && records_read(client, topic, &wait, offsets, e);
    kafka_client_free(client);
    return ok;
}

static bool offset_find(Walk *walk, bool *found, DebeziumOffset *out, Error *e) {
    const Job *job = walk->job;
    DebeziumOffsets *offsets = debezium_offsets_new(job->cfg->kafka.prefix);
    bool topic = strncmp(job->from_debezium, TOPIC, strlen(TOPIC)) == 0;
    bool ok = (topic ? topic_read(walk, job->from_debezium + strlen(TOPIC), offsets, e)
                     : file_read(job->from_debezium, offsets, e)) &&
              debezium_offsets_choose(offsets, job->debezium_connector, found, out, e);
    debezium_offsets_free(offsets);
    return ok;
}

static bool offset_read(Walk *walk, DebeziumOffset *out, Error *e) {
    const Job *job = walk->job;
    const char *name = job->debezium_connector;
    bool found;
    if (!offset_find(walk, &found, out, e))
        return false;
    if (!found) {
        fail(e, ERR_CONFIG, "%s has no connector%s%s%s whose topic.prefix is \"%s\"", job->from_debezium,
             name == NULL ? "" : " \"", name == NULL ? "" : name, name == NULL ? "" : "\"",
             job->cfg->kafka.prefix);
        return fail_hint(e, "kafka.prefix has to be the connector's topic.prefix");
    }
    if (!out->snapshot)
        return true;
    fail(e, ERR_CONFIG, "the connector was in the middle of its first snapshot");
    return fail_hint(e, "let it finish, or begin without --from-debezium");
}

/* A publication that is made now does not exist where the slot stands. */
static bool publication_fits(const Config *cfg, Error *e) {
    if (strcmp(cfg->source.publication, cfg->slot) != 0)
        return true;
    fail(e, ERR_CONFIG, "\"source.publication\" has to be the connector's");
    return fail_hint(
        e, "set it to the connector's publication.name, which is dbz_publication where it is not set");
}

static bool slot_fits(Walk *walk, SlotView *slot, Error *e) {
    const char *name = walk->job->debezium_slot;
    if (!slot_look(walk->source, name, slot, e))
        return false;
    if (!slot->exists || !slot->logical || strcmp(slot->plugin, "pgoutput") != 0) {
        fail(e, ERR_CONFIG,
             slot->exists ? "slot \"%s\" is not a pgoutput slot" : "the source has no slot \"%s\"", name);
        return fail_hint(e, "name the connector's slot.name by --debezium-slot");
    }
    if (slot->active) {
        fail(e, ERR_CONFIG, "slot \"%s\" is in use by PID %lld", name, (long long)slot->active_pid);
        return fail_hint(e, "stop the connector first");
    }
    if (strcmp(slot->wal_status, "lost") != 0)
        return true;
    fail(e, ERR_LOST, "slot \"%s\" has lost its WAL", name);
    return fail_hint(e, "begin without --from-debezium");
}

bool takeover_look(Walk *walk, Lsn *applied, Error *e) {
    DebeziumOffset offset;
    SlotView slot;
    if (!publication_fits(walk->job->cfg, e) || !offset_read(walk, &offset, e) || !slot_fits(walk, &slot, e))
        return false;
    *applied = offset.commit;
    return true;
}

bool takeover_slot(Walk *walk, Lsn applied, Lsn *bound, Error *e) {
    SlotView slot;
    const char *const params[] = {walk->job->debezium_slot, walk->job->cfg->slot};
    if (!FAULT("takeover.before_slot", e) || !slot_fits(walk, &slot, e))
        return false;
    PGresult *copied = pg_query(walk->source, SQL_COPY, 2, params, e);
    PQclear(copied);
    if (copied == NULL)
        return false;
    *bound = lsn_max(applied, slot.confirmed);
    log_info("slot \"%s\" made as a copy of \"%s\"; going on behind " LSN_FMT
             ", up to which the connector has written",
             walk->job->cfg->slot, walk->job->debezium_slot, LSN_ARGS(applied));
    return true;
}
