/* The parts of format, for its own files: what a format has to do, and what is kept of a table. */
#ifndef WALFERRY_PROTO_FORMAT_INTERN_H
#define WALFERRY_PROTO_FORMAT_INTERN_H

#include "proto/event_tree.h"
#include "proto/format.h"
#include "proto/row.h"

/* Where before and after are read, there is room for the marks behind them; NULL: none. */
typedef struct FormatChange {
    EventOp op;
    const Event *event;
    const Datum *before, *after;
} FormatChange;

typedef struct FormatOps {
    /* The format's own of a key or a value. */
    const void *(*body_new)(Arena *arena, const Kind *kind, const FormatTable *table);
    void (*schema_write)(const void *body, Writer *out);
    void (*body_write)(const void *body, uint32_t id, const Datum *datum, Writer *out);
    /* A change's value, where there is a faster way than by the tree of all its parts; NULL: none. */
    void (*change_write)(const FormatTable *table, const FormatChange *change, Writer *out);
} FormatOps;

struct FormatTable {
    const Format *format;
    const FormatOps *ops;
    const EventTable *table; /* NULL: not of a table */
    Row row;
    const Kind *key, *value; /* key NULL: none */
    const void *key_body, *value_body;
    uint32_t key_id, value_id;
};

extern const FormatOps format_json, format_avro, format_protobuf;

/* format_table_new without its check. */
FormatTable *format_table_make(Arena *arena, const Format *format, const EventTable *table);

/* The headers that all records of a change share. */
typedef struct FormatPlace {
    Span lsn, seq, xid, op, ts_us;
} FormatPlace;

FormatPlace format_place_write(Records *out, const EventPlace *place);
void format_place_headers(Record *record, const FormatPlace *place);
/* False: ERR_LIMIT. */
bool format_fits(const Records *out, const char *what, Error *e);

#endif
