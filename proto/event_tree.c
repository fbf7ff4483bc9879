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
    return exists ? datum_integer((int64_t)number) : NONE;
}

Datum event_source_datum(EventTree *tree, const EventOrigin *origin, const char *schema, const char *table,
                         const EventPlace *place) {
    bool placed = place->snapshot != SNAPSHOT_INCREMENTAL;
    Datum *at = tree->source;
    *at++ = datum_text(origin->version);
    *at++ = datum_text("postgresql");
    *at++ = datum_text(origin->prefix);
    *at++ = datum_integer(event_milliseconds(place->committed_us));
    *at++ = datum_text(event_snapshot_name(place->snapshot));
    *at++ = datum_text(origin->database);
    *at++ = datum_bytes(event_sequence(place, tree->sequence));
    *at++ = datum_integer(place->committed_us);
    *at++ = datum_integer(event_nanoseconds(place->committed_us));
    *at++ = datum_text(schema);
    *at++ = datum_text(table);
    *at++ = number_if(placed && place->xid != 0, place->xid);
    *at++ = number_if(placed && !lsn_is_none(place->lsn), place->lsn.at);
    *at++ = NONE; /* xmin */
    *at++ = NONE; /* origin */
    *at = NONE;   /* origin_lsn */
    return datum_list(tree->source, SOURCE_FIELDS);
}

static Datum block_datum(EventTree *tree, const EventBlock *block) {
    if (block == NULL)
        return NONE;
    tree->block[0] = datum_text(block->id);
    tree->block[1] = datum_integer(block->total_order);
    tree->block[2] = datum_integer(block->data_collection_order);
    return datum_list(tree->block, BLOCK_FIELDS);
}

/* ---- changes ---- */

Datum event_envelope_datum(EventTree *tree, const EventOrigin *origin, const EventTable *table,
                           const Event *event, EventOp op, EventRows rows) {
    const EventPlace *place = event->place;
    Datum *at = tree->envelope;
    *at++ = rows.before == NULL ? NONE : datum_list(rows.before, rows.count);
    *at++ = rows.after == NULL ? NONE : datum_list(rows.after, rows.count);
    *at++ = event_source_datum(tree, origin, table->schema, table->name, place);
    *at++ = block_datum(tree, event->block);
    *at++ = datum_text(event_op_letter(op));
    *at++ = datum_integer(event_milliseconds(place->now_us));
    *at++ = datum_integer(place->now_us);
    *at = datum_integer(event_nanoseconds(place->now_us));
    return datum_list(tree->envelope, ENVELOPE_FIELDS);
}

void event_marks(Datum *marks, const EventPlace *place, EventOp op) {
    marks[0] = datum_text(event_op_letter(op));
    marks[1] = datum_integer((int64_t)place->end.at);
    marks[2] = datum_integer(place->seq);
    marks[3] = datum_integer(event_milliseconds(place->committed_us));
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
    tree->message[0] = datum_bytes(message->prefix);
    tree->message[1] = datum_bytes(message->content);
    Datum *at = tree->envelope;
    *at++ = datum_text("m");
    *at++ = datum_integer(event_milliseconds(message->place->now_us));
    *at++ = event_source_datum(tree, origin, "", "", &place);
    *at++ = block_datum(tree, message->block);
    *at = datum_list(tree->message, 2);
    return datum_list(tree->envelope, 5);
}

static Datum counts_datum(const EventTransaction *transaction, Arena *arena) {
    Datum *list = arena_alloc(arena, transaction->table_count * sizeof *list);
    for (uint32_t at = 0; at < transaction->table_count; at++) {
        Datum *fields = arena_alloc(arena, 2 * sizeof *fields);
        fields[0] = datum_text(transaction->tables[at].table);
        fields[1] = datum_integer(transaction->tables[at].count);
        list[at] = datum_list(fields, 2);
    }
    return datum_list(list, transaction->table_count);
}

Datum event_transaction_datum(EventTree *tree, const EventTransaction *transaction, Arena *arena) {
    Datum *at = tree->envelope;
    *at++ = datum_text(transaction->ends ? "END" : "BEGIN");
    *at++ = datum_text(transaction->id);
    *at++ = transaction->ends ? datum_integer(transaction->count) : NONE;
    *at++ = transaction->ends ? counts_datum(transaction, arena) : NONE;
    *at = datum_integer(event_milliseconds(transaction->place->committed_us));
    return datum_list(tree->envelope, 5);
}
