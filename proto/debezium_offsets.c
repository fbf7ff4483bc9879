#include "proto/debezium_offsets.h"

#include <string.h>

#include <jansson.h>
#include <stdlib.h>

#include "core/memory.h"

/* Java Object Serialization Specification, chapter 6 */
enum {
    JAVA_MAGIC = 0xACED,
    JAVA_VERSION = 5,
    TC_NULL = 0x70,
    TC_REFERENCE,
    TC_CLASSDESC,
    TC_OBJECT,
    TC_ARRAY = 0x75,
    TC_BLOCKDATA = 0x77,
    TC_ENDBLOCKDATA = 0x78
};

static bool damaged(Error *e) {
    fail(e, ERR_CONFIG, "this is no offsets file of Kafka Connect");
    return fail_hint(e, "name the file of offset.storage.file.filename, with the worker stopped");
}

/* ---- one record ---- */

static bool lsn_of(const json_t *value, const char *name, Lsn *out) {
    const json_t *number = json_object_get(value, name);
    if (!json_is_integer(number) || json_integer_value(number) <= 0)
        return false;
    out->at = (uint64_t)json_integer_value(number);
    return true;
}

static bool in_snapshot(const json_t *value) {
    const json_t *mark = json_object_get(value, "snapshot"),
                 *completed = json_object_get(value, "snapshot_completed");
    bool snapshot =
        json_is_true(mark) || (json_is_string(mark) && strcmp(json_string_value(mark), "false") != 0);
    return snapshot && !json_is_true(completed);
}

/* Behind a snapshot nothing was committed yet: then the stream begins where the snapshot was taken. */
static bool value_take(const json_t *value, DebeziumOffset *out, Error *e) {
    *out = (DebeziumOffset){.snapshot = in_snapshot(value)};
    if (lsn_of(value, "lsn_commit", &out->commit) || lsn_of(value, "lsn_proc", &out->commit) ||
        lsn_of(value, "lsn", &out->commit))
        return true;
    fail(e, ERR_CONFIG, "the connector's offset has no LSN");
    return fail_hint(e, "is it of Debezium's PostgreSQL connector?");
}

/* ---- those of one prefix ---- */

struct DebeziumOffsets {
    char *prefix;
    json_t *by_name;
};

DebeziumOffsets *debezium_offsets_new(const char *prefix) {
    DebeziumOffsets *offsets = memory_new(sizeof *offsets);
    *offsets = (DebeziumOffsets){memory_text(prefix), json_object()};
    return offsets;
}

void debezium_offsets_free(DebeziumOffsets *offsets) {
    free(offsets->prefix);
    json_decref(offsets->by_name);
    free(offsets);
}

void debezium_offsets_record(DebeziumOffsets *offsets, Slice key, Slice value) {
    json_t *names = json_loadb(key.at, key.len, 0, NULL);
    const char *name = json_string_value(json_array_get(names, 0));
    const char *server = json_string_value(json_object_get(json_array_get(names, 1), "server"));
    bool ours = name != NULL && server != NULL && strcmp(server, offsets->prefix) == 0;
    if (ours && value.at == NULL) {
        json_object_del(offsets->by_name, name);
    } else if (ours) {
        json_t *offset = json_loadb(value.at, value.len, 0, NULL);
        json_object_set_new(offsets->by_name, name, offset != NULL ? offset : json_null());
    }
    json_decref(names);
}

/* Always false. */
static bool several(const DebeziumOffsets *offsets, Error *e) {
    const char *name;
    json_t *offset;
    Writer names = writer_new(sizeof e->text);
    json_object_foreach(offsets->by_name, name, offset)
        writer_format(&names, "%s\"%s\"", names.len == 0 ? "" : ", ", name);
    fail(e, ERR_CONFIG, "several connectors have the topic.prefix \"%s\": %s", offsets->prefix,
         writer_string(&names));
    writer_free(&names);
    return fail_hint(e, "say by --debezium-connector which one it was that wrote last");
}

bool debezium_offsets_choose(const DebeziumOffsets *offsets, const char *connector, bool *found,
                             DebeziumOffset *out, Error *e) {
    if (connector == NULL && json_object_size(offsets->by_name) > 1)
        return several(offsets, e);
    const json_t *offset = json_object_iter_value(json_object_iter(offsets->by_name));
    if (connector != NULL)
        offset = json_object_get(offsets->by_name, connector);
    *found = offset != NULL;
    return !*found || value_take(offset, out, e);
}

/* ---- the file ---- */

static bool reads_name(Reader *r, const char *name) {
    uint16_t length = reader_u16(r);
    return slice_is(reader_bytes(r, length), name);
}

/* Behind TC_CLASSDESC and the name: serialVersionUID, flags, fields, no annotation, no superclass. */
static bool class_rest(Reader *r) {
    reader_u64(r);
    reader_u8(r);
    uint16_t fields = reader_u16(r);
    for (uint16_t field = 0; field < fields && !r->bad; field++) {
        reader_u8(r); /* a primitive type: a HashMap has no others */
        reader_bytes(r, reader_u16(r));
    }
    return reader_u8(r) == TC_ENDBLOCKDATA && reader_u8(r) == TC_NULL && !r->bad;
}

static bool map_begin(Reader *r, uint32_t *entries) {
    if (reader_u16(r) != JAVA_MAGIC || reader_u16(r) != JAVA_VERSION || reader_u8(r) != TC_OBJECT ||
        reader_u8(r) != TC_CLASSDESC || !reads_name(r, "java.util.HashMap") || !class_rest(r))
        return false;
    reader_u32(r); /* loadFactor */
    reader_u32(r); /* threshold */
    if (reader_u8(r) != TC_BLOCKDATA || reader_u8(r) != 8)
        return false;
    reader_u32(r); /* buckets */
    *entries = reader_u32(r);
    return !r->bad;
}

/* A byte[], or null. */
static bool array_take(Reader *r, Slice *out) {
    *out = (Slice){NULL, 0};
    uint8_t kind = reader_u8(r);
    if (kind == TC_NULL)
        return !r->bad;
    if (kind != TC_ARRAY)
        return false;
    uint8_t class = reader_u8(r);
    if (class == TC_REFERENCE)
        reader_u32(r);
    else if (class != TC_CLASSDESC || !reads_name(r, "[B") || !class_rest(r))
        return false;
    uint32_t length = reader_u32(r);
    if (r->bad || length > reader_left(r))
        return false;
    *out = reader_bytes(r, length);
    return true;
}

bool debezium_offsets_file(DebeziumOffsets *offsets, Slice bytes, Error *e) {
    Reader r = reader_new(bytes);
    uint32_t entries;
    if (!map_begin(&r, &entries))
        return damaged(e);
    for (uint32_t entry = 0; entry < entries; entry++) {
        Slice key, value;
        if (!array_take(&r, &key) || !array_take(&r, &value))
            return damaged(e);
        if (key.at != NULL)
            debezium_offsets_record(offsets, key, value);
    }
    return true;
}
