/* event_shape: events of what a table looks like, as Debezium's connectors with a schema history write them into <prefix> (the
 * one for PostgreSQL writes none): key SchemaChangeKey {databaseName}, value SchemaChangeValue with one element in
 * tableChanges. Unknown to the stream, and null: ddl, comments, character sets, whether a column is generated; and
 * autoIncremented but for a default nextval(). Pure. */
#ifndef WALFERRY_PROTO_EVENT_SHAPE_H
#define WALFERRY_PROTO_EVENT_SHAPE_H

#include "proto/event_tree.h"

typedef struct EventShape {
    const EventPlace *place;
    const EventTable *table; /* with its types */
    bool altered;            /* ALTER; else CREATE */
} EventShape;

extern const Kind event_shape_key, event_shape;

/* Equal texts: nothing that such an event says differs. */
void event_shape_text(const EventTable *table, Writer *out);
Datum event_shape_datum(EventTree *tree, const EventOrigin *origin, const EventShape *shape, Arena *arena);

#endif
