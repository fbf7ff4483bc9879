#include "proto/convert.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "proto/convert_intern.h"

enum { DIMENSIONS_MOST = 6 };

/* ---- arrays (PostgreSQL's array_out): elements of any kind ---- */

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

static bool convert_array(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    ArrayReader r = {.kind = kind, .c = cursor_new(text), .list = {.arena = arena}};
    bool bounds = skip_bounds(&r.c);
    error_clear(e);
    if (!read_items(&r, 1, e))
        return e->kind != ERR_NONE ? false : cursor_refuse("an array", text, e);
    if (!cursor_done(&r.c))
        return cursor_refuse("an array", text, e);
    if (bounds || r.nested || r.special)
        *out = datum_special();
    else
        *out = datum_list(r.list.items, r.list.count);
    return true;
}

/* ---- any kind ---- */

bool convert(const Kind *kind, Slice text, Arena *arena, Datum *out, Error *e) {
    switch (kind->form) {
    case FORM_BOOLEAN: return convert_boolean(text, out, e);
    case FORM_BIT: return convert_bit(text, out, e);
    case FORM_INTEGER: return convert_integer(kind, text, out, e);
    case FORM_FLOAT: return convert_float(kind, text, out, e);
    case FORM_TEXT:
    case FORM_RAW: *out = datum_bytes(text); return true;
    case FORM_BYTES: return convert_bytes(text, arena, out, e);
    case FORM_BITS: return convert_bits(text, arena, out, e);
    case FORM_DECIMAL:
    case FORM_VARIABLE_DECIMAL: return convert_decimal(kind, text, arena, out, e);
    case FORM_MONEY: return convert_money(kind, text, arena, out, e);
    case FORM_DATE: return convert_date(text, out, e);
    case FORM_TIME: return convert_time(kind, text, out, e);
    case FORM_TIMESTAMP: return convert_timestamp(kind, text, out, e);
    case FORM_TIMESTAMPTZ: return convert_timestamptz(kind, text, arena, out, e);
    case FORM_TIMETZ: return convert_timetz(text, arena, out, e);
    case FORM_INTERVAL: return convert_interval(text, out, e);
    case FORM_HSTORE: return convert_hstore(text, arena, out, e);
    case FORM_POINT: return convert_point(text, arena, out, e);
    case FORM_GEOMETRY: return convert_geometry(kind, text, arena, out, e);
    case FORM_BOX:
    case FORM_LSEG:
    case FORM_PATH:
    case FORM_POLYGON: return convert_shape(kind, text, arena, out, e);
    case FORM_CIRCLE: return convert_circle(text, arena, out, e);
    case FORM_LINE: return convert_line(text, arena, out, e);
    case FORM_VECTOR: return convert_vector(kind, text, arena, out, e);
    case FORM_SPARSE_VECTOR: return convert_sparse_vector(text, arena, out, e);
    case FORM_ARRAY: return convert_array(kind, text, arena, out, e);
    case FORM_NONE: break;
    }
    assert(kind->form != FORM_NONE);
    return false;
}

/* The text whose value stands for an unknown one; NULL: the empty one of its type. */
static const char *zero_text(KindForm form) {
    switch (form) {
    case FORM_BOOLEAN: return "f";
    case FORM_BIT:
    case FORM_INTEGER:
    case FORM_FLOAT:
    case FORM_DECIMAL:
    case FORM_VARIABLE_DECIMAL: return "0";
    case FORM_MONEY: return "$0.00";
    case FORM_DATE: return "1970-01-01";
    case FORM_TIME:
    case FORM_INTERVAL: return "00:00:00";
    case FORM_TIMESTAMP: return "1970-01-01 00:00:00";
    case FORM_HSTORE: return "";
    case FORM_POINT: return "(0,0)";
    case FORM_GEOMETRY: return "010700000000000000"; /* a collection of none */
    case FORM_BOX: return "(0,0),(1,1)";
    case FORM_LSEG:
    case FORM_PATH: return "[(0,0),(1,0)]";
    case FORM_POLYGON: return "((0,0),(1,0),(0,1))";
    case FORM_CIRCLE: return "<(0,0),0>";
    case FORM_LINE: return "{0,1,0}";
    case FORM_SPARSE_VECTOR: return "{}/0";
    default: return NULL;
    }
}

void convert_zero(const Kind *kind, Arena *arena, Datum *out) {
    const char *text = zero_text(kind->form);
    Error e = {0};
    if (text != NULL) {
        bool read = convert(kind, slice_text(text), arena, out, &e);
        assert(read);
    } else if (kind->type == CONNECT_ARRAY) {
        *out = datum_list(NULL, 0);
    } else {
        *out = datum_text(kind->form == FORM_TIMESTAMPTZ ? "1970-01-01T00:00:00Z"
                          : kind->form == FORM_TIMETZ    ? "00:00:00Z"
                                                         : "");
    }
}
