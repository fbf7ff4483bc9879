#include "proto/kind.h"

#include <stdio.h>
#include <string.h>

enum {
    OID_FIRST_NORMAL = 16384, /* below lie the server's own types */
    HEADER_BYTES = 4,         /* VARHDRSZ, which a numeric's modifier contains */
    DIGITS_MOST = 6,
    LENGTH_NONE = 2147483647 /* what Debezium says of a bit string without a length */
};
enum { OID_BIT = 1560, OID_VARBIT = 1562, OID_NUMERIC = 1700 };

#define DATA "io.debezium.data."
#define TIME "io.debezium.time."

/* ---- structs that stand for one value ---- */

static const Kind FLOAT64 = {.type = CONNECT_FLOAT64, .form = FORM_FLOAT};
static const Kind FLOAT32 = {.type = CONNECT_FLOAT32, .form = FORM_FLOAT};
static const Kind INT16 = {.type = CONNECT_INT16};
static const Kind INT32 = {.type = CONNECT_INT32};
static const Kind INT32_OPTIONAL = {.type = CONNECT_INT32, .optional = true};
static const Kind BYTES = {.type = CONNECT_BYTES};
static const Kind BYTES_OPTIONAL = {.type = CONNECT_BYTES, .optional = true};
static const Kind INT16_TO_FLOAT64 = {.type = CONNECT_MAP, .key = &INT16, .element = &FLOAT64};

static const KindField VARIABLE_DECIMAL[] = {{"scale", &INT32}, {"value", &BYTES}};
static const KindField POINT[] = {
    {"x", &FLOAT64}, {"y", &FLOAT64}, {"wkb", &BYTES_OPTIONAL}, {"srid", &INT32_OPTIONAL}};
static const Kind STRING = {.type = CONNECT_STRING, .form = FORM_TEXT};
static const Kind EXTENSIONS_OPTIONAL = {
    .type = CONNECT_MAP, .optional = true, .key = &STRING, .element = &STRING};
static const KindField GEOMETRY[] = {
    {"wkb", &BYTES}, {"srid", &INT32_OPTIONAL}, {"extensions", &EXTENSIONS_OPTIONAL}};
static const KindField LINE[] = {{"a", &FLOAT64}, {"b", &FLOAT64}, {"c", &FLOAT64}};
static const KindField GEOGRAPHY[] = {{"wkb", &BYTES}, {"srid", &INT32_OPTIONAL}};
static const KindField SPARSE_VECTOR[] = {{"dimensions", &INT16}, {"vector", &INT16_TO_FLOAT64}};

#define FIELDS(list) .field_count = sizeof(list) / sizeof *(list), .fields = (list)

#define POINT_KIND                                                                                           \
    {                                                                                                        \
        .type = CONNECT_STRUCT, .form = FORM_POINT, .name = DATA "geometry.Point", .version = 1,             \
        .doc = "Geometry (POINT)", FIELDS(POINT)                                                             \
    }
/* Debezium has them optional, whatever the column is. */
#define SHAPE_KIND(form_, name_, version_, doc_, fields_)                                                    \
    {                                                                                                        \
        .type = CONNECT_STRUCT, .form = (form_), .optional = true, .name = DATA "geometry." name_,           \
        .version = (version_), .doc = (doc_), FIELDS(fields_)                                                \
    }
static const Kind CENTER = POINT_KIND;
static const KindField CIRCLE[] = {{"center", &CENTER}, {"radius", &FLOAT64}};

/* ---- types that need no modifier ---- */

typedef struct KnownType {
    uint32_t oid;
    Kind kind;
} KnownType;

#define STRING_KIND                                                                                          \
    { .type = CONNECT_STRING, .form = FORM_TEXT }
#define NAMED(suffix)                                                                                        \
    { .type = CONNECT_STRING, .form = FORM_TEXT, .name = DATA suffix, .version = 1 }

static const KnownType KNOWN[] = {
    {16, {.type = CONNECT_BOOLEAN, .form = FORM_BOOLEAN}},
    {17, {.type = CONNECT_BYTES, .form = FORM_BYTES}},
    {18, STRING_KIND}, /* "char" */
    {19, STRING_KIND}, /* name */
    {20, {.type = CONNECT_INT64, .form = FORM_INTEGER}},
    {21, {.type = CONNECT_INT16, .form = FORM_INTEGER}},
    {23, {.type = CONNECT_INT32, .form = FORM_INTEGER}},
    {25, STRING_KIND},
    {26, {.type = CONNECT_INT64, .form = FORM_INTEGER}}, /* oid */
    {114, NAMED("Json")},
    {142, NAMED("Xml")},
    {600, POINT_KIND},
    {601, SHAPE_KIND(FORM_LSEG, "Geometry", 2, "Geometry", GEOMETRY)},
    {602, SHAPE_KIND(FORM_PATH, "Geometry", 2, "Geometry", GEOMETRY)},
    {603, SHAPE_KIND(FORM_BOX, "Geometry", 2, "Geometry", GEOMETRY)},
    {604, SHAPE_KIND(FORM_POLYGON, "Geometry", 2, "Geometry", GEOMETRY)},
    {628, SHAPE_KIND(FORM_LINE, "Line", 1, "Geometry (LINE)", LINE)},
    {650, STRING_KIND}, /* cidr */
    {700, {.type = CONNECT_FLOAT32, .form = FORM_FLOAT}},
    {701, {.type = CONNECT_FLOAT64, .form = FORM_FLOAT}},
    {718, SHAPE_KIND(FORM_CIRCLE, "Circle", 1, "Geometry (CIRCLE)", CIRCLE)},
    {774, STRING_KIND}, /* macaddr8 */
    {829, STRING_KIND}, /* macaddr */
    {869, STRING_KIND}, /* inet */
    {1042, STRING_KIND},
    {1043, STRING_KIND},
    {1082, {.type = CONNECT_INT32, .form = FORM_DATE, .name = TIME "Date", .version = 1}},
    {1186, {.type = CONNECT_INT64, .form = FORM_INTERVAL, .name = TIME "MicroDuration", .version = 1}},
    {2950, NAMED("Uuid")},
    {3614, NAMED("Tsvector")},
    {3802, NAMED("Json")},
    {3904, STRING_KIND}, /* the server's own ranges */
    {3906, STRING_KIND},
    {3908, STRING_KIND},
    {3910, STRING_KIND},
    {3912, STRING_KIND},
    {3926, STRING_KIND},
};

typedef struct ExtensionType {
    const char *name;
    Kind kind;
} ExtensionType;

static const ExtensionType EXTENSIONS[] = {
    {"citext", STRING_KIND},
    {"isbn", STRING_KIND},
    {"ltree", NAMED("Ltree")},
    {"hstore", {.type = CONNECT_STRING, .form = FORM_HSTORE, .name = DATA "Json", .version = 1}},
    {"geometry", SHAPE_KIND(FORM_GEOMETRY, "Geometry", 2, "Geometry", GEOMETRY)},
    {"geography",
     {.type = CONNECT_STRUCT,
      .form = FORM_GEOMETRY,
      .name = DATA "geometry.Geography",
      .version = 1,
      .doc = "Geography",
      FIELDS(GEOGRAPHY)}},
    {"vector",
     {.type = CONNECT_ARRAY,
      .form = FORM_VECTOR,
      .name = DATA "DoubleVector",
      .version = 1,
      .element = &FLOAT64}},
    {"halfvec",
     {.type = CONNECT_ARRAY,
      .form = FORM_VECTOR,
      .name = DATA "FloatVector",
      .version = 1,
      .element = &FLOAT32}},
    {"sparsevec",
     {.type = CONNECT_STRUCT,
      .form = FORM_SPARSE_VECTOR,
      .name = DATA "SparseDoubleVector",
      .version = 1,
      .doc = "Sparse double vector",
      FIELDS(SPARSE_VECTOR)}},
};

/* ---- types whose schema depends on the modifier ---- */

static void parameter_add(Arena *arena, Kind *kind, const char *name, const char *value) {
    KindParameter *list = arena_alloc(arena, (size_t)(kind->parameter_count + 1) * sizeof *list);
    if (kind->parameter_count > 0)
        memcpy(list, kind->parameters, (size_t)kind->parameter_count * sizeof *list);
    list[kind->parameter_count++] = (KindParameter){name, value};
    kind->parameters = list;
}

static void parameter_number(Arena *arena, Kind *kind, const char *name, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    parameter_add(arena, kind, name, arena_text(arena, slice_text(text)));
}

static Kind bits_kind(Arena *arena, int32_t modifier) {
    if (modifier == 1)
        return (Kind){.type = CONNECT_BOOLEAN, .form = FORM_BIT};
    Kind kind = {.type = CONNECT_BYTES, .form = FORM_BITS, .name = DATA "Bits", .version = 1};
    parameter_number(arena, &kind, "length", modifier > 0 ? modifier : LENGTH_NONE);
    return kind;
}

static Kind decimal_kind(Arena *arena, KindForm form, int scale) {
    Kind kind = {.type = CONNECT_BYTES,
                 .form = form,
                 .name = "org.apache.kafka.connect.data.Decimal",
                 .version = 1,
                 .scale = scale};
    parameter_number(arena, &kind, "scale", scale);
    return kind;
}

/* The modifier of a numeric: precision in the upper half, scale in the eleven lower bits, from 15 on with a sign. */
static Kind numeric_kind(Arena *arena, int32_t modifier) {
    if (modifier < HEADER_BYTES)
        return (Kind){.type = CONNECT_STRUCT,
                      .form = FORM_VARIABLE_DECIMAL,
                      .name = DATA "VariableScaleDecimal",
                      .version = 1,
                      .doc = "Variable scaled decimal",
                      FIELDS(VARIABLE_DECIMAL)};
    int32_t packed = modifier - HEADER_BYTES;
    Kind kind = decimal_kind(arena, FORM_DECIMAL, ((packed & 0x7ff) ^ 1024) - 1024);
    parameter_number(arena, &kind, "connect.decimal.precision", packed >> 16 & 0xffff);
    return kind;
}

static Kind time_kind(uint32_t oid, int32_t modifier) {
    Kind kind = {.version = 1, .digits = modifier < 0 || modifier > DIGITS_MOST ? DIGITS_MOST : modifier};
    bool milliseconds = kind.digits <= 3;
    switch (oid) {
    case 1083:
        kind.type = milliseconds ? CONNECT_INT32 : CONNECT_INT64;
        kind.form = FORM_TIME;
        kind.name = milliseconds ? TIME "Time" : TIME "MicroTime";
        break;
    case 1114:
        kind.type = CONNECT_INT64;
        kind.form = FORM_TIMESTAMP;
        kind.name = milliseconds ? TIME "Timestamp" : TIME "MicroTimestamp";
        break;
    case 1184:
        kind.type = CONNECT_STRING;
        kind.form = FORM_TIMESTAMPTZ;
        kind.name = TIME "ZonedTimestamp";
        break;
    default:
        kind.type = CONNECT_STRING;
        kind.form = FORM_TIMETZ;
        kind.name = TIME "ZonedTime";
    }
    return kind;
}

static Kind enum_kind(Arena *arena, const TypeFacts *type) {
    Kind kind = NAMED("Enum");
    Writer allowed = writer_new(SIZE_MAX);
    for (int at = 0; at < type->label_count; at++) {
        writer_text(&allowed, at == 0 ? "" : ",");
        writer_text(&allowed, type->labels[at]);
    }
    parameter_add(arena, &kind, "allowed", arena_text(arena, writer_slice(&allowed)));
    writer_free(&allowed);
    return kind;
}

/* ---- any type ---- */

static bool find_known(uint32_t oid, Kind *out) {
    for (size_t at = 0; at < sizeof KNOWN / sizeof *KNOWN; at++)
        if (KNOWN[at].oid == oid) {
            *out = KNOWN[at].kind;
            return true;
        }
    return false;
}

static bool find_extension(const TypeFacts *type, Kind *out) {
    if (type->oid < OID_FIRST_NORMAL || type->sort != 'b')
        return false;
    for (size_t at = 0; at < sizeof EXTENSIONS / sizeof *EXTENSIONS; at++)
        if (strcmp(EXTENSIONS[at].name, type->name) == 0) {
            *out = EXTENSIONS[at].kind;
            return true;
        }
    return false;
}

/* False: no type that the topics know. */
static bool type_kind(Arena *arena, const TypeFacts *type, int32_t modifier, Kind *out);

static bool array_kind(Arena *arena, const TypeFacts *type, int32_t modifier, Kind *out) {
    Kind *element = arena_alloc(arena, sizeof *element);
    if (!type_kind(arena, type->element, modifier, element))
        return false;
    element->optional = true; /* any array may hold NULLs */
    *out = (Kind){.type = CONNECT_ARRAY,
                  .form = FORM_ARRAY,
                  .element = element,
                  .delimiter = type->element->delimiter != '\0' ? type->element->delimiter : ','};
    return true;
}

static bool type_kind(Arena *arena, const TypeFacts *type, int32_t modifier, Kind *out) {
    while (type->base != NULL) {
        modifier = type->base_modifier;
        type = type->base;
    }
    if (type->element != NULL)
        return array_kind(arena, type, modifier, out);
    switch (type->oid) {
    case OID_BIT:
    case OID_VARBIT: *out = bits_kind(arena, modifier); return true;
    case OID_NUMERIC: *out = numeric_kind(arena, modifier); return true;
    case 790: *out = decimal_kind(arena, FORM_MONEY, 2); return true;
    case 1083:
    case 1114:
    case 1184:
    case 1266: *out = time_kind(type->oid, modifier); return true;
    default: break;
    }
    if (type->sort == 'e') {
        *out = enum_kind(arena, type);
        return true;
    }
    if (type->sort == 'r' || type->sort == 'm') {
        *out = (Kind)STRING_KIND;
        return true;
    }
    return find_known(type->oid, out) || find_extension(type, out);
}

/* Debezium reads defaults of these types, of enums, and of no others: not of domains over them. */
static bool has_defaults(const TypeFacts *type) {
    static const uint32_t oids[] = {16,   20,   21,   23,   25,   114,  142,  700,  701,  1042, 1043,
                                    1082, 1083, 1114, 1184, 1186, 1560, 1562, 1700, 2950, 3802};
    if (type->element != NULL)
        return false;
    for (size_t at = 0; at < sizeof oids / sizeof *oids; at++)
        if (oids[at] == type->oid)
            return true;
    return type->sort == 'e';
}

/* What most columns have: tens of thousands of tables share it. */
#define BOTH(...)                                                                                            \
    {__VA_ARGS__}, {                                                                                         \
        __VA_ARGS__, .optional = true                                                                        \
    }
static const Kind COMMON[] = {
    BOTH(.type = CONNECT_STRING, .form = FORM_TEXT),
    BOTH(.type = CONNECT_INT64, .form = FORM_INTEGER),
    BOTH(.type = CONNECT_INT32, .form = FORM_INTEGER),
    BOTH(.type = CONNECT_INT16, .form = FORM_INTEGER),
    BOTH(.type = CONNECT_BOOLEAN, .form = FORM_BOOLEAN),
    BOTH(.type = CONNECT_FLOAT64, .form = FORM_FLOAT),
    BOTH(.type = CONNECT_BYTES, .form = FORM_BYTES),
    BOTH(.type = CONNECT_STRING, .form = FORM_TEXT, .name = DATA "Json", .version = 1),
    BOTH(.type = CONNECT_STRING, .form = FORM_TEXT, .name = DATA "Uuid", .version = 1),
    BOTH(.type = CONNECT_INT32, .form = FORM_DATE, .name = TIME "Date", .version = 1),
    BOTH(.type = CONNECT_INT64, .form = FORM_TIMESTAMP, .name = TIME "MicroTimestamp", .version = 1,
         .digits = DIGITS_MOST),
    BOTH(.type = CONNECT_STRING, .form = FORM_TIMESTAMPTZ, .name = TIME "ZonedTimestamp", .version = 1,
         .digits = DIGITS_MOST),
};

static bool names_equal(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* NULL: none of them says the same. */
static const Kind *find_common(const Kind *kind) {
    if (kind->fallback != NULL || kind->parameter_count > 0)
        return NULL;
    for (size_t at = 0; at < sizeof COMMON / sizeof *COMMON; at++) {
        const Kind *common = &COMMON[at];
        if (common->type == kind->type && common->form == kind->form && common->optional == kind->optional &&
            common->digits == kind->digits && names_equal(common->name, kind->name))
            return common;
    }
    return NULL;
}

const Kind *kind_of(Arena *arena, const ColumnFacts *facts, KindOptions options) {
    Kind kind;
    if (!type_kind(arena, facts->type, facts->modifier, &kind)) {
        if (!options.unknown)
            return NULL;
        kind = (Kind){.type = CONNECT_BYTES, .form = FORM_RAW};
    }
    kind.optional = kind.optional || !facts->not_null;
    if (facts->default_expression != NULL && has_defaults(facts->type))
        kind.fallback = kind_default(arena, &kind, facts->default_expression);
    const Kind *common = find_common(&kind);
    if (common != NULL)
        return common;
    Kind *made = arena_alloc(arena, sizeof *made);
    *made = kind;
    return made;
}

const Kind *kind_optional(Arena *arena, const Kind *kind, bool optional) {
    if (kind->optional == optional)
        return kind;
    Kind *copy = arena_alloc(arena, sizeof *copy);
    *copy = *kind;
    copy->optional = optional;
    return copy;
}
