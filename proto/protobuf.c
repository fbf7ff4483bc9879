#include "proto/protobuf.h"

#include <assert.h>
#include <string.h>

#include "proto/format_intern.h"
#include "proto/protobuf_schema.h"
#include "proto/wire.h"

enum { CONFLUENT = 0x00, FIRST_MESSAGE = 0x00 };

typedef enum Wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 } Wire;

struct ProtobufNode {
    ConnectType type;
    uint32_t tag;  /* of its field: number and wire type; of an item, of number 1 */
    bool implicit; /* a zero is not said */
    const ProtobufNode *key, *element;
    uint32_t field_count;
    const ProtobufNode *fields;
};

/* ---- made once ---- */

static Wire wire_of(ConnectType type) {
    switch (type) {
    case CONNECT_BOOLEAN:
    case CONNECT_INT16:
    case CONNECT_INT32:
    case CONNECT_INT64: return WIRE_VARINT;
    case CONNECT_FLOAT32: return WIRE_32;
    case CONNECT_FLOAT64: return WIRE_64;
    default: return WIRE_BYTES;
    }
}

static void node_fill(Arena *arena, const Kind *kind, int number, ProtobufNode *node);

static const ProtobufNode *part_new(Arena *arena, const Kind *kind, int number) {
    if (kind == NULL)
        return NULL;
    ProtobufNode *node = arena_alloc(arena, sizeof *node);
    node_fill(arena, kind, number, node);
    return node;
}

static void node_fill(Arena *arena, const Kind *kind, int number, ProtobufNode *node) {
    *node = (ProtobufNode){.type = kind->type,
                           .tag = (uint32_t)number << 3 | wire_of(kind->type),
                           .key = part_new(arena, kind->key, 1),
                           .element = part_new(arena, kind->element, kind->type == CONNECT_MAP ? 2 : 1),
                           .field_count = (uint32_t)kind->field_count};
    ProtobufNode *fields = arena_alloc(arena, node->field_count * sizeof *fields);
    for (int at = 0; at < kind->field_count; at++) {
        const Kind *field = kind->fields[at].kind;
        if (at > 0 && field == kind->fields[at - 1].kind) /* before and after */
            fields[at] = fields[at - 1];
        else
            node_fill(arena, field, 1, &fields[at]);
        fields[at].tag = (uint32_t)protobuf_number(kind, at) << 3 | wire_of(field->type);
        fields[at].implicit = !protobuf_is_marked(kind, at);
    }
    node->fields = fields;
}

const ProtobufNode *protobuf_node_new(Arena *arena, const Kind *kind) {
    return part_new(arena, kind, 1);
}

/* ---- values ---- */

/* Puts the length of what was written since `from` in front of it. */
static void length_insert(Writer *out, size_t from) {
    char bytes[WIRE_VARINT_BYTES];
    size_t size = out->len - from, length = wire_varint_put(bytes, size);
    writer_bytes(out, (Slice){bytes, length});
    if (out->full)
        return;
    memmove(out->at + from + length, out->at + from, size);
    memcpy(out->at + from, bytes, length);
}

static void value_write(Writer *out, const ProtobufNode *node, const Datum *datum);

static void item_write(Writer *out, const ProtobufNode *node, const Datum *datum) {
    wire_varint_write(out, node->tag);
    value_write(out, node, datum);
}

/* Numbers stand side by side behind one tag. */
static void wrapper_write(Writer *out, const ProtobufNode *element, const Datum *list) {
    bool packed = wire_of(element->type) != WIRE_BYTES;
    size_t from = 0;
    if (list->count == 0)
        return;
    if (packed) {
        wire_varint_write(out, 1 << 3 | WIRE_BYTES);
        from = out->len;
    }
    for (uint32_t at = 0; at < list->count; at++)
        (packed ? value_write : item_write)(out, element, &list->items[at]);
    if (packed)
        length_insert(out, from);
}

static void value_write(Writer *out, const ProtobufNode *node, const Datum *datum) {
    size_t from;
    switch (datum->kind) {
    case DATUM_BOOLEAN: writer_u8(out, datum->truth); break;
    case DATUM_INTEGER: wire_varint_write(out, (uint64_t)datum->integer); break;
    case DATUM_FLOAT: wire_float_write(out, node->type, datum); break;
    case DATUM_BYTES:
        wire_varint_write(out, datum->bytes.len);
        writer_bytes(out, datum->bytes);
        break;
    case DATUM_LIST:
        from = out->len;
        if (node->type == CONNECT_STRUCT)
            protobuf_message_write(out, node, datum);
        else
            wrapper_write(out, node->element, datum);
        length_insert(out, from);
        break;
    case DATUM_NULL:
    case DATUM_LEFT_OUT:
    case DATUM_SPECIAL: assert(datum->kind == DATUM_LIST);
    }
}

/* Each entry is a message of its own. */
static void map_write(Writer *out, const ProtobufNode *node, const Datum *list) {
    for (uint32_t at = 0; at < list->count; at += 2) {
        wire_varint_write(out, node->tag);
        size_t from = out->len;
        item_write(out, node->key, &list->items[at]);
        item_write(out, node->element, &list->items[at + 1]);
        length_insert(out, from);
    }
}

static bool is_zero(const ProtobufNode *node, const Datum *datum) {
    switch (datum->kind) {
    case DATUM_BOOLEAN: return !datum->truth;
    case DATUM_INTEGER: return datum->integer == 0;
    case DATUM_FLOAT: return wire_float_bits(node->type, datum) == 0;
    case DATUM_BYTES: return datum->bytes.len == 0;
    default: return false;
    }
}

void protobuf_message_write(Writer *out, const ProtobufNode *node, const Datum *datum) {
    assert(node->type == CONNECT_STRUCT && datum->count == node->field_count);
    for (uint32_t at = 0; at < datum->count; at++) {
        const ProtobufNode *field = &node->fields[at];
        const Datum *value = &datum->items[at];
        if (value->kind == DATUM_NULL || value->kind == DATUM_LEFT_OUT ||
            (field->implicit && is_zero(field, value)))
            continue;
        if (field->type == CONNECT_MAP)
            map_write(out, field, value);
        else
            item_write(out, field, value);
    }
}

/* ---- as a format ---- */

typedef struct Body {
    const Kind *kind;
    const ProtobufNode *node;
} Body;

static const void *body_new(Arena *arena, const Kind *kind, const FormatTable *table) {
    Body *body = arena_alloc(arena, sizeof *body);
    (void)table;
    *body = (Body){kind, protobuf_node_new(arena, kind)};
    return body;
}

static void schema_write(const void *own, Writer *out) {
    const Body *body = own;
    protobuf_schema_write(out, body->kind);
}

static void body_write(const void *own, uint32_t id, const Datum *datum, Writer *out) {
    const Body *body = own;
    writer_u8(out, CONFLUENT);
    writer_u32(out, id);
    writer_u8(out, FIRST_MESSAGE);
    protobuf_message_write(out, body->node, datum);
}

const FormatOps format_protobuf = {
    .body_new = body_new, .schema_write = schema_write, .body_write = body_write};
