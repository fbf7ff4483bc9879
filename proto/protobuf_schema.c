#include "proto/protobuf_schema.h"

#include <string.h>

#include "proto/avro_schema.h"

/* A message that is written, or waits for it. */
typedef struct Message {
    const Kind *kind;
    struct Message *next;
} Message;

typedef struct Schema {
    Writer *out;
    Arena *arena;
    Message *first, *last;
} Schema;

int protobuf_number(const Kind *kind, int field) {
    return kind->numbers != NULL ? kind->numbers[field] : field + 1;
}

/* A message can be absent without it, and a map is empty then. */
bool protobuf_is_marked(const Kind *kind, int field) {
    const Kind *value = kind->fields[field].kind;
    return (kind->numbers != NULL || value->optional) && value->type != CONNECT_STRUCT &&
           value->type != CONNECT_ARRAY && value->type != CONNECT_MAP;
}

/* ---- names ---- */

static const char *last_of(const char *full) {
    const char *dot = strrchr(full, '.');
    return dot == NULL ? full : dot + 1;
}

/* event.block is Block. */
static const char *message_name(Schema *s, const Kind *kind) {
    char *name = arena_text(s->arena, slice_text(avro_field_name(s->arena, last_of(kind->name))));
    if (name[0] >= 'a' && name[0] <= 'z')
        name[0] = (char)(name[0] - 'a' + 'A');
    return name;
}

static void package_write(Schema *s, const Kind *kind) {
    const char *name = avro_full_name(s->arena, kind->name), *last = last_of(name);
    if (last == name)
        return;
    writer_text(s->out, "package ");
    writer_bytes(s->out, (Slice){name, (size_t)(last - name) - 1});
    writer_text(s->out, ";\n");
}

/* One of this name is there already. */
static void want(Schema *s, const Kind *kind) {
    for (const Message *at = s->first; at != NULL; at = at->next)
        if (strcmp(at->kind->name, kind->name) == 0)
            return;
    Message *message = arena_alloc(s->arena, sizeof *message);
    message->kind = kind;
    if (s->last != NULL)
        s->last->next = message;
    else
        s->first = message;
    s->last = message;
}

/* ---- types ---- */

static const char *type_name(Schema *s, const Kind *kind) {
    switch (kind->type) {
    case CONNECT_BOOLEAN: return "bool";
    case CONNECT_INT16:
    case CONNECT_INT32: return "int32";
    case CONNECT_INT64: return "int64";
    case CONNECT_FLOAT32: return "float";
    case CONNECT_FLOAT64: return "double";
    case CONNECT_STRING: return "string";
    case CONNECT_BYTES: return "bytes";
    case CONNECT_STRUCT: want(s, kind); return message_name(s, kind);
    case CONNECT_ARRAY:
    case CONNECT_MAP: break;
    }
    return NULL;
}

/* The labels of an enum may be anything, and are left out. */
static void meaning_write(Schema *s, const Kind *kind) {
    if (kind->name == NULL || kind->type == CONNECT_STRUCT)
        return;
    writer_format(s->out, " // %s", kind->name);
    for (int at = 0; at < kind->parameter_count; at++)
        if (strcmp(kind->parameters[at].name, "allowed") != 0)
            writer_format(s->out, " %s=%s", kind->parameters[at].name, kind->parameters[at].value);
}

static void indent(Schema *s, int depth) {
    for (int at = 0; at < depth; at++)
        writer_text(s->out, "  ");
}

/* What a list has inside of its message. One of lists (of a domain over an array) has messages for them. */
static void items_write(Schema *s, const Kind *element, int depth) {
    bool lists = element->type == CONNECT_ARRAY;
    if (lists) {
        indent(s, depth);
        writer_text(s->out, "message Item {\n");
        items_write(s, element->element, depth + 1);
        indent(s, depth);
        writer_text(s->out, "}\n");
    }
    indent(s, depth);
    writer_format(s->out, "repeated %s item = 1;", lists ? "Item" : type_name(s, element));
    meaning_write(s, element);
    writer_u8(s->out, '\n');
}

static void wrapper_write(Schema *s, const Kind *element, int number) {
    writer_format(s->out, "  message List%d {\n", number);
    items_write(s, element, 2);
    writer_text(s->out, "  }\n");
}

/* All columns are optional: their presence is said even where it is sure. */
static void field_write(Schema *s, const Kind *message, int at) {
    const KindField *field = &message->fields[at];
    const Kind *kind = field->kind;
    int number = protobuf_number(message, at);
    if (kind->type == CONNECT_ARRAY) {
        wrapper_write(s, kind->element, number);
        writer_format(s->out, "  List%d", number);
    } else if (kind->type == CONNECT_MAP) {
        writer_format(s->out, "  map<%s, ", type_name(s, kind->key));
        writer_format(s->out, "%s>", type_name(s, kind->element));
    } else {
        writer_format(s->out, "  %s%s", protobuf_is_marked(message, at) ? "optional " : "",
                      type_name(s, kind));
    }
    writer_format(s->out, " %s = %d;", avro_field_name(s->arena, field->name), number);
    meaning_write(s, kind);
    writer_u8(s->out, '\n');
}

static void message_write(Schema *s, const Kind *kind) {
    writer_format(s->out, "\nmessage %s {\n", message_name(s, kind));
    for (int at = 0; at < kind->field_count; at++)
        field_write(s, kind, at);
    writer_text(s->out, "}\n");
}

void protobuf_schema_write(Writer *out, const Kind *kind) {
    Schema s = {.out = out, .arena = arena_new()};
    writer_text(out, "syntax = \"proto3\";\n");
    package_write(&s, kind);
    want(&s, kind);
    for (const Message *at = s.first; at != NULL; at = at->next)
        message_write(&s, at->kind);
    arena_free(s.arena);
}
