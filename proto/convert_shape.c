/* Points, and what is made of them: PostgreSQL's own geometric types, and PostGIS's. Debezium says most of them in well-known
 * binary: byte order 1 (little-endian), a type, and coordinates. */
#include <string.h>

#include "proto/convert_intern.h"

enum { WKB_POINT = 1, WKB_LINE_STRING = 2, WKB_POLYGON = 3 };
enum {
    ORDER_BYTES = 1,
    TYPE_BYTES = 4,
    COUNT_BYTES = 4,
    POINT_BYTES = 16,
    HEAD_BYTES = ORDER_BYTES + TYPE_BYTES
};

static char *put_little(char *to, uint64_t value, int width) {
    for (int byte = 0; byte < width; byte++)
        *to++ = (char)(value >> 8 * byte);
    return to;
}

static char *put_double(char *to, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_little(to, bits, 8);
}

static char *put_head(char *to, uint32_t type) {
    return put_little(put_little(to, 1, ORDER_BYTES), type, TYPE_BYTES);
}

/* x and y. */
static char *put_point(char *to, const Datum *point) {
    return put_double(put_double(to, datum_float(&point[0])), datum_float(&point[1]));
}

static bool take_number(Cursor *c, Datum *out) {
    *out = (Datum){.kind = DATUM_FLOAT};
    return cursor_float(c, CONNECT_FLOAT64, &out->bytes);
}

/* (1,2): into two Datums. */
static bool take_point(Cursor *c, Datum *out) {
    return cursor_take(c, '(') && take_number(c, &out[0]) && cursor_take(c, ',') && take_number(c, &out[1]) &&
           cursor_take(c, ')');
}

/* ---- a point, a circle, a line ---- */

static void fill_point(Datum *fields, Arena *arena) {
    enum { SIZE = HEAD_BYTES + POINT_BYTES };
    char *wkb = arena_raw(arena, SIZE);
    put_point(put_head(wkb, WKB_POINT), fields);
    fields[2] = datum_bytes((Slice){wkb, SIZE});
}

bool convert_point(Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    Datum *fields = arena_alloc(arena, 4 * sizeof *fields);
    if (!take_point(&c, fields) || !cursor_done(&c))
        return cursor_refuse("a point", text, e);
    fill_point(fields, arena);
    *out = datum_list(fields, 4);
    return true;
}

/* <(1,2),3> */
bool convert_circle(Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    Datum *fields = arena_alloc(arena, 2 * sizeof *fields), *center = arena_alloc(arena, 4 * sizeof *center);
    if (!cursor_take(&c, '<') || !take_point(&c, center) || !cursor_take(&c, ',') ||
        !take_number(&c, &fields[1]) || !cursor_take(&c, '>') || !cursor_done(&c))
        return cursor_refuse("a circle", text, e);
    fill_point(center, arena);
    fields[0] = datum_list(center, 4);
    *out = datum_list(fields, 2);
    return true;
}

/* {1,2,3} */
bool convert_line(Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    Datum *fields = arena_alloc(arena, 3 * sizeof *fields);
    if (!cursor_take(&c, '{') || !take_number(&c, &fields[0]) || !cursor_take(&c, ',') ||
        !take_number(&c, &fields[1]) || !cursor_take(&c, ',') || !take_number(&c, &fields[2]) ||
        !cursor_take(&c, '}') || !cursor_done(&c))
        return cursor_refuse("a line", text, e);
    *out = datum_list(fields, 3);
    return true;
}

/* ---- shapes of several points ---- */

/* Points with commas between them, each as two Datums. */
static bool take_points(Cursor *c, DatumList *list) {
    Datum point[2];
    do {
        if (!take_point(c, point))
            return false;
        *datum_list_add(list) = point[0];
        *datum_list_add(list) = point[1];
    } while (cursor_take(c, ','));
    return true;
}

static void add_point(DatumList *list, Datum x, Datum y) {
    *datum_list_add(list) = x;
    *datum_list_add(list) = y;
}

/* A box is told by two corners; a ring ends where it begins, unless it is one point. */
static void close_ring(const Kind *kind, DatumList *list) {
    if (kind->form == FORM_BOX) {
        const Datum corners[] = {list->items[0], list->items[1], list->items[2], list->items[3]};
        list->count = 2;
        add_point(list, corners[0], corners[3]);
        add_point(list, corners[2], corners[3]);
        add_point(list, corners[2], corners[1]);
        add_point(list, corners[0], corners[1]);
        return;
    }
    const Datum *first = list->items, *last = &list->items[list->count - 2];
    if (datum_float(&first[0]) != datum_float(&last[0]) || datum_float(&first[1]) != datum_float(&last[1]))
        add_point(list, first[0], first[1]);
}

static Slice shape_wkb(Arena *arena, const DatumList *points, bool ring) {
    uint32_t count = points->count / 2;
    size_t counts = ring ? 2 * (size_t)COUNT_BYTES : COUNT_BYTES;
    size_t size = HEAD_BYTES + counts + (size_t)count * POINT_BYTES;
    char *wkb = arena_raw(arena, size), *to = put_head(wkb, ring ? WKB_POLYGON : WKB_LINE_STRING);
    if (ring)
        to = put_little(to, 1, COUNT_BYTES);
    to = put_little(to, count, COUNT_BYTES);
    for (uint32_t at = 0; at < points->count; at += 2)
        to = put_point(to, &points->items[at]);
    return (Slice){wkb, size};
}

static const char *shape_name(KindForm form) {
    switch (form) {
    case FORM_BOX: return "box";
    case FORM_LSEG: return "lseg";
    case FORM_PATH: return "path";
    default: return "polygon";
    }
}

/* What well-known binary does not know: {"type":"path","closed":"false"} */
static Datum shape_extensions(Arena *arena, const Kind *kind, bool closed) {
    Datum *pairs = arena_alloc(arena, 4 * sizeof *pairs);
    pairs[0] = datum_text("type");
    pairs[1] = datum_text(shape_name(kind->form));
    pairs[2] = datum_text("closed");
    pairs[3] = datum_text(closed ? "true" : "false");
    return datum_list(pairs, kind->form == FORM_PATH ? 4 : 2);
}

/* A box is (1,1),(0,0), a segment [(0,0),(1,1)], a polygon ((0,0),...), a path like a polygon, or, open, like a segment. */
static bool take_shape(Cursor *c, const Kind *kind, DatumList *points, bool *closed) {
    bool bare = kind->form == FORM_BOX;
    *closed = !bare && kind->form != FORM_LSEG && cursor_take(c, '(');
    if (!bare && !*closed && (kind->form == FORM_POLYGON || !cursor_take(c, '[')))
        return false;
    if (!take_points(c, points) || (!bare && !cursor_take(c, *closed ? ')' : ']')))
        return false;
    return kind->form == FORM_PATH || kind->form == FORM_POLYGON || points->count == 4;
}

bool convert_shape(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    Cursor c = cursor_new(text);
    DatumList points = {.arena = arena};
    bool closed, ring = kind->form == FORM_BOX || kind->form == FORM_POLYGON;
    if (!take_shape(&c, kind, &points, &closed) || !cursor_done(&c))
        return cursor_refuse(shape_name(kind->form), text, e);
    if (ring)
        close_ring(kind, &points);
    Datum *fields = arena_alloc(arena, 3 * sizeof *fields);
    fields[0] = datum_bytes(shape_wkb(arena, &points, ring));
    fields[2] = shape_extensions(arena, kind, closed);
    *out = datum_list(fields, 3);
    return true;
}

/* ---- PostGIS ---- */

static uint32_t read_u32(const char *from, bool little) {
    uint32_t value = 0;
    for (int byte = 0; byte < 4; byte++)
        value = value << 8 | (unsigned char)from[little ? 3 - byte : byte];
    return value;
}

/* PostGIS prints its extended binary form: byte order, type with flags, the SRID where the flag says so. */
bool convert_geometry(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    enum { SRID_BYTES = 4 };
    const uint32_t has_srid = 0x20000000;
    Cursor c = cursor_new(text);
    Slice wkb;
    if (!cursor_hex(&c, arena, &wkb) || wkb.len < HEAD_BYTES || (unsigned char)wkb.at[0] > 1)
        return cursor_refuse("a geometry in hexadecimal", text, e);
    bool little = wkb.at[0] == 1;
    Datum *fields = arena_alloc(arena, (size_t)kind->field_count * sizeof *fields);
    fields[0] = datum_bytes(wkb);
    if ((read_u32(wkb.at + ORDER_BYTES, little) & has_srid) != 0) {
        if (wkb.len < HEAD_BYTES + SRID_BYTES)
            return cursor_refuse("a geometry with its SRID", text, e);
        fields[1] = datum_integer((int32_t)read_u32(wkb.at + HEAD_BYTES, little));
    }
    *out = datum_list(fields, (uint32_t)kind->field_count);
    return true;
}
