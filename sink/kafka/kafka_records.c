#include "sink/kafka/kafka_records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "proto/format.h"
#include "sink/kafka/kafka_blocks.h"
#include "sink/kafka/kafka_refused.h"
#include "sink/kafka/kafka_schemas.h"
#include "sink/kafka/known_topics.h"
#include "sink/kafka/source_facts.h"
#include "sink/kafka/source_values.h"
#include "sink/kafka/table_forms.h"
#include "sink/kafka/told_shapes.h"
#include "sink/kafka/topics.h"

enum {
    RECORD_LIMIT = 0x3fffffff,
    RECORD_OVERHEAD = 128,
    SCRATCH_BYTES = 1 << 20,
    FORMS_BYTES = 8 << 20,
    FORGET_EVERY = 64
};

/* What is made of a relation version. */
typedef struct Made {
    uint32_t number; /* of the version */
    const Relation *rel;
    unsigned repeats; /* of it, when the source's catalogs were asked */
    Arena *arena;     /* of the facts */
    KnownTopic *topic;
    const EventTable *facts;
    TableForm form;
    bool told;           /* its shape, where the job tells shapes */
    BlockTable *counted; /* NULL without blocks */
    UT_hash_handle hh;
} Made;

struct KafkaRecords {
    SinkOptions options;
    KafkaClient *producer;
    SourceFacts *facts;
    SourceValues *values; /* NULL: what a change does not carry is not read */
    EventOrigin origin;
    Format format;
    KafkaSchemas *schemas;
    KnownTopics *topics;
    TableForms *forms;
    Made *made;
    uint32_t made_count;
    Arena *scratch, *lasting;
    FormatTable *messages, *heartbeats, *shapes, *transactions;
    ToldShapes *told;
    KafkaBlocks *blocks; /* NULL: transactions are not told of */
    bool tells;          /* of the one under way */
    Records records;
};

static Format format_of(const Config *cfg, const EventOrigin *origin) {
    return (Format){.name = (FormatName)cfg->kafka.format,
                    .envelope = (FormatEnvelope)cfg->kafka.envelope,
                    .toast = (FormatToast)cfg->kafka.toast,
                    .schema = cfg->kafka.json_schema,
                    .single_object = cfg->kafka.registry.url == NULL,
                    .tombstones = cfg->kafka.tombstones,
                    .context = cfg->kafka.context_headers,
                    .special_fails = cfg->kafka.special == SPECIAL_FAIL,
                    .origin = origin};
}

KafkaRecords *kafka_records_new(const SinkOptions *options, KafkaClient *producer, KafkaClient *looker,
                                Error *e) {
    const Config *cfg = options->cfg;
    KafkaRecords *r = memory_new(sizeof *r);
    char database[256];
    r->options = *options;
    r->producer = producer;
    r->topics = known_topics_new(options, producer, looker);
    r->facts = source_facts_new(cfg);
    r->told = told_shapes_new();
    r->values = cfg->kafka.toast == KAFKA_TOAST_COMPLETE ? source_values_new(options) : NULL;
    r->scratch = arena_new();
    r->lasting = arena_new();
    r->records = records_new(RECORD_LIMIT);
    pg_dsn_database(cfg->source.dsn, database, sizeof database);
    r->origin =
        (EventOrigin){WALFERRY_VERSION, cfg->kafka.prefix, arena_text(r->lasting, slice_text(database))};
    r->format = format_of(cfg, &r->origin);
    r->forms = table_forms_new(&r->format, FORMS_BYTES);
    if (cfg->kafka.transactions == TRANSACTIONS_DEBEZIUM)
        r->blocks = kafka_blocks_new();
    r->schemas = kafka_schemas_new(options, &r->format, producer, e);
    if (r->schemas != NULL)
        return r;
    kafka_records_free(r);
    return NULL;
}

static void made_drop(KafkaRecords *r, Made *made) {
    table_form_forget(r->forms, &made->form);
    arena_free(made->arena);
    free(made);
}

static void made_free(KafkaRecords *r, Made *made) {
    HASH_DEL(r->made, made);
    r->made_count--;
    relation_forget(made->rel);
    made_drop(r, made);
}

void kafka_records_free(KafkaRecords *r) {
    if (r == NULL)
        return;
    Made *made, *next_made;
    told_shapes_free(r->told);
    HASH_ITER (hh, r->made, made, next_made)
        made_free(r, made);
    table_forms_free(r->forms);
    known_topics_free(r->topics);
    kafka_schemas_free(r->schemas);
    source_facts_free(r->facts);
    kafka_blocks_free(r->blocks);
    source_values_free(r->values);
    records_free(&r->records);
    arena_free(r->scratch);
    arena_free(r->lasting);
    free(r);
}

bool kafka_records_topics(KafkaRecords *r, KafkaWait *wait, Error *e) {
    return known_topics_make(r->topics, wait, e);
}

bool kafka_records_remain(KafkaRecords *r, KafkaWait *wait, Error *e) {
    return known_topics_remain(r->topics, wait, e);
}

/* ---- relation versions ---- */

static void made_forget_over(KafkaRecords *r) {
    Made *made, *next;
    HASH_ITER (hh, r->made, made, next)
        if (relation_is_over(made->rel))
            made_free(r, made);
}

/* With what a route adds to the key. */
static const EventTable *facts_of(KafkaRecords *r, Arena *arena, const Relation *rel, const char *topic,
                                  const Route *route, const char *plain, Error *e) {
    const EventTable *known = source_facts_table(r->facts, arena, rel, topic, (KindOptions){false}, e);
    if (known == NULL || route == NULL || route->key_field == NULL)
        return known;
    EventTable *table = arena_alloc(arena, sizeof *table);
    *table = *known;
    table->key_field = route->key_field;
    table->key_value = arena_text(arena, slice_text(plain));
    return table;
}

/* With a form whose schemas are told. */
static bool made_fill(KafkaRecords *r, Made *made, Error *e) {
    char plain[TOPIC_NAME_MAX + 1];
    const Relation *rel = made->rel;
    const Route *route = topic_route(r->options.cfg, rel->schema, rel->name, plain);
    const char *topic = made->topic->name;
    made->facts = facts_of(r, made->arena, rel, topic, route, plain, e);
    FormatTable *form = made->facts == NULL ? NULL : table_form_make(r->forms, &made->form, made->facts, e);
    if (form == NULL || kafka_schemas_tell(r->schemas, form, topic, e))
        return form != NULL;
    if (route != NULL && e->kind == ERR_DATA)
        fail_hint(
            e,
            "tables that a route gives one topic need schemas that are compatible with each other, here of "
            "\"%s.%s\": give them topics of their own in kafka.topics.route, or loosen the subject's "
            "compatibility in the registry",
            rel->schema, rel->name);
    return false;
}

static Made *made_new(KafkaRecords *r, const Relation *rel, unsigned repeats, KnownTopic *topic, Error *e) {
    Made *made = memory_new(sizeof *made);
    *made =
        (Made){.number = rel->number, .rel = rel, .repeats = repeats, .arena = arena_new(), .topic = topic};
    if (made_fill(r, made, e))
        return made;
    made_drop(r, made);
    return NULL;
}

/* The server announces a relation again behind any ALTER TABLE: what the announcement does not say (NOT NULL, defaults, the
 * key, an enum's labels) is asked again then. */
static Made *made_of(KafkaRecords *r, const Relation *rel, KafkaWait *wait, Error *e) {
    Made *before, *made;
    char name[TOPIC_NAME_MAX + 1];
    unsigned repeats = relation_repeats(rel);
    HASH_FIND(hh, r->made, &rel->number, sizeof rel->number, before);
    if (before != NULL && before->repeats == repeats)
        return before;
    topic_of_table(r->options.cfg, rel->schema, rel->name, name);
    KnownTopic *topic =
        topic_is_tables(r->options.cfg, name, e) ? known_topic(r->topics, name, wait, e) : NULL;
    made = topic == NULL ? NULL : made_new(r, rel, repeats, topic, e);
    if (made == NULL)
        return NULL;
    relation_remember(rel);
    if (before != NULL)
        made_free(r, before);
    if (r->blocks != NULL)
        made->counted = kafka_blocks_table(r->blocks, rel->schema, rel->name);
    HASH_ADD(hh, r->made, number, sizeof made->number, made);
    if (++r->made_count % FORGET_EVERY == 0)
        made_forget_over(r);
    return made;
}

/* ---- records ---- */

static rd_kafka_headers_t *headers_of(const KafkaRecords *r, const Record *record) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)record->header_count);
    for (int at = 0; at < record->header_count; at++) {
        Slice value = records_view(&r->records, record->headers[at].value);
        rd_kafka_header_add(headers, record->headers[at].name, -1, value.at, (ssize_t)value.len);
    }
    return headers;
}

/* Before the first of them is handed over: all the records of a change are written, or none. As librdkafka and the brokers
 * reckon it, but for compression. */
static bool records_fit(const KafkaRecords *r, const KnownTopic *topic, Error *e) {
    int64_t given = kafka_message_bytes(r->options.cfg);
    bool topics_own = topic->most_bytes > 0 && topic->most_bytes < given;
    size_t most = (size_t)(topics_own ? topic->most_bytes : given);
    for (int at = 0; at < r->records.count; at++) {
        const Record *record = &r->records.list[at];
        size_t bytes = RECORD_OVERHEAD + record->key.len + record->value.len;
        for (int header = 0; header < record->header_count; header++)
            bytes += strlen(record->headers[header].name) + record->headers[header].value.len + 10;
        if (bytes > most) {
            fail(e, ERR_DATA, "kafka: a record of %zu bytes for topic \"%s\" is larger than %s, %zu", bytes,
                 topic->name, topics_own ? "its max.message.bytes" : "message.max.bytes", most);
            return fail_hint(
                e, "raise message.max.bytes under kafka.config, and max.message.bytes of the topic; or set "
                   "kafka.refused to dead-letter");
        }
    }
    return true;
}

/* What the encoder made. Records without a key stay together, in partition 0 (trap C1). */
static bool records_send(KafkaRecords *r, const KnownTopic *topic, GroupList *list, KafkaWait *wait,
                         Error *e) {
    for (int at = 0; at < r->records.count; at++) {
        const Record *record = &r->records.list[at];
        KafkaRecord out = {.topic = topic->handle,
                           .partition = record->key.exists ? RD_KAFKA_PARTITION_UA : 0,
                           .key = records_view(&r->records, record->key),
                           .value = records_view(&r->records, record->value),
                           .headers = headers_of(r, record)};
        if (!kafka_produce(r->producer, &out, wait, e))
            return false;
        if (list != NULL)
            group_list_record(list, topic->number, topic->name);
    }
    return true;
}

static const EventBlock *block_next(KafkaRecords *r, const BlockTable *table, const EventPlace *place) {
    return r->tells ? kafka_blocks_next(r->blocks, table, place->lsn) : NULL;
}

/* What the encoder made was sent. */
static bool block_count(KafkaRecords *r, BlockTable *table) {
    if (r->tells)
        kafka_blocks_count(r->blocks, table, records_events(&r->records));
    return true;
}

/* ERR_DATA says of which change. */
static bool not_said(const Relation *rel, const EventPlace *place, Error *e) {
    if (e->kind == ERR_DATA || e->kind == ERR_LIMIT)
        fail_context(e, "change %" PRId64 " of the transaction that ends at " LSN_FMT "%s%s%s%s%s",
                     place->seq, LSN_ARGS(place->end), rel == NULL ? "" : ", table \"",
                     rel == NULL ? "" : rel->schema, rel == NULL ? "" : ".", rel == NULL ? "" : rel->name,
                     rel == NULL ? "" : "\"");
    return false;
}

static bool is_left_out(const KafkaRecords *r, const Relation *rel, ChangeKind kind) {
    return (selection_choice(r->options.selection, rel->schema, rel->name).takes & 1u << kind) == 0;
}

/* Instead of the change's own records, in the same place among the others. */
static bool letter_write(KafkaRecords *r, const Made *made, const Event *event, const Error *why,
                         KafkaWait *wait, Error *e) {
    char name[TOPIC_NAME_MAX + 1];
    topic_of_dead_letters(r->options.cfg, name);
    KnownTopic *topic = known_topic(r->topics, name, wait, e);
    if (topic == NULL)
        return false;
    Writer text = writer_new(RECORD_LIMIT);
    kafka_refused_write(&text, made->topic->name, made->rel, event, why);
    KafkaRecord record = {.topic = topic->handle, .partition = 0, .value = writer_slice(&text)};
    bool ok = kafka_produce(r->producer, &record, wait, e);
    writer_free(&text);
    log_warn("kafka: written into topic \"%s\" instead: %s", name, why->text);
    atomic_fetch_add(&r->options.metrics->dead_letters, 1);
    return ok;
}

static bool event_write(KafkaRecords *r, Made *made, const Event *event, GroupList *list, KafkaWait *wait,
                        Error *e) {
    Error why;
    const FormatTable *form = table_form_use(r->forms, &made->form);
    if (format_event(form, event, r->scratch, &r->records, &why) && records_fit(r, made->topic, &why))
        return (records_send(r, made->topic, list, wait, e) && block_count(r, made->counted)) ||
               not_said(made->rel, event->place, e);
    not_said(made->rel, event->place, &why);
    if (r->options.cfg->kafka.refused == REFUSED_DEAD_LETTER &&
        (why.kind == ERR_DATA || why.kind == ERR_LIMIT))
        return letter_write(r, made, event, &why, wait, e);
    *e = why;
    return false;
}

/* ---- shapes ---- */

/* It is made of the catalogs: no data is lost with it. */
static bool shape_may_lack(const KafkaRecords *r, const Error *why) {
    if (r->options.cfg->kafka.refused != REFUSED_DEAD_LETTER ||
        (why->kind != ERR_DATA && why->kind != ERR_LIMIT))
        return false;
    log_warn("kafka: the shape of a table is not told: %s", why->text);
    return true;
}

/* Before the first row that looks like this. What was told in a session that ended early may not be there, so every session
 * begins anew. No change of data, and in no list of transactions. */
static bool shape_tell(KafkaRecords *r, Made *made, const EventPlace *place, KafkaWait *wait, Error *e) {
    char name[TOPIC_NAME_MAX + 1];
    EventShape shape = {.place = place, .table = made->facts};
    if (made->told || !r->options.cfg->kafka.schema_changes)
        return true;
    made->told = true;
    if (told_shapes_same(r->told, made->rel->oid, shape.table, &shape.altered))
        return true;
    topic_of_shapes(r->options.cfg, name);
    KnownTopic *topic = known_topic(r->topics, name, wait, e);
    if (topic == NULL)
        return false;
    if (r->shapes == NULL &&
        !kafka_schemas_tell(r->schemas, r->shapes = format_shapes_new(r->lasting, &r->format), name, e))
        return false;
    if (!format_shape(r->shapes, &shape, r->scratch, &r->records, e) || !records_fit(r, topic, e)) {
        not_said(made->rel, place, e);
        return shape_may_lack(r, e);
    }
    const Record *said = &r->records.list[0];
    KafkaRecord record = {.topic = topic->handle,
                          .partition = 0,
                          .key = records_view(&r->records, said->key),
                          .value = records_view(&r->records, said->value),
                          .headers = headers_of(r, said)};
    return kafka_produce(r->producer, &record, wait, e);
}

static bool write_row(KafkaRecords *r, const Change *change, const Relation *rel, EventOp op,
                      const EventPlace *place, GroupList *list, KafkaWait *wait, Error *e) {
    Made *made = made_of(r, rel, wait, e);
    if (made == NULL || !shape_tell(r, made, place, wait, e))
        return false;
    bool truncate = op == EVENT_TRUNCATE;
    Event event = {.op = op,
                   .place = place,
                   .block = block_next(r, made->counted, place),
                   .before = truncate ? NULL : change->row.before,
                   .after = truncate ? NULL : change->row.after};
    if (r->values != NULL && !truncate &&
        !source_values_complete(r->values, change, made->facts, r->scratch, &event, e))
        return false;
    return event_write(r, made, &event, list, wait, e);
}

static bool write_message(KafkaRecords *r, const Change *change, const EventPlace *place, GroupList *list,
                          KafkaWait *wait, Error *e) {
    char name[TOPIC_NAME_MAX + 1];
    topic_of_messages(r->options.cfg, name);
    KnownTopic *topic = known_topic(r->topics, name, wait, e);
    if (topic == NULL)
        return false;
    if (r->messages == NULL &&
        !kafka_schemas_tell(r->schemas, r->messages = format_messages_new(r->lasting, &r->format), name, e))
        return false;
    BlockTable *counted = r->tells ? kafka_blocks_table(r->blocks, NULL, "message") : NULL;
    EventMessage message = {.place = place,
                            .block = block_next(r, counted, place),
                            .prefix = change->message.prefix,
                            .content = change->message.content};
    return (format_message(r->messages, &message, &r->records, e) && records_send(r, topic, list, wait, e) &&
            block_count(r, counted)) ||
           not_said(NULL, place, e);
}

/* No change of data, and in no list of transactions. */
static bool write_beat(KafkaRecords *r, const EventPlace *place, KafkaWait *wait, Error *e) {
    char name[TOPIC_NAME_MAX + 1];
    if (r->options.cfg->source.heartbeat_ms == 0)
        return true; /* one by which an end is found */
    topic_of_heartbeat(r->options.cfg, name);
    KnownTopic *topic = known_topic(r->topics, name, wait, e);
    if (topic == NULL)
        return false;
    if (r->heartbeats == NULL &&
        !kafka_schemas_tell(r->schemas, r->heartbeats = format_heartbeats_new(r->lasting, &r->format), name,
                            e))
        return false;
    if (!format_heartbeat(r->heartbeats, place->committed_us, &r->records, e))
        return false;
    KafkaRecord record = {.topic = topic->handle,
                          .partition = 0,
                          .key = records_view(&r->records, r->records.list[0].key),
                          .value = records_view(&r->records, r->records.list[0].value)};
    return kafka_produce(r->producer, &record, wait, e);
}

static bool write_change(KafkaRecords *r, const Change *change, const EventPlace *place, GroupList *list,
                         uint64_t *left_out, KafkaWait *wait, Error *e) {
    static const EventOp ops[] = {EVENT_CREATE, EVENT_UPDATE, EVENT_DELETE};
    switch (change->kind) {
    case CHANGE_INSERT:
    case CHANGE_UPDATE:
    case CHANGE_DELETE:
        if (is_left_out(r, change->rel, change->kind)) {
            ++*left_out;
            return true;
        }
        return write_row(r, change, change->rel, ops[change->kind], place, list, wait, e);
    case CHANGE_TRUNCATE: /* one a table; they share their seq */
        for (uint32_t table = 0; table < change->truncate.count; table++) {
            const Relation *rel = change->truncate.rels[table];
            if (is_left_out(r, rel, CHANGE_TRUNCATE))
                ++*left_out;
            else if (!write_row(r, change, rel, EVENT_TRUNCATE, place, list, wait, e))
                return false;
        }
        return true;
    case CHANGE_MESSAGE: return write_message(r, change, place, list, wait, e);
    case CHANGE_BEAT: return write_beat(r, place, wait, e);
    }
    return false;
}

/* A record of <prefix>.transaction: no change of data, and in no list of transactions. */
static bool write_transaction(KafkaRecords *r, const EventTransaction *transaction, KafkaWait *wait,
                              Error *e) {
    char name[TOPIC_NAME_MAX + 1];
    topic_of_transactions(r->options.cfg, name);
    KnownTopic *topic = known_topic(r->topics, name, wait, e);
    if (topic == NULL)
        return false;
    if (r->transactions == NULL &&
        !kafka_schemas_tell(r->schemas, r->transactions = format_transactions_new(r->lasting, &r->format),
                            name, e))
        return false;
    return format_transaction(r->transactions, transaction, r->scratch, &r->records, e) &&
           records_send(r, topic, NULL, wait, e);
}

/* Of those outside of transactions, and of those that this program made itself (beats), nobody is told. One that is
 * empty for another reason is told of: Debezium does so. */
static bool is_told(const Transaction *tx) {
    bool ours = tx->ends && tx->seqs > 0;
    for (uint32_t at = 0; at < tx->count && ours; at++)
        ours = tx->changes[at].kind == CHANGE_BEAT;
    return tx->xid != 0 && !ours;
}

static bool transaction_begin(KafkaRecords *r, const Transaction *tx, EventPlace *place, KafkaWait *wait,
                              Error *e) {
    r->tells = r->blocks != NULL && is_told(tx);
    if (!r->tells)
        return true;
    place->seq = 0;
    EventTransaction begin = kafka_blocks_begin(r->blocks, place, tx->began);
    return write_transaction(r, &begin, wait, e);
}

static bool transaction_end(KafkaRecords *r, const Transaction *tx, EventPlace *place, KafkaWait *wait,
                            Error *e) {
    if (!r->tells)
        return true;
    place->seq = tx->seqs;
    EventTransaction end = kafka_blocks_end(r->blocks, place);
    return write_transaction(r, &end, wait, e);
}

static void scratch_empty(KafkaRecords *r) {
    if (arena_bytes(r->scratch) < SCRATCH_BYTES)
        return;
    arena_free(r->scratch);
    r->scratch = arena_new();
}

bool kafka_records_write(KafkaRecords *r, const Transaction *tx, Lsn last_end, GroupList *list,
                         uint64_t *left_out, KafkaWait *wait, Error *e) {
    EventPlace place = {.end = tx->end,
                        .xid = tx->xid,
                        .last_commit = last_end,
                        .committed_us = tx->committed_us,
                        .now_us = clock_wall_us()};
    if (tx->begins && !transaction_begin(r, tx, &place, wait, e))
        return false;
    for (uint32_t at = 0; at < tx->count; at++) {
        place.seq = tx->changes[at].seq;
        place.lsn = tx->changes[at].at;
        if (!write_change(r, &tx->changes[at], &place, list, left_out, wait, e))
            return false;
        scratch_empty(r);
    }
    return !tx->ends || transaction_end(r, tx, &place, wait, e);
}

bool kafka_records_row(KafkaRecords *r, const Relation *rel, const Value *values, const EventPlace *place,
                       KafkaWait *wait, Error *e) {
    Made *made = made_of(r, rel, wait, e);
    Event event = {.op = EVENT_READ, .place = place, .after = values};
    if (made == NULL || !shape_tell(r, made, place, wait, e))
        return false;
    scratch_empty(r);
    return event_write(r, made, &event, NULL, wait, e);
}

void kafka_records_ahead(KafkaRecords *r, const Batch *batch) {
    if (r->values != NULL)
        source_values_ahead(r->values, batch);
}

void kafka_records_rest(KafkaRecords *r) {
    source_facts_rest(r->facts, clock_ms());
    if (r->values != NULL)
        source_values_rest(r->values, clock_ms());
}
