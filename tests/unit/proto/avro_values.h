/* avro_values: Avro bodies read by Avro C with the schema that is registered, and compared with what JSON says of the same
 * event: two formats, one content. */
#ifndef WALFERRY_TESTS_PROTO_AVRO_VALUES_H
#define WALFERRY_TESTS_PROTO_AVRO_VALUES_H

#include <avro.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/avro_decode.h"
#include "proto/avro_schema.h"
#include "proto/json_value.h"
#include "testing.h"

typedef struct AvroReader {
    avro_schema_t schema;
    avro_value_iface_t *class;
    avro_value_t value;
    AvroDecoder *decoder; /* the product's */
} AvroReader;

static inline AvroReader avro_reader_make(Slice text) {
    AvroReader r;
    if (avro_schema_from_json_length(text.at, text.len, &r.schema) != 0)
        fail_test("%s in %.*s", avro_strerror(), (int)text.len, text.at);
    r.class = avro_generic_class_from_schema(r.schema);
    avro_generic_value_new(r.class, &r.value);
    Error e;
    r.decoder = avro_decoder_new(text, &e);
    return r;
}

static inline void avro_reader_drop(AvroReader *r) {
    avro_value_decref(&r->value);
    avro_decoder_free(r->decoder);
    avro_value_iface_decref(r->class);
    avro_schema_decref(r->schema);
}

/* Behind Confluent's head; nothing is left over. */
static inline avro_value_t *avro_body_read(AvroReader *r, Slice body, uint32_t id) {
    Reader head = reader_new(body);
    assert_int_equal(reader_u8(&head), 0);
    assert_int_equal(reader_u32(&head), id);
    avro_value_reset(&r->value);
    avro_reader_t reader = avro_reader_memory((const char *)head.at, (int64_t)reader_left(&head));
    if (avro_value_read(reader, &r->value) != 0)
        fail_test("%s", avro_strerror());
    assert_int_not_equal(avro_skip(reader, 1), 0);
    avro_reader_free(reader);
    return &r->value;
}

static inline void assert_same(avro_value_t *avro, const json_t *json);

static inline void assert_same_bytes(const void *bytes, size_t size, const json_t *json) {
    Writer out = writer_new(1 << 20);
    json_base64_write(&out, (Slice){bytes, size});
    assert_int_equal(json_string_length(json) + 2, out.len);
    assert_memory_equal(json_string_value(json), out.at + 1, out.len - 2);
    writer_free(&out);
}

static inline void assert_same_float(double is, const json_t *json, bool wide) {
    double wanted = json_is_string(json) ? strtod(json_string_value(json), NULL) : json_number_value(json);
    if (!wide)
        wanted = (double)(float)wanted;
    assert_memory_equal(&is, &wanted, sizeof is);
}

/* What JSON leaves out is null in Avro. */
static inline void assert_same_record(avro_value_t *avro, const json_t *json) {
    size_t count = 0, found = 0;
    Arena *arena = arena_new();
    avro_value_get_size(avro, &count);
    for (size_t at = 0; at < count; at++) {
        const char *name = NULL, *key;
        avro_value_t field;
        json_t *member, *match = NULL;
        avro_value_get_by_index(avro, at, &field, &name);
        json_object_foreach((json_t *)(uintptr_t)json, key, member) {
            if (strcmp(avro_field_name(arena, key), name) == 0)
                match = member;
        }
        found += match != NULL;
        assert_same(&field, match != NULL ? match : json_null());
    }
    assert_int_equal(found, json_object_size(json));
    arena_free(arena);
}

/* A list of values, or of the entries of a map. */
static inline void assert_same_list(avro_value_t *avro, const json_t *json) {
    size_t count = 0;
    avro_value_get_size(avro, &count);
    assert_true(json_is_array(json));
    assert_int_equal(count, json_array_size(json));
    for (size_t at = 0; at < count; at++) {
        avro_value_t item, part;
        const json_t *wanted = json_array_get(json, at);
        avro_value_get_by_index(avro, at, &item, NULL);
        if (!json_is_array(wanted)) {
            assert_same(&item, wanted);
            continue;
        }
        for (size_t side = 0; side < 2; side++) {
            avro_value_get_by_index(&item, side, &part, NULL);
            assert_same(&part, json_array_get(wanted, side));
        }
    }
}

static inline void assert_same_map(avro_value_t *avro, const json_t *json) {
    size_t count = 0;
    avro_value_get_size(avro, &count);
    assert_int_equal(count, json_object_size(json));
    for (size_t at = 0; at < count; at++) {
        const char *key = NULL;
        avro_value_t value;
        avro_value_get_by_index(avro, at, &value, &key);
        assert_same(&value, json_object_get(json, key));
    }
}

static inline void assert_same(avro_value_t *avro, const json_t *json) {
    avro_value_t branch;
    const void *bytes = NULL;
    const char *text = NULL;
    size_t size = 0;
    int32_t number = 0;
    int64_t wide = 0;
    int truth = 0;
    float single = 0;
    double twice = 0;
    switch (avro_value_get_type(avro)) {
    case AVRO_UNION:
        avro_value_get_current_branch(avro, &branch);
        assert_same(&branch, json);
        break;
    case AVRO_NULL: assert_true(json_is_null(json)); break;
    case AVRO_BOOLEAN:
        avro_value_get_boolean(avro, &truth);
        assert_true(json_is_boolean(json) && json_is_true(json) == (truth != 0));
        break;
    case AVRO_INT32:
        avro_value_get_int(avro, &number);
        assert_true(json_is_integer(json) && json_integer_value(json) == number);
        break;
    case AVRO_INT64:
        avro_value_get_long(avro, &wide);
        assert_true(json_is_integer(json) && json_integer_value(json) == wide);
        break;
    case AVRO_FLOAT:
        avro_value_get_float(avro, &single);
        assert_same_float((double)single, json, false);
        break;
    case AVRO_DOUBLE:
        avro_value_get_double(avro, &twice);
        assert_same_float(twice, json, true);
        break;
    case AVRO_STRING:
        avro_value_get_string(avro, &text, &size);
        assert_true(json_is_string(json));
        assert_string_equal(text, json_string_value(json));
        assert_int_equal(size, json_string_length(json) + 1);
        break;
    case AVRO_BYTES:
        avro_value_get_bytes(avro, &bytes, &size);
        assert_same_bytes(bytes, size, json);
        break;
    case AVRO_RECORD: assert_same_record(avro, json); break;
    case AVRO_ARRAY: assert_same_list(avro, json); break;
    case AVRO_MAP: assert_same_map(avro, json); break;
    default: fail_test("a type that is not ours: %d", avro_value_get_type(avro));
    }
}

#endif
