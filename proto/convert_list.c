/* Lists of one type: hstore, and the vectors of pgvector. */
#include "core/json_text.h"
#include "proto/convert_intern.h"

/* ---- hstore: "key"=>"value", "other"=>NULL ---- */

static bool write_pair(Cursor *c, Arena *arena, Writer *json) {
    Slice key, value;
    if (!cursor_quoted(c, arena, &key) || !cursor_take_text(c, "=>"))
        return false;
    json_text_write(json, key);
    writer_u8(json, ':');
    if (cursor_take_text(c, "NULL")) {
        writer_text(json, "null");
        return true;
    }
    if (!cursor_quoted(c, arena, &value))
        return false;
    json_text_write(json, value);
    return true;
}

bool convert_hstore(Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    Writer json = writer_new(SIZE_MAX);
    bool ok = true;
    writer_u8(&json, '{');
    if (!cursor_done(&c))
        ok = write_pair(&c, arena, &json);
    while (ok && cursor_take_text(&c, ", ")) {
        writer_u8(&json, ',');
        ok = write_pair(&c, arena, &json);
    }
    writer_u8(&json, '}');
    *out = datum_bytes((Slice){arena_text(arena, writer_slice(&json)), json.len});
    writer_free(&json);
    return (ok && cursor_done(&c)) || cursor_refuse("an hstore", text, e);
}

/* ---- vectors ---- */

static bool take_float(Cursor *c, ConnectType type, DatumList *list) {
    Datum *item = datum_list_add(list);
    item->kind = DATUM_FLOAT;
    return cursor_float(c, type, &item->bytes);
}

/* [1,2.5,3] */
bool convert_vector(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    DatumList list = {.arena = arena};
    ConnectType type = kind->element->type;
    bool ok = cursor_take(&c, '[') && take_float(&c, type, &list);
    while (ok && cursor_take(&c, ','))
        ok = take_float(&c, type, &list);
    if (!ok || !cursor_take(&c, ']') || !cursor_done(&c))
        return cursor_refuse("a vector", text, e);
    *out = datum_list(list.items, list.count);
    return true;
}

/* Dimensions go up to a thousand million, and are sixteen bits wide in the topic. */
static bool take_index(Cursor *c, Datum *out, bool *beyond) {
    int64_t index;
    bool ok = cursor_digits(c, 1, 10, &index);
    *beyond = *beyond || index > INT16_MAX;
    *out = datum_integer(index);
    return ok;
}

static bool take_entry(Cursor *c, DatumList *list, bool *beyond) {
    return take_index(c, datum_list_add(list), beyond) && cursor_take(c, ':') &&
           take_float(c, CONNECT_FLOAT64, list);
}

/* {1:1.5,3:2}/5 */
bool convert_sparse_vector(Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    DatumList list = {.arena = arena};
    Datum *fields = arena_alloc(arena, 2 * sizeof *fields);
    bool beyond = false, ok = cursor_take(&c, '{');
    if (ok && cursor_peek(&c) != '}')
        do
            ok = take_entry(&c, &list, &beyond);
        while (ok && cursor_take(&c, ','));
    if (!ok || !cursor_take_text(&c, "}/") || !take_index(&c, &fields[0], &beyond) || !cursor_done(&c))
        return cursor_refuse("a sparse vector", text, e);
    fields[1] = datum_list(list.items, list.count);
    *out = beyond ? datum_special() : datum_list(fields, 2);
    return true;
}
