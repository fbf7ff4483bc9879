#include "proto/avro_decode.h"

#include <avro.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "proto/decoded.h"

enum {
    DEPTH_MAX = 100,
    SPARE_ITEMS = 1000 /* items may be empty: so many more than bytes */
};

struct AvroDecoder {
    avro_schema_t schema;
};

/* ---- its life ---- */

AvroDecoder *avro_decoder_new(Slice schema, Error *e) {
    AvroDecoder *d = memory_new(sizeof *d);
    if (avro_schema_from_json_length(schema.at, schema.len, &d->schema) == 0)
        return d;
    free(d);
    fail(e, ERR_DATA, "an Avro schema cannot be read: %.300s", avro_strerror());
    return NULL;
}

void avro_decoder_free(AvroDecoder *d) {
    if (d == NULL)
        return;
    avro_schema_decref(d->schema);
    free(d);
}

/* ---- numbers ---- */

typedef struct Decoding {
    Reader in;
    int depth;
    size_t items_left; /* of lists, in all */
    const char *why;   /* it went wrong; NULL: it did not */
} Decoding;

/* Always NULL. The first reason counts. */
static json_t *wrong(Decoding *d, const char *why) {
    if (d->why == NULL)
        d->why = why;
    return NULL;
}

static int64_t long_take(Decoding *d) {
    uint64_t value;
    if (!decoded_varint(&d->in, &value))
        wrong(d, "a number has more than 64 bits");
    return decoded_zigzag(value);
}

static json_t *int_take(Decoding *d) {
    int64_t value = long_take(d);
    return value >= INT32_MIN && value <= INT32_MAX ? json_integer(value)
                                                    : wrong(d, "an int has more than 32 bits");
}

/* ---- texts ---- */

static Slice bytes_take(Decoding *d, int64_t length) {
    if (length >= 0 && (uint64_t)length <= reader_left(&d->in))
        return reader_bytes(&d->in, (size_t)length);
    wrong(d, "a length goes beyond the end");
    return (Slice){NULL, 0};
}

static json_t *string_take(Decoding *d) {
    json_t *out = decoded_string(bytes_take(d, long_take(d)));
    return out != NULL ? out : wrong(d, "a string is not UTF-8");
}

static json_t *enum_take(Decoding *d, avro_schema_t schema) {
    int64_t symbol = long_take(d);
    return symbol >= 0 && symbol < avro_schema_enum_number_of_symbols(schema)
               ? json_string(avro_schema_enum_get(schema, (int)symbol))
               : wrong(d, "an enum has no such symbol");
}

/* ---- values of others ---- */

static json_t *value_take(Decoding *d, avro_schema_t schema);

/* False: nothing further is to be read. */
static bool is_well(Decoding *d) {
    if (d->in.bad)
        wrong(d, "it ends too early");
    return d->why == NULL;
}

static json_t *union_take(Decoding *d, avro_schema_t schema) {
    int64_t branch = long_take(d);
    return branch >= 0 && (uint64_t)branch < avro_schema_union_size(schema)
               ? value_take(d, avro_schema_union_branch(schema, (int)branch))
               : wrong(d, "a union has no such branch");
}

static json_t *record_take(Decoding *d, avro_schema_t schema) {
    json_t *out = json_object();
    size_t count = avro_schema_record_size(schema);
    for (int field = 0; (size_t)field < count && is_well(d); field++)
        json_object_set_new(out, avro_schema_record_field_name(schema, field),
                            value_take(d, avro_schema_record_field_get_by_index(schema, field)));
    return out;
}

/* How many items come next; 0: none do. Of a count below zero the block's length follows. */
static uint64_t block_take(Decoding *d) {
    int64_t count = long_take(d);
    uint64_t items = count < 0 ? 0 - (uint64_t)count : (uint64_t)count;
    if (count < 0)
        long_take(d);
    if (!is_well(d))
        return 0;
    if (items > d->items_left) {
        wrong(d, "a list has more items than bytes");
        return 0;
    }
    d->items_left -= (size_t)items;
    return items;
}

static json_t *array_take(Decoding *d, avro_schema_t schema) {
    json_t *out = json_array();
    for (uint64_t items; (items = block_take(d)) > 0;)
        for (; items > 0 && is_well(d); items--)
            json_array_append_new(out, value_take(d, avro_schema_array_items(schema)));
    return out;
}

static void entry_take(Decoding *d, avro_schema_t schema, json_t *out) {
    Slice key = bytes_take(d, long_take(d));
    if (!is_well(d))
        return;
    if (memchr(key.at, '\0', key.len) != NULL) {
        wrong(d, "the key of a map holds a zero byte");
        return;
    }
    char *name = memory_array(key.len + 1, 1);
    memcpy(name, key.at, key.len);
    json_t *value = value_take(d, avro_schema_map_values(schema));
    if (json_object_set_new(out, name, value) != 0)
        wrong(d, "the key of a map is not UTF-8");
    free(name);
}

static json_t *map_take(Decoding *d, avro_schema_t schema) {
    json_t *out = json_object();
    for (uint64_t items; (items = block_take(d)) > 0;)
        for (; items > 0 && is_well(d); items--)
            entry_take(d, schema, out);
    return out;
}

static json_t *any_take(Decoding *d, avro_schema_t schema) {
    switch (avro_typeof(schema)) {
    case AVRO_NULL: return json_null();
    case AVRO_BOOLEAN: return json_boolean(reader_u8(&d->in) != 0);
    case AVRO_INT32: return int_take(d);
    case AVRO_INT64: return json_integer(long_take(d));
    case AVRO_FLOAT: return decoded_float(&d->in);
    case AVRO_DOUBLE: return decoded_double(&d->in);
    case AVRO_STRING: return string_take(d);
    case AVRO_BYTES: return decoded_bytes(bytes_take(d, long_take(d)));
    case AVRO_FIXED: return decoded_bytes(bytes_take(d, avro_schema_fixed_size(schema)));
    case AVRO_ENUM: return enum_take(d, schema);
    case AVRO_UNION: return union_take(d, schema);
    case AVRO_RECORD: return record_take(d, schema);
    case AVRO_ARRAY: return array_take(d, schema);
    case AVRO_MAP: return map_take(d, schema);
    case AVRO_LINK: return value_take(d, avro_schema_link_target(schema));
    default: return wrong(d, "its schema has a type that is not known");
    }
}

/* NULL: it went wrong, somewhere in it. */
static json_t *value_take(Decoding *d, avro_schema_t schema) {
    if (++d->depth > DEPTH_MAX)
        wrong(d, "its values stand too deep in each other");
    json_t *out = is_well(d) ? any_take(d, schema) : NULL;
    d->depth--;
    if (is_well(d))
        return out;
    json_decref(out);
    return NULL;
}

json_t *avro_decode(const AvroDecoder *decoder, Slice body, Error *e) {
    Decoding d = {.in = reader_new(body), .items_left = body.len + SPARE_ITEMS};
    json_t *out = value_take(&d, decoder->schema);
    if (out != NULL && reader_left(&d.in) > 0) {
        json_decref(out);
        out = wrong(&d, "it goes on behind its end");
    }
    if (out == NULL)
        fail(e, ERR_DATA, "the bytes are not what their Avro schema says: %s (byte %zu of %zu)", d.why,
             reader_offset(&d.in), body.len);
    return out;
}
