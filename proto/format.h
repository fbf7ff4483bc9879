/* format: events as records for topics, in any format and envelope (kafka-contract.md, "What walferry writes"). One front
 * for all of them: a sink makes a Format from its job, a FormatTable for each version of a relation (and one each for logical
 * messages, heartbeats and transactions), registers the schemas where the format has a registry, and hands over events.
 *
 * A change becomes one record; a delete has its tombstone behind it, and an update of the key is a delete, a tombstone and a
 * create, with __debezium.newkey and __debezium.oldkey. Headers walferry.lsn, walferry.seq and walferry.xid are on every
 * record of a transaction;
 *   walferry.special    values that the semantic type cannot hold, as text: {"after":{"n":"NaN"}}
 *   walferry.unchanged  columns whose value did not come along and is not that of the record: ["big"]
 *   walferry.toast      columns whose value did not come along and was read at the source later; it is that of the change or a
 *                       newer one, up to an LSN: {"lsn":"0/16B3800","columns":["big"]}
 *   walferry.op, walferry.ts_us  in the envelope `row+headers`: what was done, and when it was committed
 * are where there is something to say, and __debezium.context.* where that is wished. Knows no broker and no registry. Pure. */
#ifndef WALFERRY_PROTO_FORMAT_H
#define WALFERRY_PROTO_FORMAT_H

#include "core/error.h"
#include "proto/event_shape.h"
#include "proto/record.h"

typedef enum FormatName { FORMAT_JSON, FORMAT_AVRO, FORMAT_PROTOBUF } FormatName;

typedef enum FormatEnvelope {
    ENVELOPE_DEBEZIUM,
    ENVELOPE_FLAT, /* the row and four marks; nothing in it is required */
    ENVELOPE_ROW   /* the row alone, and the marks in headers */
} FormatEnvelope;

/* What is said of an unchanged TOAST value. Debezium's envelope has the old row's where that came along. */
typedef enum FormatToast {
    TOAST_DEFAULT, /* a placeholder in Debezium's envelope; in the others it is absent */
    TOAST_ABSENT,  /* everywhere */
    TOAST_COMPLETE /* the old row's in all envelopes; one that the sink has read stands in the event already */
} FormatToast;

typedef struct Format {
    FormatName name;
    FormatEnvelope envelope;
    FormatToast toast;
    bool schema;        /* json: {"schema": ..., "payload": ...} */
    bool single_object; /* avro without a registry: bodies begin with the fingerprint of their schema */
    bool tombstones;    /* behind a delete, and that of an update of the key */
    bool special_fails; /* ERR_DATA instead of the header */
    bool context;       /* headers __debezium.context.*, as of a connector with one task */
    /* As Connect's replace.null.with.default, which is on there: in Debezium's envelope a NULL is said as the default. */
    bool null_is_default;
    const EventOrigin *origin;
} Format;

typedef struct FormatTable FormatTable;

/* Keys and values begin with the id that a registry gave to their schema. */
bool format_has_ids(const Format *format);

/* All live in `arena`, and need `format` and `table` as long. NULL: ERR_CONFIG, two columns have one name there. */
FormatTable *format_table_new(Arena *arena, const Format *format, const EventTable *table, Error *e);
FormatTable *format_messages_new(Arena *arena, const Format *format);
FormatTable *format_heartbeats_new(Arena *arena, const Format *format);
FormatTable *format_transactions_new(Arena *arena, const Format *format);
FormatTable *format_shapes_new(Arena *arena, const Format *format);

bool format_has_key(const FormatTable *table);
/* The text to register, or, of JSON, what stands in "schema". */
void format_key_schema(const FormatTable *table, Writer *out);
void format_value_schema(const FormatTable *table, Writer *out);
/* Of single objects: readers find the schema by it. 0: no key. */
uint64_t format_key_fingerprint(const FormatTable *table);
uint64_t format_value_fingerprint(const FormatTable *table);
/* What the registry answered, before the first event. */
void format_table_ids(FormatTable *table, uint32_t key_id, uint32_t value_id);
uint32_t format_key_id(const FormatTable *table);
uint32_t format_value_id(const FormatTable *table);

/* `scratch` is for values on their way: it grows with what is converted, and may be thrown away behind any event. False:
 * ERR_DATA (a value, or a key that did not come along), ERR_LIMIT (`out` is full); `out` then is not to be used. */
bool format_event(const FormatTable *table, const Event *event, Arena *scratch, Records *out, Error *e);
bool format_message(const FormatTable *messages, const EventMessage *message, Records *out, Error *e);
bool format_heartbeat(const FormatTable *heartbeats, int64_t now_us, Records *out, Error *e);
bool format_transaction(const FormatTable *transactions, const EventTransaction *transaction, Arena *scratch,
                        Records *out, Error *e);
bool format_shape(const FormatTable *shapes, const EventShape *shape, Arena *scratch, Records *out, Error *e);

#endif
