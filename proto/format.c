/* Tables and their schemas, and the records that are not of a table. */
#include "proto/format.h"

#include <stdlib.h>
#include <string.h>

#include "proto/avro_fingerprint.h"
#include "proto/avro_schema.h"
#include "proto/format_intern.h"

/* ---- made once ---- */

static const FormatOps *ops_of(FormatName name) {
    switch (name) {
    case FORMAT_AVRO: return &format_avro;
    case FORMAT_PROTOBUF: return &format_protobuf;
    case FORMAT_JSON: break;
    }
    return &format_json;
}

bool format_has_ids(const Format *format) {
    return format->name != FORMAT_JSON && !(format->name == FORMAT_AVRO && format->single_object);
}

static void bodies_make(Arena *arena, FormatTable *t) {
    t->ops = ops_of(t->format->name);
    if (t->key != NULL)
        t->key_body = t->ops->body_new(arena, t->key, t);
    t->value_body = t->ops->body_new(arena, t->value, t);
}

static FormatTable *plain_new(Arena *arena, const Format *format, const Kind *key, const Kind *value) {
    FormatTable *t = arena_alloc(arena, sizeof *t);
    *t = (FormatTable){.format = format, .key = key, .value = value};
    bodies_make(arena, t);
    return t;
}

FormatTable *format_messages_new(Arena *arena, const Format *format) {
    return plain_new(arena, format, &event_message_key, &event_message);
}

FormatTable *format_heartbeats_new(Arena *arena, const Format *format) {
    return plain_new(arena, format, &event_heartbeat_key, &event_heartbeat);
}

FormatTable *format_transactions_new(Arena *arena, const Format *format) {
    return plain_new(arena, format, &event_transaction_key, &event_transaction);
}

FormatTable *format_shapes_new(Arena *arena, const Format *format) {
    return plain_new(arena, format, &event_shape_key, &event_shape);
}

static const Kind *value_kind(Arena *arena, const EventTable *table, FormatEnvelope envelope) {
    switch (envelope) {
    case ENVELOPE_FLAT: return event_flat(arena, table);
    case ENVELOPE_ROW: return event_row(arena, table);
    case ENVELOPE_DEBEZIUM: break;
    }
    return event_envelope(arena, table);
}

FormatTable *format_table_make(Arena *arena, const Format *format, const EventTable *table) {
    FormatTable *t = arena_alloc(arena, sizeof *t);
    *t = (FormatTable){.format = format,
                       .table = table,
                       .row = row_new(arena, table, format),
                       .key = event_key(arena, table),
                       .value = value_kind(arena, table, format->envelope)};
    bodies_make(arena, t);
    return t;
}

/* ---- names that fall together ---- */

typedef struct Name {
    const char *given, *written;
} Name;

static int by_written(const void *a, const void *b) {
    return strcmp(((const Name *)a)->written, ((const Name *)b)->written);
}

/* Avro and Protobuf know letters, digits and "_" only; and the flat envelope has names of its own. */
static bool names_differ(const FormatTable *t, Arena *arena, Error *e) {
    const Kind *row = t->format->envelope == ENVELOPE_DEBEZIUM ? t->value->fields[0].kind : t->value;
    size_t count = (size_t)row->field_count;
    Name *names = arena_alloc(arena, (count + 1) * sizeof *names);
    for (size_t at = 0; at < count; at++) {
        const char *given = row->fields[at].name;
        names[at] = (Name){given, t->format->name != FORMAT_JSON ? avro_field_name(arena, given) : given};
    }
    qsort(names, count, sizeof *names, by_written);
    for (size_t at = 1; at < count; at++)
        if (strcmp(names[at - 1].written, names[at].written) == 0) {
            fail(e, ERR_CONFIG, "\"%s\" and \"%s\" of %s.%s have one name in the topic, \"%s\"",
                 names[at - 1].given, names[at].given, t->table->schema, t->table->name, names[at].written);
            return fail_hint(e, "rename one of them, leave it out, or choose another format or envelope");
        }
    return true;
}

static bool key_field_is_new(const FormatTable *t, Arena *arena, Error *e) {
    bool plain = t->format->name == FORMAT_JSON;
    for (uint16_t at = 0; t->table->key_field != NULL && at < t->table->key_count; at++) {
        const char *name = t->table->columns[t->table->key[at]].name, *field = t->table->key_field;
        if (strcmp(plain ? name : avro_field_name(arena, name),
                   plain ? field : avro_field_name(arena, field)) == 0) {
            fail(e, ERR_CONFIG, "the key of %s.%s has a field \"%s\" already", t->table->schema,
                 t->table->name, name);
            return fail_hint(e, "choose another name for key_field in kafka.topics.route");
        }
    }
    return true;
}

FormatTable *format_table_new(Arena *arena, const Format *format, const EventTable *table, Error *e) {
    FormatTable *t = format_table_make(arena, format, table);
    Arena *names = arena_new();
    bool differ = names_differ(t, names, e) && key_field_is_new(t, names, e);
    arena_free(names);
    return differ ? t : NULL;
}

/* ---- schemas ---- */

bool format_has_key(const FormatTable *table) {
    return table->key != NULL;
}

void format_key_schema(const FormatTable *table, Writer *out) {
    if (table->key != NULL)
        table->ops->schema_write(table->key_body, out);
}

void format_value_schema(const FormatTable *table, Writer *out) {
    table->ops->schema_write(table->value_body, out);
}

uint64_t format_key_fingerprint(const FormatTable *table) {
    return table->key == NULL ? 0 : avro_kind_fingerprint(table->key);
}

uint64_t format_value_fingerprint(const FormatTable *table) {
    return avro_kind_fingerprint(table->value);
}

void format_table_ids(FormatTable *table, uint32_t key_id, uint32_t value_id) {
    table->key_id = key_id;
    table->value_id = value_id;
}

uint32_t format_key_id(const FormatTable *table) {
    return table->key_id;
}

uint32_t format_value_id(const FormatTable *table) {
    return table->value_id;
}

/* ---- records of their own ---- */

static Span body_write(const FormatTable *t, bool key, const Datum *datum, Records *out) {
    size_t from = span_begin(out);
    t->ops->body_write(key ? t->key_body : t->value_body, key ? t->key_id : t->value_id, datum, &out->bytes);
    return span_end(out, from);
}

static Record *plain_add(const FormatTable *t, Datum key, Datum value, Records *out) {
    const Datum keys = datum_list(&key, 1);
    Span key_span = body_write(t, true, &keys, out);
    return records_add(out, key_span, body_write(t, false, &value, out));
}

static void placed_add(const FormatTable *t, const EventPlace *place, Datum key, Datum value, Records *out) {
    FormatPlace spans = format_place_write(out, place);
    format_place_headers(plain_add(t, key, value, out), &spans);
}

bool format_message(const FormatTable *messages, const EventMessage *message, Records *out, Error *e) {
    EventTree tree;
    records_reset(out);
    if (!row_is_text(message->prefix))
        return fail(e, ERR_DATA, "the prefix of a logical message is not UTF-8");
    placed_add(messages, message->place, datum_bytes(message->prefix),
               event_message_datum(&tree, messages->format->origin, message), out);
    return format_fits(out, "a logical message", e);
}

bool format_heartbeat(const FormatTable *heartbeats, int64_t now_us, Records *out, Error *e) {
    const Datum time = datum_integer(event_milliseconds(now_us));
    records_reset(out);
    plain_add(heartbeats, datum_text(heartbeats->format->origin->prefix), datum_list(&time, 1), out);
    return format_fits(out, "a heartbeat", e);
}

bool format_transaction(const FormatTable *transactions, const EventTransaction *transaction, Arena *scratch,
                        Records *out, Error *e) {
    EventTree tree;
    records_reset(out);
    placed_add(transactions, transaction->place, datum_text(transaction->id),
               event_transaction_datum(&tree, transaction, scratch), out);
    return format_fits(out, "a record of a transaction's tables", e);
}

bool format_shape(const FormatTable *shapes, const EventShape *shape, Arena *scratch, Records *out,
                  Error *e) {
    EventTree tree;
    records_reset(out);
    placed_add(shapes, shape->place, datum_text(shapes->format->origin->database),
               event_shape_datum(&tree, shapes->format->origin, shape, scratch), out);
    return format_fits(out, "the shape of a table", e);
}
