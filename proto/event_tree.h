/* event_tree: the values of records as Datums of the Kinds of proto/event: for the formats that walk over a record part by
 * part, and for records that are rare. A tree holds views of what it is made of. Pure. */
#ifndef WALFERRY_PROTO_EVENT_TREE_H
#define WALFERRY_PROTO_EVENT_TREE_H

#include "proto/datum.h"
#include "proto/event.h"

enum { ENVELOPE_FIELDS = 8, SOURCE_FIELDS = 16, BLOCK_FIELDS = 3, SEQUENCE_BYTES = 64 };

typedef struct EventTree {
    Datum envelope[ENVELOPE_FIELDS], source[SOURCE_FIELDS], block[BLOCK_FIELDS], message[2];
    char sequence[SEQUENCE_BYTES];
} EventTree;

typedef struct EventRows {
    const Datum *before, *after; /* `count` each; NULL: none */
    uint32_t count;
} EventRows;

Datum event_envelope_datum(EventTree *tree, const EventOrigin *origin, const EventTable *table,
                           const Event *event, EventOp op, EventRows rows);
Datum event_source_datum(EventTree *tree, const EventOrigin *origin, const char *schema, const char *table,
                         const EventPlace *place);
/* Into the EVENT_MARKS behind a row. */
void event_marks(Datum *marks, const EventPlace *place, EventOp op);
Datum event_message_datum(EventTree *tree, const EventOrigin *origin, const EventMessage *message);
Datum event_transaction_datum(EventTree *tree, const EventTransaction *transaction, Arena *arena);

const char *event_op_letter(EventOp op);
/* ["1","2"], where null stands for no LSN; at least SEQUENCE_BYTES. */
Slice event_sequence(const EventPlace *place, char *text);
int64_t event_milliseconds(int64_t us);
int64_t event_nanoseconds(int64_t us);

#endif
