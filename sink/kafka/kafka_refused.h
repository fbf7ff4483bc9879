/* kafka_refused: what is said of a change whose records cannot be written (kafka.refused: dead-letter). Knows no broker. */
#ifndef WALFERRY_SINK_KAFKA_REFUSED_H
#define WALFERRY_SINK_KAFKA_REFUSED_H

#include "core/change.h"
#include "core/error.h"
#include "proto/event.h"

/* The value of a record of <prefix>.dead-letter: where the change stands, why it was refused, and the row as the source sent it, in
 * text; of long values the beginning, with what is left out counted:
 *   {"topic","table","lsn","seq","xid","op","error","before":{"id":"1"},"after":{"id":"1","v":{"bytes":3000000,"begins":"xx…"}}} */
void kafka_refused_write(Writer *out, const char *topic, const Relation *rel, const Event *event,
                         const Error *why);

#endif
