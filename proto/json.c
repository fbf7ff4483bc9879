#include "proto/json.h"

#include "proto/json_intern.h"

static void schema_write(const void *own, Writer *out) {
    const JsonBody *body = own;
    json_schema_write(out, body->kind, NULL);
}

static void body_write(const void *own, uint32_t id, const Datum *datum, Writer *out) {
    const JsonBody *body = own;
    (void)id;
    writer_bytes(out, body->head);
    json_datum_write(out, body->kind, datum);
    if (body->schema)
        writer_u8(out, '}');
}

const FormatOps format_json = {.body_new = json_body_new,
                               .schema_write = schema_write,
                               .body_write = body_write,
                               .change_write = json_change_write};

/* ---- by its own name ---- */

struct JsonTable {
    FormatTable *table;
};
struct JsonMessages {
    FormatTable *table;
};

static const Format *format_new(Arena *arena, const EventOrigin *origin, JsonOptions options) {
    Format *format = arena_alloc(arena, sizeof *format);
    *format = (Format){.name = FORMAT_JSON,
                       .envelope = options.envelope == JSON_FLAT ? ENVELOPE_FLAT : ENVELOPE_DEBEZIUM,
                       .toast = options.toast_absent ? TOAST_ABSENT : TOAST_DEFAULT,
                       .schema = options.schema,
                       .tombstones = options.tombstones,
                       .special_fails = options.special_fails,
                       .null_is_default = options.null_is_default,
                       .origin = origin};
    return format;
}

const JsonTable *json_table_new(Arena *arena, const EventTable *table, const EventOrigin *origin,
                                JsonOptions options) {
    JsonTable *made = arena_alloc(arena, sizeof *made);
    made->table = format_table_make(arena, format_new(arena, origin, options), table);
    return made;
}

bool json_event(const JsonTable *table, const Event *event, Arena *scratch, Records *out, Error *e) {
    return format_event(table->table, event, scratch, out, e);
}

const JsonMessages *json_messages_new(Arena *arena, const EventOrigin *origin, JsonOptions options) {
    JsonMessages *made = arena_alloc(arena, sizeof *made);
    made->table = format_messages_new(arena, format_new(arena, origin, options));
    return made;
}

bool json_message(const JsonMessages *messages, const EventMessage *message, Records *out, Error *e) {
    return format_message(messages->table, message, out, e);
}
