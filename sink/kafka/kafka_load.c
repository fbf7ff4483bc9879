#include "sink/kafka/kafka_load.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/memory.h"
#include "sink/kafka/kafka_records.h"
#include "sink/kafka/topic_settings.h"

enum {
    TAKE_MS = 25000,
    PATIENCE_MS = 5 * 60000,
    CHUNK_ROWS = 50000, /* of a Kafka transaction */
    CHUNK_MS = 2000,
    LOOK_EVERY_ROWS = 256
};

struct KafkaLoader {
    SinkOptions options;
    Config cfg; /* the job's, with what its topics take */
    KafkaWait wait;
    KafkaClient *producer, *looker;
    KafkaRecords *records;
    Lsn born, snapshot;
    Arena *arena; /* of the table's relation */
    const Table *table;
    Relation *rel;
    uint32_t tables; /* begun so far */
    int64_t begun_ms, rows, chunk_rows;
};

KafkaLoader *kafka_loader_new(const SinkOptions *options, uint64_t system_id, Lsn born, int worker,
                              Error *e) {
    KafkaLoader *l = memory_new(sizeof *l);
    l->options = *options;
    l->born = born;
    l->arena = arena_new();
    l->wait = kafka_wait_begin(
        &(KafkaWait){.ending = options->ending, .context = options->context, .metrics = options->metrics},
        TAKE_MS);
    l->looker = kafka_client_new(options->cfg, KAFKA_LOOK, NULL, e);
    if (l->looker != NULL) {
        topic_settings_batch(l->looker, options->cfg, options->selection, &l->cfg, &l->wait);
        l->producer = control_worker_take(&l->cfg, system_id, worker, &l->wait, e);
    }
    l->records = l->producer == NULL ? NULL : kafka_records_new(options, l->producer, l->looker, e);
    if (l->records != NULL)
        return l;
    kafka_loader_free(l);
    return NULL;
}

void kafka_loader_free(KafkaLoader *l) {
    if (l == NULL)
        return;
    kafka_records_free(l->records);
    kafka_client_free(l->producer);
    kafka_client_free(l->looker);
    arena_free(l->arena);
    free(l);
}

/* As the stream would announce it. */
static void relation_make(KafkaLoader *l) {
    const Table *table = l->table;
    Column *columns = arena_alloc(l->arena, ((size_t)table->column_count + 1) * sizeof *columns);
    uint16_t count = 0;
    for (int at = 0; at < table->column_count; at++) {
        const TableColumn *column = &table->columns[at];
        if (column->taken && !column->generated)
            columns[count++] = (Column){column->name, column->type, column->modifier, column->identity_key};
    }
    l->rel = arena_alloc(l->arena, sizeof *l->rel);
    *l->rel = (Relation){.number = l->tables++,
                         .oid = table->oid,
                         .schema = table->schema,
                         .name = table->name,
                         .identity = table->identity_setting,
                         .column_count = count,
                         .columns = columns};
}

static bool chunk_begin(KafkaLoader *l, Error *e) {
    l->wait = kafka_wait_begin(&l->wait, PATIENCE_MS);
    l->begun_ms = clock_ms();
    l->chunk_rows = 0;
    return kafka_begin(l->producer, e);
}

static bool chunk_end(KafkaLoader *l, Error *e) {
    return FAULT("kafka.load_commit", e) && kafka_commit(l->producer, &l->wait, e);
}

bool kafka_loader_begin(KafkaLoader *l, const Table *table, Lsn snapshot, Error *e) {
    l->table = table;
    l->snapshot = snapshot;
    l->rows = 0;
    relation_make(l);
    return chunk_begin(l, e);
}

static SnapshotMark mark_of(const KafkaLoader *l, bool last) {
    return last ? SNAPSHOT_LAST_IN_TABLE : l->rows == 0 ? SNAPSHOT_FIRST_IN_TABLE : SNAPSHOT_TRUE;
}

bool kafka_loader_row(KafkaLoader *l, const Value *values, bool last, Error *e) {
    int64_t now_us = clock_wall_us();
    EventPlace place = {.end = l->snapshot,
                        .seq = -1,
                        .lsn = l->snapshot,
                        .committed_us = now_us,
                        .now_us = now_us,
                        .snapshot = mark_of(l, last)};
    if (!kafka_records_row(l->records, l->rel, values, &place, &l->wait, e))
        return false;
    l->rows++;
    l->chunk_rows++;
    if (l->chunk_rows % LOOK_EVERY_ROWS == 0 && !kafka_serve(l->producer, 0, e))
        return false;
    bool due = l->chunk_rows >= CHUNK_ROWS || clock_ms() - l->begun_ms >= CHUNK_MS;
    return !due || last || (chunk_end(l, e) && chunk_begin(l, e));
}

bool kafka_loader_end(KafkaLoader *l, Error *e) {
    return control_table_put(l->producer, l->table->full_name, l->born, l->snapshot, l->rows, &l->wait, e) &&
           chunk_end(l, e);
}

bool kafka_loader_leave(KafkaLoader *l, Error *e) {
    return !l->producer->open || chunk_end(l, e);
}
