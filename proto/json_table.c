/* What is the same in every record of a table: written once. */
#include <assert.h>

#include "proto/json_intern.h"

static Slice keep(Arena *arena, Writer *text) {
    assert(!text->full);
    Slice kept = {arena_text(arena, writer_slice(text)), text->len};
    writer_free(text);
    return kept;
}

static Slice head_new(Arena *arena, const Kind *kind, bool schema) {
    Writer text = writer_new(SIZE_MAX);
    if (schema) {
        writer_text(&text, "{\"schema\":");
        json_schema_write(&text, kind, NULL);
        writer_text(&text, ",\"payload\":");
    }
    return keep(arena, &text);
}

static JsonSource source_new(Arena *arena, const EventOrigin *origin, const EventTable *table) {
    JsonSource source;
    Writer text = writer_new(SIZE_MAX);
    json_member_write(&text, "{\"version\":", origin->version);
    json_member_write(&text, ",\"connector\":\"postgresql\",\"name\":", origin->prefix);
    writer_text(&text, ",\"ts_ms\":");
    source.head = keep(arena, &text);
    json_member_write(&text, ",\"db\":", origin->database);
    writer_text(&text, ",\"sequence\":");
    source.db = keep(arena, &text);
    json_member_write(&text, ",\"schema\":", table->schema);
    json_member_write(&text, ",\"table\":", table->name);
    writer_text(&text, ",\"txId\":");
    source.table = keep(arena, &text);
    return source;
}

static const Slice *names_new(Arena *arena, const Row *row) {
    Slice *names = arena_alloc(arena, (row->count + 1u) * sizeof *names);
    for (uint16_t at = 0; at < row->count; at++) {
        Writer name = writer_new(SIZE_MAX);
        json_text_write(&name, slice_text(row->columns[at].name));
        writer_u8(&name, ':');
        names[at] = keep(arena, &name);
    }
    return names;
}

const void *json_body_new(Arena *arena, const Kind *kind, const FormatTable *table) {
    const Format *format = table->format;
    JsonBody *body = arena_alloc(arena, sizeof *body);
    *body = (JsonBody){.kind = kind, .schema = format->schema, .head = head_new(arena, kind, format->schema)};
    if (table->table == NULL || kind != table->value)
        return body;
    body->names = names_new(arena, &table->row);
    if (format->envelope == ENVELOPE_DEBEZIUM)
        body->source = source_new(arena, format->origin, table->table);
    return body;
}
