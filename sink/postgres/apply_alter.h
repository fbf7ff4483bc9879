/* apply_alter: a relation that comes in another form than its table's record has. With the session's thread. */
#ifndef WALFERRY_SINK_APPLY_ALTER_H
#define WALFERRY_SINK_APPLY_ALTER_H

#include "sink/postgres/apply_session.h"

/* The destination's table has the form of this relation, and the record says so; else ERR_DATA. May begin the
 * transaction. */
bool apply_alter(ApplySession *s, TableRecord *record, const Relation *rel, Error *e);

#endif
