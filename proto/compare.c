#include "proto/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { SHOWN_BYTES = 300, PATH_BYTES_MAX = 1 << 16, ROW_DEPTH = 3 };

#define ABSENT "(absent)"

/* ---- reading ---- */

/* What stands before a body whose schema is at a registry, or in the job's control topic. */
static bool is_binary(Slice text) {
    return text.len > 0 && (text.at[0] == '\0' || (text.len > 1 && memcmp(text.at, "\xC3\x01", 2) == 0));
}

static json_t *bytes_take(Slice text) {
    Writer hex = writer_new(SIZE_MAX);
    for (size_t byte = 0; byte < text.len; byte++)
        writer_format(&hex, "%s%02x", byte == 0 ? "\\x" : "", (unsigned char)text.at[byte]);
    json_t *out = json_string(writer_string(&hex));
    writer_free(&hex);
    return out;
}

static json_t *text_take(Slice text) {
    if (text.at == NULL)
        return NULL;
    json_t *out = json_loadb(text.at, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (out == NULL)
        out = json_stringn(text.at, text.len);
    return out == NULL ? bytes_take(text) : out;
}

static bool part_take(Slice bytes, const CompareDecoder *decoder, json_t **out, Error *e) {
    bool binary = is_binary(bytes);
    *out = binary ? decoder->decode(decoder->context, bytes, e) : text_take(bytes);
    return !binary || *out != NULL;
}

static bool is_left_out_header(const char *name) {
    return strncmp(name, "walferry.", 9) == 0 || strncmp(name, "__debezium.context.", 19) == 0;
}

static json_t *headers_take(const CompareRecord *record) {
    json_t *out = json_object();
    for (size_t header = 0; header < record->header_count; header++) {
        const CompareHeader *each = &record->headers[header];
        json_t *value = each->value.at == NULL ? json_null() : text_take(each->value);
        if (is_left_out_header(each->name))
            json_decref(value);
        else
            json_object_set_new(out, each->name, value);
    }
    return out;
}

bool compare_parse(const CompareRecord *record, const CompareDecoder *decoder, CompareParsed *out, Error *e) {
    *out = (CompareParsed){.key = NULL};
    if (!part_take(record->key, decoder, &out->key, e))
        return fail_context(e, "the key");
    if (!part_take(record->value, decoder, &out->value, e)) {
        json_decref(out->key);
        *out = (CompareParsed){.key = NULL};
        return fail_context(e, "the value");
    }
    out->headers = headers_take(record);
    return true;
}

void compare_parsed_free(CompareParsed *parsed) {
    json_decref(parsed->key);
    json_decref(parsed->value);
    json_decref(parsed->headers);
}

/* As Connect's JsonConverter wraps what it writes. */
static bool is_wrapped(const json_t *value) {
    return json_is_object(value) && json_object_size(value) == 2 &&
           json_object_get(value, "schema") != NULL && json_object_get(value, "payload") != NULL;
}

static const json_t *unwrapped(const json_t *value) {
    return is_wrapped(value) ? json_object_get(value, "payload") : value;
}

void compare_key_write(const CompareParsed *parsed, Writer *out) {
    char *text = json_dumps(unwrapped(parsed->key), JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    writer_text(out, text);
    free(text);
}

static bool op_is(const json_t *event, const char *op) {
    const char *text = json_string_value(json_object_get(event, "op"));
    return text != NULL && strcmp(text, op) == 0;
}

static bool is_event(const json_t *value) {
    return json_is_object(json_object_get(value, "source")) && json_is_string(json_object_get(value, "op"));
}

/* Of the topic of transactions. */
static bool is_transaction(const json_t *value) {
    return json_is_string(json_object_get(value, "status")) &&
           json_object_get(value, "data_collections") != NULL;
}

bool compare_lsn(const CompareParsed *parsed, int64_t *lsn) {
    const json_t *event = unwrapped(parsed->value);
    const json_t *number = json_object_get(json_object_get(event, "source"), "lsn");
    if (!is_event(event) || op_is(event, "r") || !json_is_integer(number))
        return false;
    *lsn = json_integer_value(number);
    return true;
}

const json_t *compare_before(const CompareParsed *parsed) {
    return json_object_get(unwrapped(parsed->value), "before");
}

const json_t *compare_after(const CompareParsed *parsed) {
    const json_t *value = unwrapped(parsed->value);
    return is_event(value) ? json_object_get(value, "after") : value;
}

/* ---- walking ---- */

typedef struct Walker {
    const char *const *prefixes;
    CompareDiffer *differ;
    void *context;
    Writer path;
    int64_t fields;
    bool schema; /* in one */
    bool event, snapshot, untimed;
} Walker;

static char *shown(const json_t *value) {
    if (value == NULL)
        return memory_text(ABSENT);
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    size_t length = text == NULL ? 0 : strlen(text), keep = SHOWN_BYTES;
    if (length > SHOWN_BYTES) {
        while (((unsigned char)text[keep] & 0xC0) == 0x80)
            keep--;
        snprintf(text + keep, length + 1 - keep, "%s", "");
    }
    Writer out = writer_new(2 * SHOWN_BYTES);
    writer_text(&out, text == NULL ? "" : text);
    if (length > SHOWN_BYTES)
        writer_format(&out, "... (%zu bytes)", length);
    free(text);
    text = memory_text(writer_string(&out));
    writer_free(&out);
    return text;
}

static void differ(Walker *w, const json_t *ours, const json_t *theirs) {
    char *texts[SIDES] = {shown(ours), shown(theirs)};
    w->differ(w->context, writer_string(&w->path), (const char *const[SIDES]){texts[OURS], texts[THEIRS]});
    free(texts[OURS]);
    free(texts[THEIRS]);
}

static bool path_is_one(const char *path, const char *const *names, size_t count) {
    for (size_t name = 0; name < count; name++)
        if (strcmp(path, names[name]) == 0)
            return true;
    return false;
}

#define PATH_IS_ONE(path, ...)                                                                               \
    path_is_one(path, (const char *const[]){__VA_ARGS__},                                                    \
                sizeof(const char *const[]){__VA_ARGS__} / sizeof(const char *))

static bool is_left_out(Walker *w) {
    if (w->schema || !w->event)
        return false;
    const char *path = writer_string(&w->path);
    if (PATH_IS_ONE(path, "value.source.version", "value.source.name", "value.ts_ms", "value.ts_us",
                    "value.ts_ns"))
        return true;
    if ((w->snapshot || w->untimed) &&
        PATH_IS_ONE(path, "value.source.ts_ms", "value.source.ts_us", "value.source.ts_ns"))
        return true;
    return w->snapshot && PATH_IS_ONE(path, "value.source.lsn", "value.source.txId", "value.source.xmin",
                                      "value.source.sequence", "value.source.snapshot");
}

/* Behind "<prefix>."; NULL: it does not begin so. */
static const char *behind_prefix(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 && name[length] == '.' ? name + length + 1 : NULL;
}

static bool same_names(const Walker *w, const json_t *ours, const json_t *theirs) {
    const char *our = behind_prefix(json_string_value(ours), w->prefixes[OURS]);
    const char *their = behind_prefix(json_string_value(theirs), w->prefixes[THEIRS]);
    return our != NULL && their != NULL && strcmp(our, their) == 0;
}

static bool same_plain(const Walker *w, const json_t *ours, const json_t *theirs) {
    if (json_is_number(ours) && json_is_number(theirs) && (json_is_real(ours) || json_is_real(theirs)))
        return json_number_value(ours) == json_number_value(theirs);
    if (json_equal(ours, theirs))
        return true;
    return w->schema && json_is_string(ours) && json_is_string(theirs) && same_names(w, ours, theirs);
}

static void walk(Walker *w, const json_t *ours, const json_t *theirs);

static void walk_named(Walker *w, const char *name, const json_t *ours, const json_t *theirs) {
    size_t before = w->path.len;
    writer_format(&w->path, ".%s", name);
    if (!is_left_out(w))
        walk(w, ours, theirs);
    w->path.len = before;
}

/* jansson's way to go through an object takes no const, and changes nothing. */
static json_t *unlocked(const json_t *value) {
    return (json_t *)(uintptr_t)value;
}

static void walk_objects(Walker *w, const json_t *ours, const json_t *theirs) {
    const char *name;
    json_t *value;
    json_object_foreach(unlocked(ours), name, value)
        walk_named(w, name, value, json_object_get(theirs, name));
    json_object_foreach(unlocked(theirs), name, value) if (json_object_get(ours, name) == NULL)
        walk_named(w, name, NULL, value);
}

static void walk_arrays(Walker *w, const json_t *ours, const json_t *theirs) {
    for (size_t place = 0; place < json_array_size(ours); place++) {
        size_t before = w->path.len;
        writer_format(&w->path, "[%zu]", place);
        walk(w, json_array_get(ours, place), json_array_get(theirs, place));
        w->path.len = before;
    }
}

/* The fields of a schema as an object of them, by their names; NULL: it is no such list. */
static json_t *by_name(const json_t *fields) {
    json_t *out = json_object();
    for (size_t place = 0; place < json_array_size(fields); place++) {
        json_t *field = json_array_get(fields, place);
        const char *name = json_string_value(json_object_get(field, "field"));
        if (name == NULL || json_object_get(out, name) != NULL) {
            json_decref(out);
            return NULL;
        }
        json_object_set(out, name, field);
    }
    return out;
}

static bool walk_fields(Walker *w, const json_t *ours, const json_t *theirs) {
    json_t *both[SIDES] = {by_name(ours), by_name(theirs)};
    bool named = both[OURS] != NULL && both[THEIRS] != NULL;
    if (named)
        walk_objects(w, both[OURS], both[THEIRS]);
    json_decref(both[OURS]);
    json_decref(both[THEIRS]);
    return named;
}

static void walk(Walker *w, const json_t *ours, const json_t *theirs) {
    if (json_is_object(ours) && json_is_object(theirs)) {
        walk_objects(w, ours, theirs);
        return;
    }
    bool arrays = json_is_array(ours) && json_is_array(theirs);
    if (arrays && w->schema && walk_fields(w, ours, theirs))
        return;
    if (arrays && json_array_size(ours) == json_array_size(theirs)) {
        walk_arrays(w, ours, theirs);
        return;
    }
    w->fields++;
    if (ours == NULL || theirs == NULL || !same_plain(w, ours, theirs))
        differ(w, ours, theirs);
}

static void walk_schemas(Walker *w, const json_t *ours, const json_t *theirs) {
    const json_t *schemas[SIDES] = {is_wrapped(ours) ? json_object_get(ours, "schema") : NULL,
                                    is_wrapped(theirs) ? json_object_get(theirs, "schema") : NULL};
    if (schemas[OURS] == NULL && schemas[THEIRS] == NULL)
        return;
    w->schema = true;
    walk_named(w, "schema", schemas[OURS], schemas[THEIRS]);
    w->schema = false;
}

/* Each may be wrapped with its schema. */
static void walk_part(Walker *w, const char *name, const json_t *ours, const json_t *theirs) {
    if (ours == NULL && theirs == NULL)
        return;
    w->path.len = 0;
    writer_text(&w->path, name);
    if (ours != NULL && theirs != NULL)
        walk_schemas(w, ours, theirs);
    walk(w, unwrapped(ours), unwrapped(theirs));
}

static void walk_headers(Walker *w, const json_t *ours, const json_t *theirs) {
    Writer name = writer_new(PATH_BYTES_MAX);
    const char *header;
    json_t *value;
    json_object_foreach(unlocked(ours), header, value) {
        writer_reset(&name);
        writer_format(&name, "headers.%s", header);
        walk_part(w, writer_string(&name), value, json_object_get(theirs, header));
    }
    json_object_foreach(unlocked(theirs), header, value) {
        writer_reset(&name);
        writer_format(&name, "headers.%s", header);
        if (json_object_get(ours, header) == NULL)
            walk_part(w, writer_string(&name), NULL, value);
    }
    writer_free(&name);
}

static bool is_untimed(const json_t *event) {
    const json_t *transaction = json_object_get(json_object_get(event, "source"), "txId");
    return op_is(event, "m") && (transaction == NULL || json_is_null(transaction));
}

int64_t compare_records(const CompareParsed records[SIDES], const char *const prefixes[SIDES],
                        CompareDiffer *differ_with, void *context) {
    const CompareParsed *ours = &records[OURS], *theirs = &records[THEIRS];
    const json_t *our = unwrapped(ours->value), *their = unwrapped(theirs->value);
    Walker w = {.prefixes = prefixes, .differ = differ_with, .context = context};
    w.path = writer_new(PATH_BYTES_MAX);
    w.event = (is_event(our) && is_event(their)) || (is_transaction(our) && is_transaction(their));
    w.snapshot = op_is(our, "r") && op_is(their, "r");
    w.untimed = is_untimed(our) && is_untimed(their);
    walk_part(&w, "key", ours->key, theirs->key);
    walk_part(&w, "value", ours->value, theirs->value);
    walk_headers(&w, ours->headers, theirs->headers);
    writer_free(&w.path);
    return w.fields;
}
