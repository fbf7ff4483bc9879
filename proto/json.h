/* json: proto/format in JSON by a name of its own: as Debezium with Kafka Connect's JsonConverter writes it, field by field
 * in its order; or flat. Names of columns that are those of the flat envelope's marks are not looked for. Pure. */
#ifndef WALFERRY_PROTO_JSON_H
#define WALFERRY_PROTO_JSON_H

#include "core/error.h"
#include "proto/event.h"
#include "proto/record.h"

typedef enum JsonEnvelope { JSON_DEBEZIUM, JSON_FLAT } JsonEnvelope;

typedef struct JsonOptions {
    JsonEnvelope envelope;
    bool schema;        /* {"schema": ..., "payload": ...} */
    bool tombstones;    /* behind a delete, and that of an update of the key */
    bool toast_absent;  /* leaves out what did not come along; the flat envelope always does */
    bool special_fails; /* ERR_DATA instead of the header */
    bool
        null_is_default; /* as Connect's replace.null.with.default, which is on there: a NULL is said as the default */
} JsonOptions;

typedef struct JsonTable JsonTable;

/* Lives in `arena`, as do the table's Kinds. */
const JsonTable *json_table_new(Arena *arena, const EventTable *table, const EventOrigin *origin,
                                JsonOptions options);
/* `scratch` is for values on their way. False: ERR_DATA (a value, or a key that did not come along), ERR_LIMIT (`out` is
 * full); `out` then is not to be used. */
bool json_event(const JsonTable *table, const Event *event, Arena *scratch, Records *out, Error *e);

typedef struct JsonMessages JsonMessages;

/* Logical messages. */
const JsonMessages *json_messages_new(Arena *arena, const EventOrigin *origin, JsonOptions options);
bool json_message(const JsonMessages *messages, const EventMessage *message, Records *out, Error *e);

#endif
