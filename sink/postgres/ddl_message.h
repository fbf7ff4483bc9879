/* ddl_message: what the source's event triggers say (decoder/ddl_trigger). Pure. */
#ifndef WALFERRY_SINK_DDL_MESSAGE_H
#define WALFERRY_SINK_DDL_MESSAGE_H

#include "core/definition.h"

typedef struct DdlColumn {
    const char *type_schema, *type_text; /* schema: "" for pg_catalog */
    const char *value;                   /* default or generation expression, or NULL */
    const char *missing;                 /* what rows from before have, or NULL */
    bool not_null, generated;
} DdlColumn;
typedef struct DdlMessage {
    uint32_t oid;      /* of the table; 0: none is named by OID */
    bool rewrite;      /* its rows were written anew */
    const char *index; /* of an index that came or went: its name, or NULL */
    const char *index_schema;
    const char *index_create;     /* the statement; NULL: it went */
    bool partitioned;             /* its table is */
    const Definition *definition; /* or NULL; with generated columns */
    const DdlColumn *columns;     /* of the definition */
} DdlMessage;
/* False: it is none of ours. */
bool ddl_message_read(Arena *arena, Slice content, DdlMessage *out);

#endif
