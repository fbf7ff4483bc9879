/* The values of changes: Debezium's envelope and the row alone. */
#include "proto/json_intern.h"

static void optional_write(Writer *out, bool exists, uint64_t value) {
    if (exists)
        json_integer_write(out, (int64_t)value);
    else
        writer_text(out, "null");
}

static void source_write(Writer *out, const JsonSource *source, const EventPlace *place) {
    bool placed = place->snapshot != SNAPSHOT_INCREMENTAL;
    char sequence[SEQUENCE_BYTES];
    writer_bytes(out, source->head);
    json_integer_write(out, event_milliseconds(place->committed_us));
    writer_text(out, ",\"snapshot\":\"");
    writer_text(out, event_snapshot_name(place->snapshot));
    writer_u8(out, '"');
    writer_bytes(out, source->db);
    json_text_write(out, event_sequence(place, sequence));
    writer_text(out, ",\"ts_us\":");
    json_integer_write(out, place->committed_us);
    writer_text(out, ",\"ts_ns\":");
    json_integer_write(out, event_nanoseconds(place->committed_us));
    writer_bytes(out, source->table);
    optional_write(out, placed && place->xid != 0, place->xid);
    writer_text(out, ",\"lsn\":");
    optional_write(out, placed && !lsn_is_none(place->lsn), place->lsn.at);
    writer_text(out, ",\"xmin\":null,\"origin\":null,\"origin_lsn\":null}");
}

static void block_write(Writer *out, const EventBlock *block) {
    if (block == NULL) {
        writer_text(out, "null");
        return;
    }
    json_member_write(out, "{\"id\":", block->id);
    writer_text(out, ",\"total_order\":");
    json_integer_write(out, block->total_order);
    writer_text(out, ",\"data_collection_order\":");
    json_integer_write(out, block->data_collection_order);
    writer_u8(out, '}');
}

/* Without the braces; returns whether there is one. */
static bool members_write(const FormatTable *t, const Datum *row, Writer *out) {
    const JsonBody *body = t->value_body;
    bool comma = false;
    for (uint16_t at = 0; row != NULL && at < t->row.count; at++) {
        if (row[at].kind == DATUM_LEFT_OUT)
            continue;
        if (comma)
            writer_u8(out, ',');
        comma = true;
        writer_bytes(out, body->names[at]);
        json_datum_write(out, t->row.columns[at].kind, &row[at]);
    }
    return comma;
}

static void row_write(const FormatTable *t, const Datum *row, Writer *out) {
    if (row == NULL) {
        writer_text(out, "null");
        return;
    }
    writer_u8(out, '{');
    members_write(t, row, out);
    writer_u8(out, '}');
}

static void envelope_write(const FormatTable *t, const FormatChange *change, Writer *out) {
    const EventPlace *place = change->event->place;
    const JsonBody *body = t->value_body;
    writer_text(out, "{\"before\":");
    row_write(t, change->before, out);
    writer_text(out, ",\"after\":");
    row_write(t, change->after, out);
    writer_text(out, ",\"source\":");
    source_write(out, &body->source, place);
    writer_text(out, ",\"transaction\":");
    block_write(out, change->event->block);
    writer_text(out, ",\"op\":\"");
    writer_text(out, event_op_letter(change->op));
    writer_text(out, "\",\"ts_ms\":");
    json_integer_write(out, event_milliseconds(place->now_us));
    writer_text(out, ",\"ts_us\":");
    json_integer_write(out, place->now_us);
    writer_text(out, ",\"ts_ns\":");
    json_integer_write(out, event_nanoseconds(place->now_us));
    writer_u8(out, '}');
}

static void flat_write(const FormatTable *t, const FormatChange *change, Writer *out) {
    const EventPlace *place = change->event->place;
    writer_u8(out, '{');
    bool comma = members_write(t, change->after != NULL ? change->after : change->before, out);
    if (t->format->envelope == ENVELOPE_FLAT) {
        writer_text(out, comma ? ",\"__op\":\"" : "\"__op\":\"");
        writer_text(out, event_op_letter(change->op));
        writer_text(out, "\",\"__lsn\":");
        json_integer_write(out, (int64_t)place->end.at);
        writer_text(out, ",\"__seq\":");
        json_integer_write(out, place->seq);
        writer_text(out, ",\"__ts_ms\":");
        json_integer_write(out, event_milliseconds(place->committed_us));
    }
    writer_u8(out, '}');
}

void json_change_write(const FormatTable *t, const FormatChange *change, Writer *out) {
    const JsonBody *body = t->value_body;
    writer_bytes(out, body->head);
    (t->format->envelope == ENVELOPE_DEBEZIUM ? envelope_write : flat_write)(t, change, out);
    if (body->schema)
        writer_u8(out, '}');
}
