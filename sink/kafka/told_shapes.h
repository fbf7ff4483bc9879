/* told_shapes: what the last event of each table's shape said, by its oid at the source. One thread. */
#ifndef WALFERRY_SINK_TOLD_SHAPES_H
#define WALFERRY_SINK_TOLD_SHAPES_H

#include "proto/event_shape.h"

typedef struct ToldShapes ToldShapes;

ToldShapes *told_shapes_new(void);
void told_shapes_free(ToldShapes *t); /* NULL is fine */
/* Whether the last event said the same; from now on this is the last. *altered: there was one. */
bool told_shapes_same(ToldShapes *t, uint32_t oid, const EventTable *table, bool *altered);

#endif
