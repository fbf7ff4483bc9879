/* source_types: types of the source by OID, as proto/kind wants them, with all that they are made of. What cannot change
 * is asked once; an enum, which may get labels, whenever it is wanted. One thread. */
#ifndef WALFERRY_SINK_SOURCE_TYPES_H
#define WALFERRY_SINK_SOURCE_TYPES_H

#include "core/change.h"
#include "core/pg.h"
#include "proto/kind.h"

typedef struct SourceTypes SourceTypes;

SourceTypes *source_types_new(void);
void source_types_free(SourceTypes *t); /* NULL is fine */

/* One for each column of the version; NULL in it: the type was dropped. In `arena`, or lent until source_types_free.
 * NULL and e when the source does not answer. At most one statement. */
const TypeFacts **source_types_of(SourceTypes *t, Pg *source, Arena *arena, const Relation *rel, Error *e);

#endif
