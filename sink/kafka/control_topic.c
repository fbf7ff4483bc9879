#include "sink/kafka/control_topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/clock.h"
#include "core/json_text.h"
#include "sink/kafka/topics.h"

enum {
    SLICE_MS = 200,
    TAIL_FIRST = 100, /* records from the end that are read at first; ten times as many then */
    TEXT_MAX = 4096,
    WORKERS_MAX = 1024,
    REMOVE_MS = 30000
};

/* ---- text ---- */

static void lsn_member(Writer *out, const char *name, Lsn lsn) {
    writer_format(out, ",\"%s\":\"" LSN_FMT "\"", name, LSN_ARGS(lsn));
}

void control_position_write(Writer *out, const Config *cfg, const ControlRecord *record) {
    const Position *at = &record->position;
    writer_text(out, "{\"version\":1,\"job\":");
    json_text_write(out, slice_text(cfg->name));
    writer_text(out, ",\"slot\":");
    json_text_write(out, slice_text(cfg->slot));
    writer_format(out, ",\"system_identifier\":\"%" PRIu64 "\",\"timeline\":%" PRIu32 ",\"intent\":%s",
                  at->system_id, at->timeline, record->intent ? "true" : "false");
    if (record->loading)
        writer_format(out, ",\"loading\":true,\"workers\":%d", record->workers);
    if (record->again && !record->loading)
        writer_format(out, ",\"again\":true,\"workers\":%d", record->workers);
    lsn_member(out, "applied", at->applied);
    lsn_member(out, "bound", at->bound);
    if (!lsn_is_none(at->loaded))
        lsn_member(out, "loaded", at->loaded);
    writer_u8(out, '}');
}

static bool lsn_read(json_t *root, const char *name, Lsn *out) {
    const char *text = json_string_value(json_object_get(root, name));
    return text != NULL && lsn_parse(text, out);
}

static bool parse(json_t *root, const Config *cfg, ControlRecord *out) {
    const char *slot = json_string_value(json_object_get(root, "slot"));
    const char *system = json_string_value(json_object_get(root, "system_identifier"));
    char *end = NULL;
    if (json_integer_value(json_object_get(root, "version")) != 1 || slot == NULL || system == NULL ||
        strcmp(slot, cfg->slot) != 0)
        return false;
    *out = (ControlRecord){.exists = true};
    out->intent = json_is_true(json_object_get(root, "intent"));
    out->loading = json_is_true(json_object_get(root, "loading"));
    out->again = !out->loading && json_is_true(json_object_get(root, "again"));
    json_int_t workers = json_integer_value(json_object_get(root, "workers"));
    out->workers = workers > 0 && workers <= WORKERS_MAX ? (int)workers : 0;
    out->position.system_id = strtoull(system, &end, 10);
    json_int_t timeline = json_integer_value(json_object_get(root, "timeline"));
    out->position.timeline = (uint32_t)timeline;
    return *end == '\0' && timeline > 0 && timeline <= UINT32_MAX &&
           lsn_read(root, "applied", &out->position.applied) &&
           lsn_read(root, "bound", &out->position.bound) &&
           (json_object_get(root, "loaded") == NULL || lsn_read(root, "loaded", &out->position.loaded)) &&
           !lsn_before(out->position.bound, out->position.applied);
}

bool control_position_parse(const Config *cfg, Slice text, ControlRecord *out, Error *e) {
    json_error_t error;
    json_t *root = json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES, &error);
    bool ok = root != NULL && parse(root, cfg, out);
    json_decref(root);
    if (ok)
        return true;
    fail(e, ERR_LOST, "topic \"%s\" holds a position of job \"%s\" that is not one of walferry's",
         cfg->kafka.control, cfg->name);
    return fail_hint(e, "another program writes there, or a newer walferry: choose another kafka.control");
}

/* Of the position; or of a group, of a table, of the tables that are to be loaded again. */
typedef struct Key {
    Lsn group;
    const char *table;
    bool again;
} Key;

static void key_write(Writer *out, const Config *cfg, Key key) {
    writer_text(out, "{\"job\":");
    json_text_write(out, slice_text(cfg->name));
    if (!lsn_is_none(key.group))
        lsn_member(out, "lsn", key.group);
    if (key.table != NULL) {
        writer_text(out, ",\"table\":");
        json_text_write(out, slice_text(key.table));
    }
    if (key.again)
        writer_text(out, ",\"again\":true");
    writer_u8(out, '}');
}

/* ---- writing ---- */

/* The topic with its name; always false. */
static bool topic_failed(const KafkaClient *client, rd_kafka_resp_err_t code, const char *text,
                         const char *doing, Error *e) {
    char what[TOPIC_NAME_MAX + 32];
    snprintf(what, sizeof what, "%s topic \"%s\"", doing, client->cfg->kafka.control);
    return kafka_failed(client, code, text, what, e);
}

static bool put_as(KafkaClient *producer, Slice key, Slice value, KafkaWait *wait, Error *e) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer->handle, producer->cfg->kafka.control, NULL);
    if (topic == NULL)
        return topic_failed(producer, rd_kafka_last_error(), NULL, "use", e);
    KafkaRecord record = {.topic = topic, .partition = 0, .key = key, .value = value};
    bool ok = kafka_produce(producer, &record, wait, e);
    rd_kafka_topic_destroy(topic);
    return ok;
}

static bool put(KafkaClient *producer, Key of, Slice value, KafkaWait *wait, Error *e) {
    Writer key = writer_new(TEXT_MAX);
    key_write(&key, producer->cfg, of);
    bool ok = put_as(producer, writer_slice(&key), value, wait, e);
    writer_free(&key);
    return ok;
}

bool control_position_put(KafkaClient *producer, const ControlRecord *record, KafkaWait *wait, Error *e) {
    Writer text = writer_new(TEXT_MAX);
    control_position_write(&text, producer->cfg, record);
    bool ok = put(producer, (Key){.table = NULL}, writer_slice(&text), wait, e);
    writer_free(&text);
    return ok;
}

bool control_group_put(KafkaClient *producer, Lsn end, Slice value, KafkaWait *wait, Error *e) {
    return put(producer, (Key){.group = end}, value, wait, e);
}

bool control_table_put(KafkaClient *producer, const char *table, Lsn born, Lsn snapshot, int64_t rows,
                       KafkaWait *wait, Error *e) {
    Writer text = writer_new(TEXT_MAX);
    writer_text(&text, "{\"version\":1");
    lsn_member(&text, "born", born);
    lsn_member(&text, "lsn", snapshot);
    writer_format(&text, ",\"rows\":%" PRId64 "}", rows);
    bool ok = put(producer, (Key){.table = table}, writer_slice(&text), wait, e);
    writer_free(&text);
    return ok;
}

bool control_table_forget(KafkaClient *producer, const char *table, KafkaWait *wait, Error *e) {
    return put(producer, (Key){.table = table}, (Slice){NULL, 0}, wait, e);
}

bool control_again_put(KafkaClient *producer, const json_t *tables, KafkaWait *wait, Error *e) {
    char *names = tables == NULL ? NULL : json_dumps(tables, JSON_COMPACT);
    Slice value = names == NULL ? (Slice){NULL, 0} : slice_text(names);
    bool ok = put(producer, (Key){.again = true}, value, wait, e);
    free(names);
    return ok;
}

bool control_schema_put(KafkaClient *producer, uint64_t fingerprint, const char *topic, bool key,
                        Slice schema, KafkaWait *wait, Error *e) {
    Writer name = writer_new(TEXT_MAX), text = writer_new(SIZE_MAX);
    writer_text(&name, "{\"job\":");
    json_text_write(&name, slice_text(producer->cfg->name));
    writer_format(&name, ",\"schema\":\"%016" PRIx64 "\"}", fingerprint);
    writer_text(&text, "{\"version\":1,\"topic\":");
    json_text_write(&text, slice_text(topic));
    writer_format(&text, ",\"part\":\"%s\",\"schema\":", key ? "key" : "value");
    writer_bytes(&text, schema);
    writer_u8(&text, '}');
    bool ok = put_as(producer, writer_slice(&name), writer_slice(&text), wait, e);
    writer_free(&name);
    writer_free(&text);
    return ok;
}

bool control_schema_parse(Slice key, Slice value, uint64_t *fingerprint, char **schema) {
    json_error_t error;
    char *end = NULL;
    json_t *name = key.at == NULL ? NULL : json_loadb(key.at, key.len, 0, &error);
    const char *digits = json_string_value(json_object_get(name, "schema"));
    json_t *text = digits == NULL || value.at == NULL ? NULL : json_loadb(value.at, value.len, 0, &error);
    *schema =
        text == NULL ? NULL : json_dumps(json_object_get(text, "schema"), JSON_COMPACT | JSON_ENCODE_ANY);
    *fingerprint = *schema == NULL ? 0 : strtoull(digits, &end, 16);
    json_decref(name);
    json_decref(text);
    return *schema != NULL;
}

/* ---- reading ---- */

typedef struct Reading {
    const Config *cfg;
    KafkaClient *reader;
    rd_kafka_topic_t *topic;
    Slice key;
    KafkaWait *wait;
    bool found, gone; /* gone: its newest record is a tombstone */
    ControlRecord newest;
    ControlTable *visit; /* NULL: the position is wanted; else the tables of a load that began at `born` */
    void *context;
    Lsn born;
    json_t **tables, **left; /* of control_again; else NULL */
} Reading;

/* What a key names of this job, or NULL; *text owns it. */
static const char *table_of_key(const Reading *r, Slice key, json_t **text) {
    json_error_t error;
    *text = json_loadb(key.at, key.len, 0, &error);
    const char *job = json_string_value(json_object_get(*text, "job"));
    return job != NULL && strcmp(job, r->cfg->name) == 0 ? json_string_value(json_object_get(*text, "table"))
                                                         : NULL;
}

/* The newest list, and what is done of it. */
static void again_take(Reading *r, Slice key, const rd_kafka_message_t *message) {
    json_error_t error;
    json_t *text;
    if (slice_equal(key, r->key)) {
        json_decref(*r->tables);
        json_decref(*r->left);
        *r->tables = message->payload == NULL ? NULL : json_loadb(message->payload, message->len, 0, &error);
        *r->left = json_copy(*r->tables);
        r->found = true;
        return;
    }
    if (message->payload == NULL)
        return;
    const char *table = table_of_key(r, key, &text);
    for (size_t at = json_array_size(*r->left); table != NULL && at-- > 0;)
        if (json_is_string(json_array_get(*r->left, at)) &&
            strcmp(json_string_value(json_array_get(*r->left, at)), table) == 0)
            json_array_remove(*r->left, at);
    json_decref(text);
}

/* A tombstone follows only where the load is over. */
static void table_take(Reading *r, Slice key, const rd_kafka_message_t *message) {
    Lsn born;
    json_error_t error;
    json_t *text,
        *value = message->payload == NULL ? NULL : json_loadb(message->payload, message->len, 0, &error);
    const char *table = table_of_key(r, key, &text);
    if (table != NULL && lsn_read(value, "born", &born) && lsn_equal(born, r->born))
        r->visit(r->context, table);
    json_decref(text);
    json_decref(value);
}

static bool record_take(Reading *r, const rd_kafka_message_t *message, Error *e) {
    Slice key = {message->key, message->key_len};
    if (r->visit != NULL) {
        table_take(r, key, message);
        return true;
    }
    if (r->left != NULL) {
        again_take(r, key, message);
        return true;
    }
    if (!slice_equal(key, r->key))
        return true;
    r->found = true;
    r->gone = message->payload == NULL;
    return r->gone || control_position_parse(r->cfg, (Slice){message->payload, message->len}, &r->newest, e);
}

/* Offsets [from, until). What lies behind the last record there (the end of a transaction) is seen by the end of the topic,
 * or, where somebody goes on writing, by the next record. */
static bool read_from(Reading *r, int64_t from, int64_t until, Error *e) {
    bool ok = true, ended = false;
    if (rd_kafka_consume_start(r->topic, 0, from) != 0)
        return topic_failed(r->reader, rd_kafka_last_error(), NULL, "read", e);
    while (ok && !ended) {
        rd_kafka_message_t *message = rd_kafka_consume(r->topic, 0, SLICE_MS);
        rd_kafka_poll(r->reader->handle, 0);
        if (message == NULL) {
            ok = kafka_patient(r->reader, r->wait, "reading kafka.control", e);
            continue;
        }
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            ended = message->offset >= until;
            ok = ended || kafka_patient(r->reader, r->wait, "waiting for a transaction in kafka.control", e);
        } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            ok = topic_failed(r->reader, message->err, rd_kafka_message_errstr(message), "read", e);
        else {
            ok = record_take(r, message, e);
            ended = message->offset + 1 >= until;
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_consume_stop(r->topic, 0);
    return ok;
}

/* The position is written with every group, so it mostly stands near the end. */
static bool read_tail(Reading *r, int64_t low, int64_t high, Error *e) {
    int64_t tail = r->visit != NULL ? high - low : TAIL_FIRST, from;
    do {
        from = high - low > tail ? high - tail : low;
        if (!read_from(r, from, high, e))
            return false;
        tail *= 10;
    } while (!r->found && from > low);
    return true;
}

/* A topic that is there may have no leader for a moment. */
static bool is_passing(rd_kafka_resp_err_t code, const Error *why) {
    return why->kind == ERR_RETRY || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

/* To a looker the end is behind all that was written, to a reader it is where the first open transaction begins: librdkafka
 * asks as the client is set to read. */
static bool ends_find(KafkaClient *looker, KafkaWait *wait, bool *there, int64_t *low, int64_t *high,
                      Error *e) {
    const char *name = looker->cfg->kafka.control;
    if (!topics_there(looker, name, there, wait, e))
        return false;
    while (*there) {
        Error why;
        bool still;
        rd_kafka_resp_err_t code =
            rd_kafka_query_watermark_offsets(looker->handle, name, 0, low, high, SLICE_MS * 5);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return true;
        rd_kafka_poll(looker->handle, SLICE_MS);
        topic_failed(looker, code, NULL, "look at", &why);
        if (!is_passing(code, &why)) {
            *e = why;
            return false;
        }
        /* librdkafka goes by what it was told of the leader, and would not ask again by itself. */
        if (!kafka_patient(looker, wait, "looking at kafka.control", e) ||
            !topics_there(looker, name, &still, wait, e))
            return false;
    }
    return true;
}

static bool everything_find(const Config *cfg, KafkaWait *wait, bool *there, int64_t *low, int64_t *high,
                            Error *e) {
    KafkaClient *looker = kafka_client_new(cfg, KAFKA_LOOK, NULL, e);
    bool ok = looker != NULL && ends_find(looker, wait, there, low, high, e);
    kafka_client_free(looker);
    return ok;
}

static bool read_with(Reading *r, bool settled, Error *e) {
    bool there;
    int64_t low, high;
    if (settled ? !everything_find(r->cfg, r->wait, &there, &low, &high, e)
                : !ends_find(r->reader, r->wait, &there, &low, &high, e))
        return false;
    if (!there || low >= high)
        return true;
    r->topic = rd_kafka_topic_new(r->reader->handle, r->cfg->kafka.control, NULL);
    if (r->topic == NULL)
        return topic_failed(r->reader, rd_kafka_last_error(), NULL, "read", e);
    bool ok = read_tail(r, low, high, e);
    rd_kafka_topic_destroy(r->topic);
    return ok;
}

bool control_read(const Config *cfg, bool settled, KafkaWait *wait, ControlRecord *out, Error *e) {
    *out = (ControlRecord){.exists = false};
    Writer key = writer_new(TEXT_MAX);
    key_write(&key, cfg, (Key){.table = NULL});
    Reading r = {.cfg = cfg, .key = writer_slice(&key), .wait = wait};
    r.reader = kafka_client_new(cfg, KAFKA_READ, NULL, e);
    bool ok = r.reader != NULL && read_with(&r, settled, e);
    kafka_client_free(r.reader);
    writer_free(&key);
    if (ok && r.found && !r.gone)
        *out = r.newest;
    return ok;
}

bool control_tables(const Config *cfg, Lsn born, KafkaWait *wait, ControlTable *visit, void *context,
                    Error *e) {
    Reading r = {.cfg = cfg, .wait = wait, .visit = visit, .context = context, .born = born};
    r.reader = kafka_client_new(cfg, KAFKA_READ, NULL, e);
    bool ok = r.reader != NULL && read_with(&r, true, e);
    kafka_client_free(r.reader);
    return ok;
}

/* The list is asked for only while the position says that there is one: it stands not far from the end. */
bool control_again(const Config *cfg, KafkaWait *wait, json_t **tables, json_t **left, Error *e) {
    Writer key = writer_new(TEXT_MAX);
    key_write(&key, cfg, (Key){.again = true});
    *tables = *left = NULL;
    Reading r = {.cfg = cfg, .key = writer_slice(&key), .wait = wait, .tables = tables, .left = left};
    r.reader = kafka_client_new(cfg, KAFKA_READ, NULL, e);
    bool ok = r.reader != NULL && read_with(&r, true, e);
    kafka_client_free(r.reader);
    writer_free(&key);
    if (*tables == NULL)
        *tables = json_array();
    if (*left == NULL)
        *left = json_array();
    return ok;
}

/* ---- taking it over ---- */

static bool topic_make(const Config *cfg, KafkaWait *wait, Error *e) {
    TopicWish wish = {.name = cfg->kafka.control, .control = true};
    KafkaClient *looker = kafka_client_new(cfg, KAFKA_LOOK, NULL, e);
    bool ok = looker != NULL && topics_make(looker, &wish, 1, wait, e);
    kafka_client_free(looker);
    return ok;
}

const char *control_id(const Config *cfg, uint64_t system_id, char out[CONTROL_ID_SIZE]) {
    snprintf(out, CONTROL_ID_SIZE, "walferry.%" PRIu64 ".%s", system_id, cfg->slot);
    return out;
}

static KafkaClient *id_take(const Config *cfg, const char *id, KafkaWait *wait, Error *e) {
    KafkaClient *producer = kafka_client_new(cfg, KAFKA_TRANSACT, id, e);
    if (producer != NULL && kafka_transact(producer, wait, e))
        return producer;
    kafka_client_free(producer);
    return NULL;
}

KafkaClient *control_worker_take(const Config *cfg, uint64_t system_id, int worker, KafkaWait *wait,
                                 Error *e) {
    char id[CONTROL_ID_SIZE + 16];
    snprintf(id, sizeof id, "walferry.%" PRIu64 ".%s.load.%d", system_id, cfg->slot, worker);
    return id_take(cfg, id, wait, e);
}

bool control_workers_take(const Config *cfg, uint64_t system_id, int workers, KafkaWait *wait, Error *e) {
    for (int worker = 0; worker < workers; worker++) {
        KafkaClient *settled = control_worker_take(cfg, system_id, worker, wait, e);
        if (settled == NULL)
            return false;
        kafka_client_free(settled);
    }
    return true;
}

KafkaClient *control_take(const Config *cfg, uint64_t system_id, int workers, KafkaWait *wait, Error *e) {
    char id[CONTROL_ID_SIZE];
    KafkaClient *producer = id_take(cfg, control_id(cfg, system_id, id), wait, e);
    if (producer == NULL ||
        (control_workers_take(cfg, system_id, workers, wait, e) && topic_make(cfg, wait, e)))
        return producer;
    kafka_client_free(producer);
    return NULL;
}

bool control_write(KafkaClient *producer, const ControlRecord *record, KafkaWait *wait, Error *e) {
    return kafka_begin(producer, e) && control_position_put(producer, record, wait, e) &&
           kafka_commit(producer, wait, e);
}

bool control_remove(const Config *cfg, bool dry_run, bool *found, Error *e) {
    KafkaWait wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, REMOVE_MS);
    ControlRecord record;
    if (!control_read(cfg, false, &wait, &record, e))
        return false;
    *found = record.exists;
    if (!record.exists || dry_run)
        return true;
    KafkaClient *producer = control_take(cfg, record.position.system_id, record.workers, &wait, e);
    bool ok = producer != NULL && kafka_begin(producer, e) &&
              put(producer, (Key){.table = NULL}, (Slice){NULL, 0}, &wait, e) &&
              kafka_commit(producer, &wait, e);
    kafka_client_free(producer);
    return ok;
}
