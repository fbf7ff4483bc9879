/* The parts of json, for its own files: what is the same in every record, and who writes what. */
#ifndef WALFERRY_PROTO_JSON_INTERN_H
#define WALFERRY_PROTO_JSON_INTERN_H

#include "core/json_text.h"
#include "proto/format_intern.h"
#include "proto/json_value.h"

/* The constant parts of a source block, in between of what differs. */
typedef struct JsonSource {
    Slice head;  /* up to the value of ts_ms */
    Slice db;    /* ,"db":"shop","sequence": */
    Slice table; /* ,"schema":"public","table":"t","txId": */
} JsonSource;

typedef struct JsonBody {
    const Kind *kind;
    bool schema;
    Slice head;         /* {"schema": ..., "payload": or nothing */
    JsonSource source;  /* of a table's value, as are the names */
    const Slice *names; /* "id": */
} JsonBody;

const void *json_body_new(Arena *arena, const Kind *kind, const FormatTable *table);
void json_change_write(const FormatTable *table, const FormatChange *change, Writer *out);

/* `start` and a string. */
static inline void json_member_write(Writer *out, const char *start, const char *value) {
    writer_text(out, start);
    json_text_write(out, slice_text(value));
}

#endif
