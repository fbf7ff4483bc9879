#include "proto/avro_fingerprint.h"

#include <string.h>

#include "core/json_text.h"
#include "proto/avro_schema.h"

/* ---- the canonical form ---- */

/* A record that stands further up already. */
typedef struct Seen {
    const char *name;
    const struct Seen *next;
} Seen;

typedef struct Form {
    Writer *out;
    Arena *arena;
    const Seen *seen;
} Form;

static void kind_write(Form *f, const Kind *kind);

/* Null stands first in a union, or second. */
static void any_write(Form *f, const Kind *kind) {
    if (!kind->optional) {
        kind_write(f, kind);
        return;
    }
    bool null_first = avro_null_is_first(kind, f->arena);
    writer_text(f->out, null_first ? "[\"null\"," : "[");
    kind_write(f, kind);
    writer_text(f->out, null_first ? "]" : ",\"null\"]");
}

static bool is_seen(Form *f, const char *name) {
    for (const Seen *seen = f->seen; seen != NULL; seen = seen->next)
        if (strcmp(seen->name, name) == 0)
            return true;
    Seen *seen = arena_alloc(f->arena, sizeof *seen);
    *seen = (Seen){name, f->seen};
    f->seen = seen;
    return false;
}

static void record_write(Form *f, const char *name, const KindField *fields, int count) {
    if (is_seen(f, name)) {
        json_text_write(f->out, slice_text(name));
        return;
    }
    writer_text(f->out, "{\"name\":");
    json_text_write(f->out, slice_text(name));
    writer_text(f->out, ",\"type\":\"record\",\"fields\":[");
    for (int at = 0; at < count; at++) {
        writer_text(f->out, at > 0 ? ",{\"name\":" : "{\"name\":");
        json_text_write(f->out, slice_text(avro_field_name(f->arena, fields[at].name)));
        writer_text(f->out, ",\"type\":");
        any_write(f, fields[at].kind);
        writer_u8(f->out, '}');
    }
    writer_text(f->out, "]}");
}

static void map_write(Form *f, const Kind *kind) {
    const KindField fields[] = {{"key", kind->key}, {"value", kind->element}};
    if (kind->key->type == CONNECT_STRING) {
        writer_text(f->out, "{\"type\":\"map\",\"values\":");
        any_write(f, kind->element);
    } else {
        writer_text(f->out, "{\"type\":\"array\",\"items\":");
        record_write(f, AVRO_MAP_ENTRY, fields, 2);
    }
    writer_u8(f->out, '}');
}

static void kind_write(Form *f, const Kind *kind) {
    switch (kind->type) {
    case CONNECT_STRUCT:
        record_write(f, avro_full_name(f->arena, kind->name), kind->fields, kind->field_count);
        break;
    case CONNECT_MAP: map_write(f, kind); break;
    case CONNECT_ARRAY:
        writer_text(f->out, "{\"type\":\"array\",\"items\":");
        any_write(f, kind->element);
        writer_u8(f->out, '}');
        break;
    default: json_text_write(f->out, slice_text(avro_primitive(kind->type)));
    }
}

void avro_canonical_write(Writer *out, const Kind *kind) {
    Form f = {.out = out, .arena = arena_new()};
    kind_write(&f, kind);
    arena_free(f.arena);
}

/* ---- CRC-64-AVRO ---- */

uint64_t avro_fingerprint(Slice canonical) {
    const uint64_t empty = UINT64_C(0xc15d213aa4d7a795);
    uint64_t sum = empty;
    for (size_t at = 0; at < canonical.len; at++) {
        sum ^= (unsigned char)canonical.at[at];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (empty & (0 - (sum & 1)));
    }
    return sum;
}

uint64_t avro_kind_fingerprint(const Kind *kind) {
    Writer form = writer_new(SIZE_MAX);
    avro_canonical_write(&form, kind);
    uint64_t fingerprint = avro_fingerprint(writer_slice(&form));
    writer_free(&form);
    return fingerprint;
}
