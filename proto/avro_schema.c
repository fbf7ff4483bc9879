#include "proto/avro_schema.h"

#include <stdlib.h>
#include <string.h>

#include "core/json_text.h"
#include "proto/convert.h"
#include "proto/json_value.h"

enum { PRECISION_UNKNOWN = 64 };

/* A record that stands further up already. */
typedef struct Seen {
    const char *name;
    const struct Seen *next;
} Seen;

typedef struct Schema {
    Writer *out;
    Arena *arena;
    const Seen *seen;
    Slice space; /* the namespace around what is written */
} Schema;

/* ---- names ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

/* What cannot be in a name becomes "_", once for each UTF-16 unit of it; a digit in front gets one before it. `dots` part
 * names, or are characters like others. */
static const char *adjusted(Arena *arena, const char *name, bool dots) {
    char *text = arena_raw(arena, 2 * strlen(name) + 1), *to = text;
    for (const char *at = name; *at != '\0'; at++) {
        bool first = at == name || (dots && at[-1] == '.');
        unsigned char c = (unsigned char)*at;
        if (first && is_digit(*at))
            *to++ = '_';
        if (is_name_character(*at) || (dots && *at == '.'))
            *to++ = *at;
        else if (c < 0x80 || c >= 0xc0) /* the rest of a character counts with its first byte */
            *to++ = '_';
        if (c >= 0xf0)
            *to++ = '_';
    }
    *to = '\0';
    return text;
}

const char *avro_field_name(Arena *arena, const char *name) {
    return adjusted(arena, name, false);
}

const char *avro_full_name(Arena *arena, const char *name) {
    return adjusted(arena, name, true);
}

static Slice namespace_of(const char *full) {
    const char *dot = strrchr(full, '.');
    return (Slice){full, dot == NULL ? 0 : (size_t)(dot - full)};
}

static const char *last_of(const char *full) {
    const char *dot = strrchr(full, '.');
    return dot == NULL ? full : dot + 1;
}

static bool is_seen(const Schema *s, const char *full) {
    for (const Seen *seen = s->seen; seen != NULL; seen = seen->next)
        if (strcmp(seen->name, full) == 0)
            return true;
    return false;
}

static void see(Schema *s, const char *full) {
    Seen *seen = arena_alloc(s->arena, sizeof *seen);
    *seen = (Seen){full, s->seen};
    s->seen = seen;
}

/* ---- properties ---- */

static void text_member(Schema *s, const char *name, const char *text) {
    writer_format(s->out, ",\"%s\":", name);
    json_text_write(s->out, slice_text(text));
}

/* Avro's JSON has a character for each byte. */
static void bytes_write(Writer *out, Slice bytes) {
    writer_u8(out, '"');
    for (size_t at = 0; at < bytes.len; at++)
        writer_format(out, "\\u%04x", (unsigned char)bytes.at[at]);
    writer_u8(out, '"');
}

/* False: none, or none that Avro's JSON can say. */
static bool find_default(Arena *arena, const Kind *kind, Datum *out) {
    Error e = {0};
    if (kind->fallback == NULL || !convert(kind, slice_text(kind->fallback), arena, out, &e) ||
        out->kind == DATUM_SPECIAL || out->kind == DATUM_LIST)
        return false;
    return out->kind != DATUM_FLOAT || out->bytes.at[out->bytes.len - 1] <= '9'; /* NaN, Infinity */
}

bool avro_null_is_first(const Kind *kind, Arena *arena) {
    Datum datum;
    return !find_default(arena, kind, &datum);
}

static bool default_write(Schema *s, const char *member, const Kind *kind) {
    Datum datum;
    if (!find_default(s->arena, kind, &datum))
        return false;
    writer_format(s->out, ",\"%s\":", member);
    if (kind->type == CONNECT_BYTES)
        bytes_write(s->out, datum.bytes);
    else
        json_datum_write(s->out, kind, &datum);
    return true;
}

static void parameters_write(Schema *s, const Kind *kind) {
    writer_text(s->out, ",\"connect.parameters\":{");
    for (int at = 0; at < kind->parameter_count; at++) {
        writer_text(s->out, at > 0 ? "," : "");
        json_text_write(s->out, slice_text(kind->parameters[at].name));
        writer_u8(s->out, ':');
        json_text_write(s->out, slice_text(kind->parameters[at].value));
    }
    writer_u8(s->out, '}');
}

static bool is_decimal(const Kind *kind) {
    return kind->form == FORM_DECIMAL || kind->form == FORM_MONEY;
}

static const char *precision_of(const Kind *kind) {
    for (int at = 0; at < kind->parameter_count; at++)
        if (strcmp(kind->parameters[at].name, "connect.decimal.precision") == 0)
            return kind->parameters[at].value;
    return NULL;
}

static int precision_said(const Kind *kind) {
    const char *precision = precision_of(kind);
    return precision == NULL ? PRECISION_UNKNOWN : (int)strtol(precision, NULL, 10);
}

/* Avro has no numeric(3,-2) and no numeric(2,5): readers refuse a schema with them, or take the logical type for unsaid. */
static bool is_logical(const Kind *kind) {
    return is_decimal(kind) && kind->scale >= 0 && kind->scale <= precision_said(kind);
}

static void properties_write(Schema *s, const Kind *kind) {
    if (is_decimal(kind))
        writer_format(s->out, ",\"scale\":%d,\"precision\":%d", kind->scale, precision_said(kind));
    if (kind->doc != NULL)
        text_member(s, "connect.doc", kind->doc);
    if (kind->version != 0)
        writer_format(s->out, ",\"connect.version\":%d", kind->version);
    if (kind->parameter_count > 0)
        parameters_write(s, kind);
    default_write(s, "connect.default", kind);
    if (kind->name != NULL)
        text_member(s, "connect.name",
                    kind->type == CONNECT_STRUCT ? avro_full_name(s->arena, kind->name) : kind->name);
    if (kind->type == CONNECT_INT16)
        text_member(s, "connect.type", "int16");
    if (is_logical(kind))
        text_member(s, "logicalType", "decimal");
}

/* ---- types ---- */

static void type_write(Schema *s, const Kind *kind);

const char *avro_primitive(ConnectType type) {
    switch (type) {
    case CONNECT_BOOLEAN: return "boolean";
    case CONNECT_INT16:
    case CONNECT_INT32: return "int";
    case CONNECT_INT64: return "long";
    case CONNECT_FLOAT32: return "float";
    case CONNECT_FLOAT64: return "double";
    case CONNECT_STRING: return "string";
    case CONNECT_BYTES: return "bytes";
    default: return NULL;
    }
}

/* The bare name where it has no properties. */
static void primitive_write(Schema *s, const Kind *kind) {
    Writer *out = s->out;
    size_t start = out->len;
    writer_format(out, "{\"type\":\"%s\"", avro_primitive(kind->type));
    size_t plain = out->len;
    properties_write(s, kind);
    if (out->len > plain) {
        writer_u8(out, '}');
        return;
    }
    out->len = start;
    writer_format(out, "\"%s\"", avro_primitive(kind->type));
}

/* A union where the value is optional; what the default is of stands first in it. */
static void optional_write(Schema *s, const Kind *kind) {
    if (!kind->optional) {
        type_write(s, kind);
        return;
    }
    bool null_first = avro_null_is_first(kind, s->arena);
    writer_text(s->out, null_first ? "[\"null\"," : "[");
    type_write(s, kind);
    writer_text(s->out, null_first ? "]" : ",\"null\"]");
}

static void field_write(Schema *s, const KindField *field) {
    writer_text(s->out, "{\"name\":");
    json_text_write(s->out, slice_text(avro_field_name(s->arena, field->name)));
    writer_text(s->out, ",\"type\":");
    optional_write(s, field->kind);
    if (!default_write(s, "default", field->kind) && field->kind->optional)
        writer_text(s->out, ",\"default\":null");
    writer_u8(s->out, '}');
}

/* The head of a record, up to its fields; false: it stands further up, and its name is enough. */
static bool record_begin(Schema *s, const char *full) {
    Slice space = namespace_of(full);
    bool same = slice_equal(space, s->space);
    if (is_seen(s, full)) {
        json_text_write(s->out, slice_text(same ? last_of(full) : full));
        return false;
    }
    see(s, full);
    writer_text(s->out, "{\"type\":\"record\",\"name\":");
    json_text_write(s->out, slice_text(last_of(full)));
    if (!same) {
        writer_text(s->out, ",\"namespace\":");
        json_text_write(s->out, space);
    }
    writer_text(s->out, ",\"fields\":[");
    return true;
}

static void fields_write(Schema *s, const char *full, const KindField *fields, int count) {
    Slice around = s->space;
    s->space = namespace_of(full);
    for (int at = 0; at < count; at++) {
        writer_text(s->out, at > 0 ? "," : "");
        field_write(s, &fields[at]);
    }
    s->space = around;
    writer_u8(s->out, ']');
}

static void struct_write(Schema *s, const Kind *kind) {
    const char *full = avro_full_name(s->arena, kind->name);
    if (!record_begin(s, full))
        return;
    fields_write(s, full, kind->fields, kind->field_count);
    properties_write(s, kind);
    writer_u8(s->out, '}');
}

/* Avro's maps have strings for keys; others are a list of entries. */
static void map_write(Schema *s, const Kind *kind) {
    const KindField fields[] = {{"key", kind->key}, {"value", kind->element}};
    if (kind->key->type == CONNECT_STRING) {
        writer_text(s->out, "{\"type\":\"map\",\"values\":");
        optional_write(s, kind->element);
        properties_write(s, kind);
        writer_u8(s->out, '}');
        return;
    }
    writer_text(s->out, "{\"type\":\"array\",\"items\":");
    if (record_begin(s, AVRO_MAP_ENTRY)) {
        fields_write(s, AVRO_MAP_ENTRY, fields, 2);
        writer_u8(s->out, '}');
    }
    properties_write(s, kind);
    writer_u8(s->out, '}');
}

static void type_write(Schema *s, const Kind *kind) {
    switch (kind->type) {
    case CONNECT_STRUCT: struct_write(s, kind); break;
    case CONNECT_MAP: map_write(s, kind); break;
    case CONNECT_ARRAY:
        writer_text(s->out, "{\"type\":\"array\",\"items\":");
        optional_write(s, kind->element);
        properties_write(s, kind);
        writer_u8(s->out, '}');
        break;
    default: primitive_write(s, kind);
    }
}

void avro_schema_write(Writer *out, const Kind *kind) {
    Schema s = {.out = out, .arena = arena_new()};
    type_write(&s, kind);
    arena_free(s.arena);
}
