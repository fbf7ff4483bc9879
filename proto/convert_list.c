/* Arrays (PostgreSQL's array_out), hstore, and the vectors of pgvector. */
#include <string.h>
#include <strings.h>

#include "core/json_text.h"
#include "proto/convert_intern.h"

enum { DIMENSIONS_MOST = 6 };

typedef struct ArrayReader {
    const Kind *kind;
    Cursor c;
    DatumList list;
    bool nested, special;
} ArrayReader;

/* Up to a delimiter or a brace. */
static Slice take_unquoted(ArrayReader *r) {
    const char *from = r->c.at;
    while (!cursor_done(&r->c) && *r->c.at != r->kind->delimiter && strchr("{}\"\\", *r->c.at) == NULL)
        r->c.at++;
    return (Slice){from, (size_t)(r->c.at - from)};
}

static bool is_null(Slice text) {
    return text.len == 4 && strncasecmp(text.at, "NULL", 4) == 0;
}

/* False: *e says why when an element was refused; else the array itself is malformed. */
static bool read_element(ArrayReader *r, Error *e) {
    Datum *element = datum_list_add(&r->list);
    Slice text;
    if (cursor_peek(&r->c) == '"') {
        if (!cursor_quoted(&r->c, r->list.arena, &text))
            return false;
    } else {
        text = take_unquoted(r);
        if (text.len == 0)
            return false;
        if (is_null(text))
            return true;
    }
    if (!convert(r->kind->element, text, r->list.arena, element, e))
        return false;
    r->special = r->special || element->kind == DATUM_SPECIAL;
    return true;
}

static bool read_items(ArrayReader *r, int depth, Error *e) {
    if (!cursor_take(&r->c, '{') || depth > DIMENSIONS_MOST)
        return false;
    if (cursor_take(&r->c, '}'))
        return true;
    do {
        bool inner = cursor_peek(&r->c) == '{';
        r->nested = r->nested || inner;
        if (!(inner ? read_items(r, depth + 1, e) : read_element(r, e)))
            return false;
    } while (cursor_take(&r->c, r->kind->delimiter));
    return cursor_take(&r->c, '}');
}

/* "[0:2]={...}": whatever stands in front of the equals sign are bounds. */
static bool skip_bounds(Cursor *c) {
    if (cursor_peek(c) != '[')
        return false;
    while (!cursor_done(c) && *c->at != '=' && *c->at != '{')
        c->at++;
    cursor_take(c, '=');
    return true;
}

bool convert_array(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    ArrayReader r = {.kind = kind, .c = cursor_new(text), .list = {.arena = arena}};
    bool bounds = skip_bounds(&r.c);
    error_clear(e);
    if (!read_items(&r, 1, e))
        return e->kind != ERR_NONE ? false : convert_refuse("an array", text, e);
    if (!cursor_done(&r.c))
        return convert_refuse("an array", text, e);
    if (bounds || r.nested || r.special)
        *out = datum_special();
    else
        *out = datum_list(r.list.items, r.list.count);
    return true;
}

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
    return (ok && cursor_done(&c)) || convert_refuse("an hstore", text, e);
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
        return convert_refuse("a vector", text, e);
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
        return convert_refuse("a sparse vector", text, e);
    fields[1] = datum_list(list.items, list.count);
    *out = beyond ? datum_special() : datum_list(fields, 2);
    return true;
}
