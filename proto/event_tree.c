#include "proto/event_tree.h"

#include <string.h>

static const Datum NONE = {.kind = DATUM_NULL};

const char *event_op_letter(EventOp op) {
    static const char *const letters[] = {[EVENT_CREATE] = "c",
                                          [EVENT_UPDATE] = "u",
                                          [EVENT_DELETE] = "d",
                                          [EVENT_READ] = "r",
                                          [EVENT_TRUNCATE] = "t"};
    return letters[op];
}

int64_t event_milliseconds(int64_t us) {
    return us / 1000 - (us % 1000 < 0);
}

/* Clocks come from outside: one beyond the year 2262 wraps, and is no overflow. */
int64_t event_nanoseconds(int64_t us) {
    return (int64_t)((uint64_t)us * 1000);
}

/* ---- the source block ---- */

static char *put_text(char *to, const char *text) {
    size_t length = strlen(text);
    memcpy(to, text, length);
    return to + length;
}

static char *put_lsn(char *to, Lsn lsn) {
    char digits[20];
    int count = 0;
    if (lsn_is_none(lsn))
        return put_text(to, "null");
    *to++ = '"';
    uint64_t rest = lsn.at;
    do
        digits[count++] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    while (count > 0)
        *to++ = digits[--count];
    *to++ = '"';
    return to;
}

Slice event_sequence(const EventPlace *place, char *text) {
    char *to = text;
    *to++ = '[';
    to = put_lsn(to, place->last_commit);
    *to++ = ',';
    to = put_lsn(to, place->lsn);
    *to++ = ']';
    return (Slice){text, (size_t)(to - text)};
}

static Datum number_if(bool exists, uint64_t number) {
    return exists ? event_number((int64_t)number) : NONE;
}

Datum event_source_datum(EventTree *tree, const EventOrigin *origin, const char *schema, const char *table,
                         const EventPlace *place) {
    bool placed = place->snapshot != SNAPSHOT_INCREMENTAL;
    Datum *at = tree->source;
    *at++ = event_text(origin->version);
    *at++ = event_text("postgresql");
    *at++ = event_text(origin->prefix);
    *at++ = event_number(event_milliseconds(place->committed_us));
    *at++ = event_text(event_snapshot_name(place->snapshot));
    *at++ = event_text(origin->database);
    *at++ = (Datum){.kind = DATUM_BYTES, .bytes = event_sequence(place, tree->sequence)};
    *at++ = event_number(place->committed_us);
    *at++ = event_number(event_nanoseconds(place->committed_us));
    *at++ = event_text(schema);
    *at++ = event_text(table);
    *at++ = number_if(placed && place->xid != 0, place->xid);
    *at++ = number_if(placed && !lsn_is_none(place->lsn), place->lsn.at);
    *at++ = NONE; /* xmin */
    *at++ = NONE; /* origin */
    *at = NONE;   /* origin_lsn */
    return event_struct(tree->source, SOURCE_FIELDS);
}

static Datum block_datum(EventTree *tree, const EventBlock *block) {
    if (block == NULL)
        return NONE;
    tree->block[0] = event_text(block->id);
    tree->block[1] = event_number(block->total_order);
    tree->block[2] = event_number(block->data_collection_order);
    return event_struct(tree->block, BLOCK_FIELDS);
}

/* ---- changes ---- */

Datum event_envelope_datum(EventTree *tree, const EventOrigin *origin, const EventTable *table,
                           const Event *event, EventOp op, EventRows rows) {
    const EventPlace *place = event->place;
    Datum *at = tree->envelope;
    *at++ = rows.before == NULL ? NONE : event_struct(rows.before, rows.count);
    *at++ = rows.after == NULL ? NONE : event_struct(rows.after, rows.count);
    *at++ = event_source_datum(tree, origin, table->schema, table->name, place);
    *at++ = block_datum(tree, event->block);
    *at++ = event_text(event_op_letter(op));
    *at++ = event_number(event_milliseconds(place->now_us));
    *at++ = event_number(place->now_us);
    *at = event_number(event_nanoseconds(place->now_us));
    return event_struct(tree->envelope, ENVELOPE_FIELDS);
}

void event_marks(Datum *marks, const EventPlace *place, EventOp op) {
    marks[0] = event_text(event_op_letter(op));
    marks[1] = event_number((int64_t)place->end.at);
    marks[2] = event_number(place->seq);
    marks[3] = event_number(event_milliseconds(place->committed_us));
}

/* ---- others ---- */

/* One outside of transactions was committed nowhere: as in Debezium its time is that of being read, and the last commit is
 * itself. */
static EventPlace place_of_message(const EventMessage *message) {
    EventPlace place = *message->place;
    if (place.xid == 0) {
        place.committed_us = place.now_us;
        place.last_commit = place.lsn;
    }
    return place;
}

Datum event_message_datum(EventTree *tree, const EventOrigin *origin, const EventMessage *message) {
    const EventPlace place = place_of_message(message);
    tree->message[0] = (Datum){.kind = DATUM_BYTES, .bytes = message->prefix};
    tree->message[1] = (Datum){.kind = DATUM_BYTES, .bytes = message->content};
    Datum *at = tree->envelope;
    *at++ = event_text("m");
    *at++ = event_number(event_milliseconds(message->place->now_us));
    *at++ = event_source_datum(tree, origin, "", "", &place);
    *at++ = block_datum(tree, message->block);
    *at = event_struct(tree->message, 2);
    return event_struct(tree->envelope, 5);
}

static Datum counts_datum(const EventTransaction *transaction, Arena *arena) {
    Datum *list = arena_alloc(arena, transaction->table_count * sizeof *list);
    for (uint32_t at = 0; at < transaction->table_count; at++) {
        Datum *fields = arena_alloc(arena, 2 * sizeof *fields);
        fields[0] = event_text(transaction->tables[at].table);
        fields[1] = event_number(transaction->tables[at].count);
        list[at] = event_struct(fields, 2);
    }
    return event_struct(list, transaction->table_count);
}

Datum event_transaction_datum(EventTree *tree, const EventTransaction *transaction, Arena *arena) {
    Datum *at = tree->envelope;
    *at++ = event_text(transaction->ends ? "END" : "BEGIN");
    *at++ = event_text(transaction->id);
    *at++ = transaction->ends ? event_number(transaction->count) : NONE;
    *at++ = transaction->ends ? counts_datum(transaction, arena) : NONE;
    *at = event_number(event_milliseconds(transaction->place->committed_us));
    return event_struct(tree->envelope, 5);
}
