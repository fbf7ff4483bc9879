#include "proto/avro.h"

#include <assert.h>

#include "proto/avro_fingerprint.h"
#include "proto/avro_schema.h"
#include "proto/format_intern.h"
#include "proto/wire.h"

enum { CONFLUENT = 0x00 };

typedef enum Branch { REQUIRED, NULL_FIRST, NULL_SECOND } Branch;

struct AvroNode {
    ConnectType type;
    Branch branch;
    const AvroNode *key, *element;
    uint32_t field_count;
    const AvroNode *fields;
};

/* ---- made once ---- */

static void node_fill(Arena *arena, const Kind *kind, AvroNode *node) {
    *node = (AvroNode){.type = kind->type, .field_count = (uint32_t)kind->field_count};
    if (kind->optional)
        node->branch = avro_null_is_first(kind, arena) ? NULL_FIRST : NULL_SECOND;
    if (kind->key != NULL)
        node->key = avro_node_new(arena, kind->key);
    if (kind->element != NULL)
        node->element = avro_node_new(arena, kind->element);
    AvroNode *fields = arena_alloc(arena, node->field_count * sizeof *fields);
    for (uint32_t at = 0; at < node->field_count; at++)
        if (at > 0 && kind->fields[at].kind == kind->fields[at - 1].kind)
            fields[at] = fields[at - 1]; /* before and after */
        else
            node_fill(arena, kind->fields[at].kind, &fields[at]);
    node->fields = fields;
}

const AvroNode *avro_node_new(Arena *arena, const Kind *kind) {
    AvroNode *node = arena_alloc(arena, sizeof *node);
    node_fill(arena, kind, node);
    return node;
}

/* ---- values ---- */

/* Zig-zag: small numbers of either sign are short. */
static void long_write(Writer *out, int64_t value) {
    wire_varint_write(out, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

static void text_write(Writer *out, Slice text) {
    long_write(out, (int64_t)text.len);
    writer_bytes(out, text);
}

/* One block of all items, and the empty one that ends it. A map is a list of pairs, whatever its keys are. */
static void list_write(Writer *out, const AvroNode *node, const Datum *datum) {
    uint32_t step = node->type == CONNECT_MAP ? 2 : 1;
    if (datum->count > 0)
        long_write(out, datum->count / step);
    for (uint32_t at = 0; at < datum->count; at += step) {
        if (step == 2)
            avro_datum_write(out, node->key, &datum->items[at]);
        avro_datum_write(out, node->element, &datum->items[at + step - 1]);
    }
    long_write(out, 0);
}

static void struct_write(Writer *out, const AvroNode *node, const Datum *datum) {
    assert(datum->count == node->field_count);
    for (uint32_t at = 0; at < datum->count; at++)
        avro_datum_write(out, &node->fields[at], &datum->items[at]);
}

void avro_datum_write(Writer *out, const AvroNode *node, const Datum *datum) {
    bool null = datum->kind == DATUM_NULL || datum->kind == DATUM_LEFT_OUT;
    if (node->branch != REQUIRED)
        writer_u8(out, null == (node->branch == NULL_FIRST) ? 0 : 2); /* zig-zag of 0 and 1 */
    else
        assert(!null);
    switch (datum->kind) {
    case DATUM_NULL:
    case DATUM_LEFT_OUT: break;
    case DATUM_BOOLEAN: writer_u8(out, datum->truth); break;
    case DATUM_INTEGER: long_write(out, datum->integer); break;
    case DATUM_FLOAT: wire_float_write(out, node->type, datum); break;
    case DATUM_BYTES: text_write(out, datum->bytes); break;
    case DATUM_LIST: (node->type == CONNECT_STRUCT ? struct_write : list_write)(out, node, datum); break;
    case DATUM_SPECIAL: assert(datum->kind != DATUM_SPECIAL);
    }
}

/* ---- as a format ---- */

enum { SINGLE_OBJECT = 0xc301 };

typedef struct Body {
    const Kind *kind;
    const AvroNode *node;
    bool single_object;
    uint64_t fingerprint;
} Body;

static const void *body_new(Arena *arena, const Kind *kind, const FormatTable *table) {
    Body *body = arena_alloc(arena, sizeof *body);
    bool single = table->format->single_object;
    *body = (Body){.kind = kind,
                   .node = avro_node_new(arena, kind),
                   .single_object = single,
                   .fingerprint = single ? avro_kind_fingerprint(kind) : 0};
    return body;
}

static void schema_write(const void *own, Writer *out) {
    const Body *body = own;
    avro_schema_write(out, body->kind);
}

static void body_write(const void *own, uint32_t id, const Datum *datum, Writer *out) {
    const Body *body = own;
    if (body->single_object) {
        writer_u16(out, SINGLE_OBJECT);
        wire_little_write(out, body->fingerprint, sizeof body->fingerprint);
    } else {
        writer_u8(out, CONFLUENT);
        writer_u32(out, id);
    }
    avro_datum_write(out, body->node, datum);
}

const FormatOps format_avro = {.body_new = body_new, .schema_write = schema_write, .body_write = body_write};
