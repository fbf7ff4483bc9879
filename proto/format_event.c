/* From a change to its records and their headers. */
#include "proto/format_intern.h"

#include "core/json_text.h"
#include "proto/json_value.h"

/* ---- headers ---- */

static Span number_header(Records *out, int64_t number) {
    size_t from = span_begin(out);
    json_integer_write(&out->bytes, number);
    return span_end(out, from);
}

static Span text_header(Records *out, const char *text) {
    size_t from = span_begin(out);
    writer_text(&out->bytes, text);
    return span_end(out, from);
}

FormatPlace format_place_write(Records *out, const EventPlace *place) {
    char lsn[LSN_TEXT_SIZE];
    return (FormatPlace){.lsn = text_header(out, lsn_text(place->end, lsn)),
                         .seq = number_header(out, place->seq),
                         .xid = number_header(out, place->xid)};
}

void format_place_headers(Record *record, const FormatPlace *place) {
    record_header(record, "walferry.lsn", place->lsn);
    record_header(record, "walferry.seq", place->seq);
    record_header(record, "walferry.xid", place->xid);
}

bool format_fits(const Records *out, const char *what, Error *e) {
    bool full = out->bytes.full || out->special_before.full || out->special_after.full || out->unchanged.full;
    return !full || fail(e, ERR_LIMIT, "%s is longer than %zu bytes as a record", what, out->bytes.limit);
}

static void special_member(Writer *out, const char *start, Writer *notes) {
    if (notes->len == 0)
        return;
    writer_text(out, start);
    writer_bytes(out, writer_slice(notes));
    writer_u8(out, '}');
    writer_reset(notes);
}

/* {"after":{...},"before":{...}}, and the list of the unchanged ones; both are empty again. */
static void value_headers(Records *out, Record *record) {
    size_t from = span_begin(out);
    bool after = out->special_after.len > 0;
    if (after || out->special_before.len > 0) {
        special_member(&out->bytes, "{\"after\":{", &out->special_after);
        special_member(&out->bytes, after ? ",\"before\":{" : "{\"before\":{", &out->special_before);
        writer_u8(&out->bytes, '}');
        record_header(record, "walferry.special", span_end(out, from));
    }
    from = span_begin(out);
    if (out->unchanged.len > 0) {
        writer_u8(&out->bytes, '[');
        writer_bytes(&out->bytes, writer_slice(&out->unchanged));
        writer_u8(&out->bytes, ']');
        record_header(record, "walferry.unchanged", span_end(out, from));
        writer_reset(&out->unchanged);
    }
}

/* ---- one record ---- */

typedef struct Maker {
    const FormatTable *t;
    const Event *event;
    Records *out;
    RowReader reader;
    FormatPlace place;
    Datum *before, *after, *key; /* room for them */
} Maker;

static Record *add(Maker *m, Span key, Span value) {
    Record *record = records_add(m->out, key, value);
    format_place_headers(record, &m->place);
    return record;
}

static void tree_write(const Maker *m, const FormatChange *change) {
    const FormatTable *t = m->t;
    EventTree tree;
    Datum value;
    if (t->format->envelope == ENVELOPE_DEBEZIUM) {
        const EventRows rows = {change->before, change->after, t->row.count};
        value = event_envelope_datum(&tree, t->format->origin, t->table, m->event, change->op, rows);
    } else {
        Datum *row = change->before != NULL ? m->before : m->after;
        for (uint16_t at = 0; change->before == NULL && change->after == NULL && at < t->row.count; at++)
            row[at] = (Datum){.kind = DATUM_LEFT_OUT};
        event_marks(row + t->row.count, m->event->place, change->op);
        value = datum_list(row, (uint32_t)t->value->field_count);
    }
    t->ops->body_write(t->value_body, t->value_id, &value, &m->out->bytes);
}

/* Of the other envelopes one row is read: what there is now; of a delete, what there was. */
static bool rows_read(Maker *m, const Value *before, const Value *after, FormatChange *change) {
    if (m->t->format->envelope != ENVELOPE_DEBEZIUM && after != NULL)
        before = NULL;
    if (before != NULL) {
        if (!row_read(&m->reader, before, NULL, &m->out->special_before, m->before))
            return false;
        change->before = m->before;
    }
    if (after != NULL) {
        if (!row_read(&m->reader, after, m->event->before, &m->out->special_after, m->after))
            return false;
        change->after = m->after;
    }
    return true;
}

/* The columns are the table's: one that the topic leaves out is not read. */
static void read_header(Maker *m, Record *record) {
    const EventRead *read = m->event->read;
    Writer *out = &m->out->bytes;
    char lsn[LSN_TEXT_SIZE];
    const char *comma = "";
    size_t from = span_begin(m->out);
    writer_format(out, "{\"lsn\":\"%s\",\"columns\":[", lsn_text(read->at, lsn));
    for (uint16_t at = 0; at < m->t->table->column_count; at++) {
        if (!read->columns[at])
            continue;
        writer_text(out, comma);
        json_text_write(out, slice_text(m->t->table->columns[at].name));
        comma = ",";
    }
    writer_text(out, "]}");
    record_header(record, "walferry.toast", span_end(m->out, from));
}

static void mark_headers(Maker *m, Record *record, EventOp op) {
    record_header(record, "walferry.op", text_header(m->out, event_op_letter(op)));
    record_header(record, "walferry.ts_us", number_header(m->out, m->event->place->committed_us));
}

/* NULL: the error says why. */
static Record *change_add(Maker *m, EventOp op, Span key, const Value *before, const Value *after) {
    FormatChange change = {.op = op, .event = m->event};
    if (!rows_read(m, before, after, &change))
        return NULL;
    size_t from = span_begin(m->out);
    if (m->t->ops->change_write != NULL)
        m->t->ops->change_write(m->t, &change, &m->out->bytes);
    else
        tree_write(m, &change);
    Record *record = add(m, key, span_end(m->out, from));
    if (m->t->format->envelope == ENVELOPE_ROW)
        mark_headers(m, record, op);
    value_headers(m->out, record);
    if (after != NULL && m->event->read != NULL)
        read_header(m, record);
    return record;
}

/* ---- all of them ---- */

/* `named`: the key as a header names it, in any format and never with a schema, as Connect writes headers, and without the field
 * that a route adds; NULL: not. */
static bool key_write(Maker *m, const Value *row, const Value *other, Span *key, Span *named) {
    const FormatTable *t = m->t;
    *key = (Span){0};
    if (t->key == NULL || row == NULL)
        return true;
    if (!row_read_key(&m->reader, row, other, m->key))
        return false;
    const Datum columns = datum_list(m->key, t->table->key_count);
    const Datum datum = datum_list(m->key, (uint32_t)t->key->field_count);
    if (t->table->key_field != NULL)
        m->key[t->table->key_count] = datum_text(t->table->key_value);
    size_t from = span_begin(m->out);
    t->ops->body_write(t->key_body, t->key_id, &datum, &m->out->bytes);
    *key = span_end(m->out, from);
    if (named != NULL) {
        from = span_begin(m->out);
        json_key_header_write(&m->out->bytes, t->key, &columns);
        *named = span_end(m->out, from);
    }
    return true;
}

/* A key, and what headers say of it. */
typedef struct NamedKey {
    Span key, named;
} NamedKey;

/* Tombstones are not counted. */
static EventBlock block_behind(const EventBlock *block) {
    return (EventBlock){block->id, block->total_order + 1, block->data_collection_order + 1};
}

static bool key_change_add(Maker *m, const NamedKey *old_key, const NamedKey *new_key) {
    Record *record = change_add(m, EVENT_DELETE, old_key->key, m->event->before, NULL);
    if (record == NULL)
        return false;
    record_header(record, "__debezium.newkey", new_key->named);
    if (m->t->format->tombstones)
        record_header(add(m, old_key->key, (Span){0}), "__debezium.newkey", new_key->named);
    EventBlock block;
    Event created = *m->event;
    Maker create = *m;
    create.event = &created;
    if (created.block != NULL) {
        block = block_behind(created.block);
        created.block = &block;
    }
    record = change_add(&create, EVENT_CREATE, new_key->key, NULL, created.after);
    if (record == NULL)
        return false;
    record_header(record, "__debezium.oldkey", old_key->named);
    return true;
}

static bool plain_change_add(Maker *m, Span key) {
    const Event *event = m->event;
    if (change_add(m, event->op, key, event->before, event->after) == NULL)
        return false;
    if (event->op == EVENT_DELETE && m->t->format->tombstones && key.exists)
        add(m, key, (Span){0});
    return true;
}

/* A key may be the same in other words: 1.0 and 1.00. */
static bool records_add_all(Maker *m) {
    const Event *event = m->event;
    bool deletes = event->op == EVENT_DELETE, changes = event_changes_key(m->t->table, event);
    NamedKey key, old_key;
    if (!key_write(m, deletes ? event->before : event->after, deletes ? NULL : event->before, &key.key,
                   changes ? &key.named : NULL))
        return false;
    if (!changes)
        return plain_change_add(m, key.key);
    if (!key_write(m, event->before, event->after, &old_key.key, &old_key.named))
        return false;
    bool same = slice_equal(records_view(m->out, key.key), records_view(m->out, old_key.key));
    return same ? plain_change_add(m, key.key) : key_change_add(m, &old_key, &key);
}

/* Behind all others, as Debezium has them. */
static void context_headers(Records *out, const EventOrigin *origin) {
    Span connector = text_header(out, origin->prefix), task = text_header(out, "0");
    Span type = text_header(out, "postgresql");
    for (int at = 0; at < out->count; at++) {
        record_header(&out->list[at], "__debezium.context.connectorLogicalName", connector);
        record_header(&out->list[at], "__debezium.context.taskId", task);
        record_header(&out->list[at], "__debezium.context.connectorName", type);
    }
}

bool format_event(const FormatTable *table, const Event *event, Arena *scratch, Records *out, Error *e) {
    size_t row = table->row.count + (size_t)EVENT_MARKS;
    records_reset(out);
    Datum *space = records_space(out, (2 * row + table->table->key_count + 1) * sizeof *space);
    Maker m = {.t = table,
               .event = event,
               .out = out,
               .reader = {.row = &table->row, .scratch = scratch, .notes = out, .e = e},
               .place = format_place_write(out, event->place),
               .before = space,
               .after = space + row,
               .key = space + 2 * row};
    if (!records_add_all(&m))
        return false;
    if (table->format->context)
        context_headers(out, table->format->origin);
    if (format_fits(out, "a change", e))
        return true;
    return fail_context(e, "%s.%s", table->table->schema, table->table->name);
}
