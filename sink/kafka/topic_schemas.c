#include "sink/kafka/topic_schemas.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "proto/avro_decode.h"
#include "proto/protobuf_decode.h"
#include "proto/registry.h"
#include "sink/kafka/control_topic.h"
#include "sink/kafka/kafka_schemas.h"
#include "sink/kafka/topic_reader.h"

enum { PATIENCE_MS = 60000, CONTROLS = 2, SINGLE_OBJECT = 0xc301 };

typedef struct Known {
    uint64_t number; /* its id, or its fingerprint */
    RegistryType type;
    char *text; /* until the first record of it; of JSON it stays */
    AvroDecoder *avro;
    ProtobufDecoder *protobuf;
    UT_hash_handle hh;
} Known;

struct TopicSchemas {
    const Config *cfg;
    const char *controls[CONTROLS];
    int controls_read;  /* so many */
    Registry *registry; /* NULL: not needed yet */
    Known *of_registry, *of_controls;
};

/* ---- its life ---- */

TopicSchemas *topic_schemas_new(const Config *cfg, const char *control) {
    TopicSchemas *s = memory_new(sizeof *s);
    *s = (TopicSchemas){.cfg = cfg, .controls = {cfg->kafka.control, control}};
    return s;
}

static void all_free(Known **all) {
    Known *known, *next;
    HASH_ITER (hh, *all, known, next) {
        HASH_DEL(*all, known);
        avro_decoder_free(known->avro);
        protobuf_decoder_free(known->protobuf);
        free(known->text);
        free(known);
    }
}

void topic_schemas_free(TopicSchemas *s) {
    if (s == NULL)
        return;
    all_free(&s->of_registry);
    all_free(&s->of_controls);
    registry_free(s->registry);
    free(s);
}

static Known *known_find(Known *all, uint64_t number) {
    Known *known;
    HASH_FIND(hh, all, &number, sizeof number, known);
    return known;
}

/* `text` is taken over. Of two with one number the later one counts. */
static Known *known_put(Known **all, uint64_t number, RegistryType type, char *text) {
    Known *known = known_find(*all, number);
    if (known == NULL) {
        known = memory_new(sizeof *known);
        known->number = number;
        HASH_ADD(hh, *all, number, sizeof known->number, known);
    }
    free(known->text);
    known->type = type;
    known->text = text;
    return known;
}

static void text_drop(Known *known) {
    free(known->text);
    known->text = NULL;
}

static json_t *avro_take(Known *known, Slice body, Error *e) {
    if (known->avro == NULL) {
        known->avro = avro_decoder_new(slice_text(known->text), e);
        if (known->avro == NULL)
            return NULL;
        text_drop(known);
    }
    return avro_decode(known->avro, body, e);
}

static json_t *protobuf_take(Known *known, Slice body, Error *e) {
    if (known->protobuf == NULL) {
        known->protobuf = protobuf_decoder_new(slice_text(known->text), e);
        if (known->protobuf == NULL)
            return NULL;
        text_drop(known);
    }
    return protobuf_decode(known->protobuf, body, e);
}

/* ---- at the registry ---- */

static bool registry_open(TopicSchemas *s, Error *e) {
    if (s->cfg->kafka.registry.url == NULL) {
        fail(e, ERR_CONFIG, "its schema is at a registry, and the job names none");
        return fail_hint(e, "set \"kafka.registry.url\"");
    }
    if (s->registry == NULL)
        s->registry = kafka_registry_new(s->cfg, NULL, NULL, e);
    return s->registry != NULL;
}

static Known *registry_get(TopicSchemas *s, int32_t id, Error *e) {
    RegistrySchema schema;
    Known *known = known_find(s->of_registry, (uint32_t)id);
    if (known != NULL)
        return known;
    if (!registry_open(s, e) || !registry_schema(s->registry, id, &schema, e))
        return NULL;
    return known_put(&s->of_registry, (uint32_t)id, schema.type, schema.text);
}

static json_t *json_take(Slice body, Error *e) {
    json_error_t error;
    json_t *out =
        json_loadb(body.len == 0 ? "" : body.at, body.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (out == NULL)
        fail(e, ERR_DATA, "its schema is JSON's, but the bytes are not JSON: %s", error.text);
    return out;
}

static json_t *registered_take(TopicSchemas *s, int32_t id, Slice body, Error *e) {
    Known *known = registry_get(s, id, e);
    if (known == NULL)
        return NULL;
    switch (known->type) {
    case REGISTRY_AVRO: return avro_take(known, body, e);
    case REGISTRY_JSON: return json_take(body, e);
    case REGISTRY_PROTOBUF: return protobuf_take(known, body, e);
    }
    return NULL;
}

/* ---- in a control topic ---- */

static bool records_read(TopicSchemas *s, TopicReader *reader, Error *e) {
    for (bool ended = false; !ended;) {
        TopicRecord record;
        uint64_t fingerprint;
        char *text;
        if (!topic_reader_next(reader, &ended, &record, e))
            return false;
        if (!ended && control_schema_parse(record.key, record.value, &fingerprint, &text))
            known_put(&s->of_controls, fingerprint, REGISTRY_AVRO, text);
    }
    return true;
}

static bool schemas_read(TopicSchemas *s, const char *topic, Error *e) {
    TopicEnds ends = {.count = 0};
    TopicReader *reader = NULL;
    KafkaWait wait = kafka_wait_begin(&(KafkaWait){.metrics = NULL}, PATIENCE_MS);
    KafkaClient *client = kafka_client_new(s->cfg, KAFKA_READ, NULL, e);
    bool ok = client != NULL && topic_ends_find(client, topic, &wait, &ends, e);
    if (ok && ends.count > 0) {
        reader = topic_reader_new(client, topic, &ends, &wait, e);
        ok = reader != NULL && records_read(s, reader, e);
    }
    topic_reader_free(reader);
    topic_ends_free(&ends);
    kafka_client_free(client);
    return ok;
}

static json_t *single_object_take(TopicSchemas *s, uint64_t fingerprint, Slice body, Error *e) {
    Known *known;
    while ((known = known_find(s->of_controls, fingerprint)) == NULL && s->controls_read < CONTROLS)
        if (!schemas_read(s, s->controls[s->controls_read++], e))
            return NULL;
    if (known != NULL)
        return avro_take(known, body, e);
    fail(e, ERR_CONFIG, "its schema, %016" PRIx64 ", is neither in topic \"%s\" nor in \"%s\"", fingerprint,
         s->controls[0], s->controls[1]);
    fail_hint(e, "--with-control names the control topic of the walferry that wrote the other topics");
    return NULL;
}

/* ---- either ---- */

json_t *topic_schemas_decode(void *schemas, Slice bytes, Error *e) {
    TopicSchemas *s = schemas;
    Reader r = reader_new(bytes);
    uint64_t fingerprint = 0;
    bool at_registry = reader_u8(&r) == 0;
    int32_t id = at_registry ? (int32_t)reader_u32(&r) : 0;
    if (!at_registry && reader_u8(&r) == (SINGLE_OBJECT & 0xff))
        for (int byte = 0; byte < 8; byte++)
            fingerprint |= (uint64_t)reader_u8(&r) << 8 * byte;
    if (r.bad || id < 0) {
        fail(e, ERR_DATA, "its first bytes name no schema");
        return NULL;
    }
    Slice body = {(const char *)r.at, reader_left(&r)};
    return at_registry ? registered_take(s, id, body, e) : single_object_take(s, fingerprint, body, e);
}
