#include "proto/json_value.h"

#include <assert.h>

#include "core/json_text.h"
#include "proto/convert.h"

/* ---- values ---- */

void json_integer_write(Writer *out, int64_t value) {
    char text[20], *at = text + sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        *--at = '-';
    writer_bytes(out, (Slice){at, (size_t)(text + sizeof text - at)});
}

void json_base64_write(Writer *out, Slice bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    enum { GROUPS = 64 };
    char text[4 * GROUPS];
    size_t length = 0;
    writer_u8(out, '"');
    for (size_t at = 0; at < bytes.len; at += 3) {
        size_t left = bytes.len - at;
        uint32_t group = (uint32_t)(unsigned char)bytes.at[at] << 16;
        group |= left > 1 ? (uint32_t)(unsigned char)bytes.at[at + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)(unsigned char)bytes.at[at + 2] : 0;
        text[length++] = digits[group >> 18];
        text[length++] = digits[group >> 12 & 63];
        text[length++] = left > 1 ? digits[group >> 6 & 63] : '=';
        text[length++] = left > 2 ? digits[group & 63] : '=';
        if (length == sizeof text) {
            writer_bytes(out, (Slice){text, length});
            length = 0;
        }
    }
    writer_bytes(out, (Slice){text, length});
    writer_u8(out, '"');
}

static bool is_whole_number(Slice text) {
    for (size_t at = 0; at < text.len; at++)
        if (text.at[at] == '.' || text.at[at] == 'e' || text.at[at] == 'E')
            return false;
    return true;
}

/* 1 is said as 1.0, as Java does: readers take types from the look of a number, and -0 would lose its sign. */
static void float_write(Writer *out, Slice text) {
    char last = text.at[text.len - 1];
    if (last == 'N' || last == 'y') { /* NaN, Infinity */
        json_text_write(out, text);
        return;
    }
    writer_bytes(out, text);
    if (is_whole_number(text))
        writer_text(out, ".0");
}

static void list_write(Writer *out, const Kind *element, const Datum *list) {
    writer_u8(out, '[');
    for (uint32_t at = 0; at < list->count; at++) {
        if (at > 0)
            writer_u8(out, ',');
        json_datum_write(out, element, &list->items[at]);
    }
    writer_u8(out, ']');
}

/* An object where the keys are texts, else a list of pairs. */
static void map_write(Writer *out, const Kind *kind, const Datum *list) {
    bool object = kind->key->type == CONNECT_STRING;
    writer_u8(out, object ? '{' : '[');
    for (uint32_t at = 0; at < list->count; at += 2) {
        writer_text(out, at > 0 ? "," : "");
        writer_text(out, object ? "" : "[");
        json_datum_write(out, kind->key, &list->items[at]);
        writer_u8(out, object ? ':' : ',');
        json_datum_write(out, kind->element, &list->items[at + 1]);
        writer_text(out, object ? "" : "]");
    }
    writer_u8(out, object ? '}' : ']');
}

static void struct_write(Writer *out, const Kind *kind, const Datum *list) {
    writer_u8(out, '{');
    for (uint32_t at = 0; at < list->count; at++) {
        if (at > 0)
            writer_u8(out, ',');
        json_text_write(out, slice_text(kind->fields[at].name));
        writer_u8(out, ':');
        json_datum_write(out, kind->fields[at].kind, &list->items[at]);
    }
    writer_u8(out, '}');
}

/* A Decimal: two's complement, the highest byte first. False: longer than any of the server's. */
static bool decimal_write(Writer *out, Slice bytes, int scale) {
    enum { BYTES_MOST = 420, DIGITS_MOST = 1012 }; /* numeric(1000) */
    unsigned char rest[BYTES_MOST];
    char digits[DIGITS_MOST];
    int count = 0, length = (int)bytes.len;
    if (bytes.len > BYTES_MOST)
        return false;
    bool negative = length > 0 && (bytes.at[0] & 0x80) != 0;
    for (int at = length - 1, carry = negative; at >= 0; at--) {
        int byte = (unsigned char)bytes.at[at];
        carry += negative ? 0xff - byte : byte;
        rest[at] = (unsigned char)(carry & 0xff);
        carry >>= 8;
    }
    for (int from = 0; from < length || count == 0 || count <= scale;) {
        int left = 0;
        for (int at = from; at < length; at++) {
            left = left << 8 | rest[at];
            rest[at] = (unsigned char)(left / 10);
            left %= 10;
        }
        if (count == DIGITS_MOST)
            return false;
        digits[count++] = (char)('0' + left);
        while (from < length && rest[from] == 0)
            from++;
    }
    writer_text(out, negative ? "-" : "");
    for (int at = count - 1; at >= 0; at--) {
        writer_u8(out, (uint8_t)digits[at]);
        if (at == scale && at > 0)
            writer_u8(out, '.');
    }
    for (int zero = scale; zero < 0 && (count > 1 || digits[0] != '0'); zero++)
        writer_u8(out, '0');
    return true;
}

static bool is_decimal(const Kind *kind) {
    return kind->form == FORM_DECIMAL || kind->form == FORM_MONEY;
}

void json_key_header_write(Writer *out, const Kind *key, const Datum *datum) {
    writer_u8(out, '{');
    for (uint32_t at = 0; at < datum->count; at++) {
        const Kind *kind = key->fields[at].kind;
        const Datum *field = &datum->items[at];
        writer_text(out, at > 0 ? "," : "");
        json_text_write(out, slice_text(key->fields[at].name));
        writer_u8(out, ':');
        if (field->kind != DATUM_BYTES || !is_decimal(kind) || !decimal_write(out, field->bytes, kind->scale))
            json_datum_write(out, kind, field);
    }
    writer_u8(out, '}');
}

void json_datum_write(Writer *out, const Kind *kind, const Datum *datum) {
    switch (datum->kind) {
    case DATUM_LEFT_OUT:
    case DATUM_NULL: writer_text(out, "null"); break;
    case DATUM_BOOLEAN: writer_text(out, datum->truth ? "true" : "false"); break;
    case DATUM_INTEGER: json_integer_write(out, datum->integer); break;
    case DATUM_FLOAT: float_write(out, datum->bytes); break;
    case DATUM_BYTES:
        if (kind->type == CONNECT_BYTES)
            json_base64_write(out, datum->bytes);
        else
            json_text_write(out, datum->bytes);
        break;
    case DATUM_LIST:
        if (kind->type == CONNECT_STRUCT)
            struct_write(out, kind, datum);
        else if (kind->type == CONNECT_MAP)
            map_write(out, kind, datum);
        else
            list_write(out, kind->element, datum);
        break;
    case DATUM_SPECIAL: assert(datum->kind != DATUM_SPECIAL);
    }
}

bool json_default_write(Writer *out, const Kind *kind) {
    if (kind->fallback == NULL)
        return false;
    Arena *arena = arena_new();
    Datum datum;
    Error e = {0};
    bool said = convert(kind, slice_text(kind->fallback), arena, &datum, &e) && datum.kind != DATUM_SPECIAL;
    if (said)
        json_datum_write(out, kind, &datum);
    arena_free(arena);
    return said;
}

/* ---- schemas ---- */

static const char *type_name(ConnectType type) {
    static const char *const names[] = {
        [CONNECT_BOOLEAN] = "boolean", [CONNECT_INT16] = "int16",   [CONNECT_INT32] = "int32",
        [CONNECT_INT64] = "int64",     [CONNECT_FLOAT32] = "float", [CONNECT_FLOAT64] = "double",
        [CONNECT_STRING] = "string",   [CONNECT_BYTES] = "bytes",   [CONNECT_ARRAY] = "array",
        [CONNECT_MAP] = "map",         [CONNECT_STRUCT] = "struct",
    };
    return names[type];
}

static void member_write(Writer *out, const char *name, const char *text) {
    writer_format(out, ",\"%s\":", name);
    json_text_write(out, slice_text(text));
}

static void parts_write(Writer *out, const Kind *kind) {
    switch (kind->type) {
    case CONNECT_ARRAY:
        writer_text(out, ",\"items\":");
        json_schema_write(out, kind->element, NULL);
        break;
    case CONNECT_MAP:
        writer_text(out, ",\"keys\":");
        json_schema_write(out, kind->key, NULL);
        writer_text(out, ",\"values\":");
        json_schema_write(out, kind->element, NULL);
        break;
    case CONNECT_STRUCT:
        writer_text(out, ",\"fields\":[");
        for (int at = 0; at < kind->field_count; at++) {
            writer_text(out, at > 0 ? "," : "");
            json_schema_write(out, kind->fields[at].kind, kind->fields[at].name);
        }
        writer_u8(out, ']');
        break;
    default: break;
    }
}

static void parameters_write(Writer *out, const Kind *kind) {
    if (kind->parameter_count == 0)
        return;
    writer_text(out, ",\"parameters\":{");
    for (int at = 0; at < kind->parameter_count; at++) {
        writer_text(out, at > 0 ? "," : "");
        json_text_write(out, slice_text(kind->parameters[at].name));
        writer_u8(out, ':');
        json_text_write(out, slice_text(kind->parameters[at].value));
    }
    writer_u8(out, '}');
}

void json_schema_write(Writer *out, const Kind *kind, const char *field) {
    writer_format(out, "{\"type\":\"%s\"", type_name(kind->type));
    parts_write(out, kind);
    writer_text(out, kind->optional ? ",\"optional\":true" : ",\"optional\":false");
    if (kind->name != NULL)
        member_write(out, "name", kind->name);
    if (kind->version != 0)
        writer_format(out, ",\"version\":%d", kind->version);
    if (kind->doc != NULL)
        member_write(out, "doc", kind->doc);
    parameters_write(out, kind);
    Writer fallback = writer_new(SIZE_MAX);
    if (json_default_write(&fallback, kind)) {
        writer_text(out, ",\"default\":");
        writer_bytes(out, writer_slice(&fallback));
    }
    writer_free(&fallback);
    if (field != NULL)
        member_write(out, "field", field);
    writer_u8(out, '}');
}
