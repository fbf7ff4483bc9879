#include "proto/protobuf_decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "proto/decoded.h"
#include "proto/protobuf_parse.h"

enum {
    DEPTH_MAX = 100,
    FIELDS_MAX = 1 << 20, /* with those that are absent, which need no bytes */
    NUMBER_TEXT_MAX = 24
};

typedef enum Wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 } Wire;

struct ProtobufDecoder {
    Arena *arena;
    const ProtobufMessage *first;
};

/* ---- its life ---- */

ProtobufDecoder *protobuf_decoder_new(Slice schema, Error *e) {
    ProtobufDecoder *d = memory_new(sizeof *d);
    d->arena = arena_new();
    d->first = protobuf_parse(d->arena, schema, e);
    if (d->first != NULL)
        return d;
    protobuf_decoder_free(d);
    return NULL;
}

void protobuf_decoder_free(ProtobufDecoder *d) {
    if (d == NULL)
        return;
    arena_free(d->arena);
    free(d);
}

/* ---- parts ---- */

typedef struct Decoding {
    Reader in; /* ends where the message in work does */
    int depth;
    int fields_left;
    const char *why; /* it went wrong; NULL: it did not */
} Decoding;

/* Always NULL. The first reason counts. */
static json_t *wrong(Decoding *d, const char *why) {
    if (d->why == NULL)
        d->why = why;
    return NULL;
}

/* False: nothing further is to be read. */
static bool is_well(Decoding *d) {
    if (d->in.bad)
        wrong(d, "it ends too early");
    return d->why == NULL;
}

static uint64_t varint_take(Decoding *d) {
    uint64_t value;
    if (!decoded_varint(&d->in, &value))
        wrong(d, "a number has more than 64 bits");
    return value;
}

static Slice bytes_take(Decoding *d) {
    uint64_t length = varint_take(d);
    if (length <= reader_left(&d->in))
        return reader_bytes(&d->in, (size_t)length);
    wrong(d, "a length goes beyond the end");
    return (Slice){NULL, 0};
}

/* What comes next ends there, until the returned end is put back. */
static const uint8_t *part_begin(Decoding *d) {
    const uint8_t *end = d->in.end;
    Slice part = bytes_take(d);
    if (!is_well(d))
        return end;
    d->in.at = (const uint8_t *)part.at;
    d->in.end = d->in.at + part.len;
    return end;
}

/* ---- values ---- */

static Wire wire_of(ProtobufType type) {
    switch (type) {
    case PROTOBUF_DOUBLE:
    case PROTOBUF_FIXED64:
    case PROTOBUF_SFIXED64: return WIRE_64;
    case PROTOBUF_FLOAT:
    case PROTOBUF_FIXED32:
    case PROTOBUF_SFIXED32: return WIRE_32;
    case PROTOBUF_STRING:
    case PROTOBUF_BYTES:
    case PROTOBUF_MESSAGE: return WIRE_BYTES;
    default: return WIRE_VARINT;
    }
}

static json_t *unsigned_new(uint64_t value) {
    char text[NUMBER_TEXT_MAX];
    if (value <= INT64_MAX)
        return json_integer((json_int_t)value);
    snprintf(text, sizeof text, "%" PRIu64, value);
    return json_string(text);
}

static json_t *symbol_new(const ProtobufSymbol *symbols, int32_t number) {
    for (const ProtobufSymbol *symbol = symbols; symbol != NULL; symbol = symbol->next)
        if (symbol->number == number)
            return json_string(symbol->name);
    return json_integer(number);
}

static json_t *string_take(Decoding *d) {
    json_t *out = decoded_string(bytes_take(d));
    return out != NULL ? out : wrong(d, "a string is not UTF-8");
}

static json_t *message_take(Decoding *d, const ProtobufMessage *message);

static json_t *part_take(Decoding *d, const ProtobufMessage *message) {
    const uint8_t *end = part_begin(d);
    json_t *out = is_well(d) ? message_take(d, message) : NULL;
    d->in.end = end;
    return out;
}

static json_t *value_take(Decoding *d, const ProtobufField *field) {
    switch (field->type) {
    case PROTOBUF_DOUBLE: return decoded_double(&d->in);
    case PROTOBUF_FLOAT: return decoded_float(&d->in);
    case PROTOBUF_INT32: return json_integer((int32_t)varint_take(d));
    case PROTOBUF_INT64: return json_integer((json_int_t)varint_take(d));
    case PROTOBUF_UINT32: return json_integer((uint32_t)varint_take(d));
    case PROTOBUF_UINT64: return unsigned_new(varint_take(d));
    case PROTOBUF_SINT32: return json_integer((int32_t)decoded_zigzag(varint_take(d)));
    case PROTOBUF_SINT64: return json_integer(decoded_zigzag(varint_take(d)));
    case PROTOBUF_FIXED32: return json_integer((json_int_t)decoded_little(&d->in, 4));
    case PROTOBUF_FIXED64: return unsigned_new(decoded_little(&d->in, 8));
    case PROTOBUF_SFIXED32: return json_integer((int32_t)decoded_little(&d->in, 4));
    case PROTOBUF_SFIXED64: return json_integer((json_int_t)decoded_little(&d->in, 8));
    case PROTOBUF_BOOL: return json_boolean(varint_take(d) != 0);
    case PROTOBUF_STRING: return string_take(d);
    case PROTOBUF_BYTES: return decoded_bytes(bytes_take(d));
    case PROTOBUF_ENUM: return symbol_new(field->symbols, (int32_t)varint_take(d));
    case PROTOBUF_MESSAGE: return part_take(d, field->message);
    }
    return NULL;
}

/* Where no bytes say anything of it. */
static json_t *absent_new(const ProtobufField *field) {
    if (field->map)
        return json_object();
    if (field->repeated)
        return json_array();
    if (!field->implicit)
        return json_null();
    switch (field->type) {
    case PROTOBUF_DOUBLE:
    case PROTOBUF_FLOAT: return json_real(0);
    case PROTOBUF_BOOL: return json_false();
    case PROTOBUF_STRING:
    case PROTOBUF_BYTES: return json_string("");
    case PROTOBUF_ENUM: return symbol_new(field->symbols, 0);
    case PROTOBUF_MESSAGE: return json_null();
    default: return json_integer(0);
    }
}

/* ---- fields ---- */

/* Of an entry's key; false: JSON has no such name. */
static bool entry_put(json_t *map, const json_t *key, json_t *value) {
    char *text = json_is_string(key) ? NULL : json_dumps(key, JSON_ENCODE_ANY);
    const char *name = text != NULL ? text : json_string_value(key);
    bool whole = text != NULL || strlen(name) == json_string_length(key);
    bool good = whole && json_object_set(map, name, value) == 0;
    free(text);
    return good;
}

static void entry_take(Decoding *d, const ProtobufField *field, json_t **map) {
    json_t *entry = part_take(d, field->message);
    if (*map == NULL)
        *map = json_object();
    if (entry != NULL && !entry_put(*map, json_object_get(entry, "key"), json_object_get(entry, "value")))
        wrong(d, "the key of a map holds a zero byte");
    json_decref(entry);
}

static void packed_take(Decoding *d, const ProtobufField *field, json_t *list) {
    const uint8_t *end = part_begin(d);
    while (is_well(d) && reader_left(&d->in) > 0)
        json_array_append_new(list, value_take(d, field));
    d->in.end = end;
}

static void item_take(Decoding *d, const ProtobufField *field, Wire wire, json_t **list) {
    if (*list == NULL)
        *list = json_array();
    if (wire == WIRE_BYTES && wire_of(field->type) != WIRE_BYTES)
        packed_take(d, field, *list);
    else if (wire == wire_of(field->type))
        json_array_append_new(*list, value_take(d, field));
    else
        wrong(d, "a field has another type than in its schema");
}

static void field_take(Decoding *d, const ProtobufField *field, Wire wire, json_t **value) {
    if (field->repeated && !field->map) {
        item_take(d, field, wire, value);
    } else if (wire != wire_of(field->type)) {
        wrong(d, "a field has another type than in its schema");
    } else if (field->map) {
        entry_take(d, field, value);
    } else {
        json_decref(*value); /* the last one counts */
        *value = value_take(d, field);
    }
}

/* They mostly come in the schema's order: from the one behind the last. */
static int field_find(const ProtobufMessage *message, uint64_t number, int last) {
    for (int step = 0; step < message->field_count; step++) {
        int at = (last + step) % message->field_count;
        if (message->fields[at].number == number)
            return at;
    }
    return -1;
}

static void fields_take(Decoding *d, const ProtobufMessage *message, json_t **values) {
    int at = 0;
    while (is_well(d) && reader_left(&d->in) > 0) {
        uint64_t tag = varint_take(d);
        at = field_find(message, tag >> 3, at);
        if (at < 0) {
            wrong(d, "a field is not in its schema");
            return;
        }
        field_take(d, &message->fields[at], (Wire)(tag & 7), &values[at]);
    }
}

static json_t *object_new(const ProtobufMessage *message, json_t **values) {
    json_t *out = json_object();
    for (int at = 0; at < message->field_count; at++) {
        const ProtobufField *field = &message->fields[at];
        json_object_set_new(out, field->name, values[at] != NULL ? values[at] : absent_new(field));
    }
    return out;
}

/* NULL: it went wrong, somewhere in it. */
static json_t *message_take(Decoding *d, const ProtobufMessage *message) {
    size_t count = (size_t)message->field_count;
    d->fields_left -= message->field_count;
    if (++d->depth > DEPTH_MAX || d->fields_left < 0)
        return wrong(d, "it has too many messages, or too deep in each other");
    json_t **values = memory_array(count + 1, sizeof *values);
    fields_take(d, message, values);
    json_t *out = object_new(message, values);
    free(values);
    d->depth--;
    if (is_well(d))
        return out;
    json_decref(out);
    return NULL;
}

/* ---- which message ---- */

static const ProtobufMessage *message_at(const ProtobufMessage *first, int64_t number) {
    while (first != NULL && number-- > 0)
        first = first->next;
    return first;
}

/* The places of a message and of those around it, from the outermost; nothing is the first one. NULL: there is none. */
static const ProtobufMessage *message_find(Decoding *d, const ProtobufMessage *first) {
    int64_t count = decoded_zigzag(varint_take(d));
    const ProtobufMessage *found = first;
    if (count < 0 || count > DEPTH_MAX)
        found = NULL;
    for (int64_t level = 0; level < count && found != NULL; level++) {
        int64_t place = decoded_zigzag(varint_take(d));
        found = place < 0 ? NULL : message_at(level == 0 ? first : found->nested, place);
    }
    if (found == NULL)
        wrong(d, "its schema has no such message");
    return found;
}

json_t *protobuf_decode(const ProtobufDecoder *decoder, Slice body, Error *e) {
    Decoding d = {.in = reader_new(body), .fields_left = FIELDS_MAX};
    const ProtobufMessage *message = message_find(&d, decoder->first);
    json_t *out = is_well(&d) ? message_take(&d, message) : NULL;
    if (out == NULL)
        fail(e, ERR_DATA, "the bytes are not what their Protobuf schema says: %s (byte %zu of %zu)", d.why,
             reader_offset(&d.in), body.len);
    return out;
}
