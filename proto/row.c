#include "proto/row.h"

#include <string.h>

#include "core/config_value.h"
#include "core/json_text.h"
#include "proto/convert.h"

/* ---- a table's own ---- */

/* An array has one placeholder, or, of numbers, its bytes. */
static Datum placeholder_new(Arena *arena, const Kind *kind) {
    const char *text = event_placeholder(kind);
    if (text == NULL)
        return datum_special();
    if (kind->form != FORM_ARRAY)
        return datum_text(text);
    bool numbers = kind->element->form == FORM_INTEGER || kind->element->form == FORM_DATE;
    uint32_t count = numbers ? (uint32_t)slice_text(text).len : 1;
    Datum *items = arena_alloc(arena, count * sizeof *items);
    items[0] = datum_text(text);
    for (uint32_t at = 0; numbers && at < count; at++)
        items[at] = datum_integer(text[at]);
    return datum_list(items, count);
}

static bool find_default(Arena *arena, const Kind *kind, Datum *out) {
    Error e = {0};
    return kind->fallback != NULL && convert(kind, slice_text(kind->fallback), arena, out, &e) &&
           out->kind != DATUM_SPECIAL;
}

static RowColumn column_new(Arena *arena, const EventColumn *column, const Format *format) {
    bool debezium = format->envelope == ENVELOPE_DEBEZIUM;
    RowColumn made = {.name = column->name,
                      .kind = debezium ? column->kind : kind_optional(arena, column->kind, true),
                      .placeholder = placeholder_new(arena, column->kind)};
    convert_zero(made.kind, arena, &made.zero);
    made.unknown = made.kind->optional ? datum_null() : made.zero;
    Datum fallback;
    if ((!made.kind->optional || (debezium && format->null_is_default)) &&
        find_default(arena, made.kind, &fallback))
        made.unknown = fallback;
    return made;
}

static uint16_t find_column(const Row *row, uint16_t number) {
    uint16_t at = 0;
    while (row->columns[at].number != number)
        at++;
    return at;
}

Row row_new(Arena *arena, const EventTable *table, const Format *format) {
    bool debezium = format->envelope == ENVELOPE_DEBEZIUM;
    Row row = {.table = table,
               .drops_absent = !debezium,
               .drops_unchanged = !debezium || format->toast == TOAST_ABSENT,
               .drops_required = format->name == FORMAT_JSON,
               .completes = format->toast == TOAST_COMPLETE || (debezium && format->toast == TOAST_DEFAULT),
               .special_fails = format->special_fails,
               .lists_hold_null = format->name != FORMAT_PROTOBUF};
    row.columns = arena_alloc(arena, (table->column_count + 1u) * sizeof *row.columns);
    row.key = arena_alloc(arena, (table->key_count + 1u) * sizeof *row.key);
    for (uint16_t at = 0; at < table->column_count; at++) {
        if (table->columns[at].kind == NULL)
            continue;
        row.columns[row.count] = column_new(arena, &table->columns[at], format);
        row.columns[row.count++].number = at;
    }
    for (uint16_t at = 0; at < table->key_count; at++)
        row.key[at] = find_column(&row, table->key[at]);
    return row;
}

/* ---- what went wrong ---- */

static bool refuse(const RowReader *r, const RowColumn *column) {
    return fail_context(r->e, "column \"%s\" of %s.%s", column->name, r->row->table->schema,
                        r->row->table->name);
}

/* A job with topics asks the source for text. */
static bool refuse_binary(const RowReader *r, const RowColumn *column) {
    fail(r->e, ERR_DATA, "the value came in binary form");
    return refuse(r, column);
}

static bool refuse_key(const RowReader *r, const RowColumn *column) {
    fail(r->e, ERR_DATA, "the key's value did not come along");
    refuse(r, column);
    return fail_hint(r->e, "the table's replica identity has to contain the key of its topic");
}

/* Only a source whose encoding is SQL_ASCII sends such text: it converts nothing. No reader of a topic could take it. */
static bool refuse_bytes(const RowReader *r, const RowColumn *column) {
    fail(r->e, ERR_DATA, "the text is not UTF-8");
    refuse(r, column);
    return fail_hint(r->e, "the source's encoding is SQL_ASCII: mend the value there");
}

static bool refuse_special(const RowReader *r, const RowColumn *column, Slice text) {
    fail(r->e, ERR_DATA, "its type in the topic has no place for \"%.*s\"",
         (int)(text.len > 60 ? 60 : text.len), text.len > 0 ? text.at : "");
    refuse(r, column);
    return fail_hint(r->e, "special: header writes NULL, and the value into a header");
}

/* "name", or "name":"text". */
static void note(Writer *list, const RowColumn *column, const Slice *text) {
    if (list->len > 0)
        writer_u8(list, ',');
    json_text_write(list, slice_text(column->name));
    if (text == NULL)
        return;
    writer_u8(list, ':');
    json_text_write(list, *text);
}

/* ---- values ---- */

static bool holds_null(const Kind *kind, const Datum *list) {
    bool lists = kind->element->form == FORM_ARRAY;
    for (uint32_t at = 0; at < list->count; at++)
        if (list->items[at].kind == DATUM_NULL || (lists && holds_null(kind->element, &list->items[at])))
            return true;
    return false;
}

static bool is_special(const Row *row, const Kind *kind, const Datum *datum) {
    return datum->kind == DATUM_SPECIAL ||
           (!row->lists_hold_null && kind->form == FORM_ARRAY && holds_null(kind, datum));
}

static bool is_ascii(Slice text) {
    uint64_t eight, seen = 0;
    size_t at = 0;
    for (; at + sizeof eight <= text.len; at += sizeof eight) {
        memcpy(&eight, text.at + at, sizeof eight);
        seen |= eight;
    }
    for (; at < text.len; at++)
        seen |= (uint64_t)(unsigned char)text.at[at];
    return (seen & UINT64_C(0x8080808080808080)) == 0;
}

bool row_is_text(Slice text) {
    return is_ascii(text) || config_utf8_valid(text);
}

/* `special` NULL: it was noted before, and the zero stands for it. */
static bool text_read(const RowReader *r, const RowColumn *column, Slice text, Writer *special, Datum *out) {
    if (!row_is_text(text))
        return refuse_bytes(r, column);
    if (!convert(column->kind, text, r->scratch, out, r->e))
        return refuse(r, column);
    if (!is_special(r->row, column->kind, out))
        return true;
    if (r->row->special_fails)
        return refuse_special(r, column, text);
    *out = special != NULL && column->kind->optional ? datum_null() : column->zero;
    if (special != NULL)
        note(special, column, &text);
    return true;
}

static bool value_read(const RowReader *r, const RowColumn *column, const Value *value, Writer *special,
                       Datum *out) {
    const Row *row = r->row;
    switch (value->kind) {
    case VALUE_TEXT: return text_read(r, column, value->bytes, special, out);
    case VALUE_BINARY: return refuse_binary(r, column);
    case VALUE_NULL: *out = column->unknown; return true;
    case VALUE_ABSENT:
        *out = row->drops_absent ? (Datum){.kind = DATUM_LEFT_OUT} : column->unknown;
        return true;
    case VALUE_UNCHANGED: break;
    }
    note(&r->notes->unchanged, column, NULL);
    if (row->drops_unchanged && (row->drops_required || column->kind->optional))
        *out = (Datum){.kind = DATUM_LEFT_OUT};
    else
        *out = column->placeholder.kind == DATUM_SPECIAL ? column->unknown : column->placeholder;
    return true;
}

bool row_read(const RowReader *r, const Value *values, const Value *old, Writer *special, Datum *out) {
    const Row *row = r->row;
    for (uint16_t at = 0; at < row->count; at++) {
        const RowColumn *column = &row->columns[at];
        const Value *value = &values[column->number];
        if (value->kind == VALUE_UNCHANGED && row->completes && old != NULL &&
            value_is_known(&old[column->number]))
            value = &old[column->number];
        if (!value_read(r, column, value, special, &out[at]))
            return false;
    }
    return true;
}

bool row_read_key(const RowReader *r, const Value *values, const Value *other, Datum *out) {
    const Row *row = r->row;
    for (uint16_t at = 0; at < row->table->key_count; at++) {
        const RowColumn *column = &row->columns[row->key[at]];
        const Value *value = &values[column->number];
        if (!value_is_known(value) && other != NULL)
            value = &other[column->number];
        if (value->kind != VALUE_TEXT)
            return value->kind == VALUE_BINARY ? refuse_binary(r, column) : refuse_key(r, column);
        if (!text_read(r, column, value->bytes, NULL, &out[at]))
            return false;
    }
    return true;
}
