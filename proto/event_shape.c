#include "proto/event_shape.h"

#include <string.h>

#define FIELDS(list) .field_count = sizeof(list) / sizeof *(list), .fields = (list)
#define CONNECTOR    "io.debezium.connector."

enum { HEADER_BYTES = 4, NUMERIC = 1700, BPCHAR = 1042, VARCHAR = 1043, BIT = 1560, VARBIT = 1562 };

static const Kind STRING = {.type = CONNECT_STRING, .form = FORM_TEXT};
static const Kind STRING_OPTIONAL = {.type = CONNECT_STRING, .form = FORM_TEXT, .optional = true};
static const Kind STRINGS_OPTIONAL = {.type = CONNECT_ARRAY, .optional = true, .element = &STRING};
static const Kind INT32 = {.type = CONNECT_INT32, .form = FORM_INTEGER};
static const Kind INT32_OPTIONAL = {.type = CONNECT_INT32, .form = FORM_INTEGER, .optional = true};
static const Kind INT64 = {.type = CONNECT_INT64, .form = FORM_INTEGER};
static const Kind TRUTH_OPTIONAL = {.type = CONNECT_BOOLEAN, .form = FORM_BOOLEAN, .optional = true};

static const KindField COLUMN[] = {
    {"name", &STRING},
    {"jdbcType", &INT32},
    {"nativeType", &INT32_OPTIONAL},
    {"typeName", &STRING},
    {"typeExpression", &STRING_OPTIONAL},
    {"charsetName", &STRING_OPTIONAL},
    {"length", &INT32_OPTIONAL},
    {"scale", &INT32_OPTIONAL},
    {"position", &INT32},
    {"optional", &TRUTH_OPTIONAL},
    {"autoIncremented", &TRUTH_OPTIONAL},
    {"generated", &TRUTH_OPTIONAL},
    {"comment", &STRING_OPTIONAL},
    {"defaultValueExpression", &STRING_OPTIONAL},
    {"enumValues", &STRINGS_OPTIONAL},
};
enum { COLUMN_FIELDS = sizeof COLUMN / sizeof *COLUMN };
static const Kind EVENT_COLUMN = {
    .type = CONNECT_STRUCT, .name = CONNECTOR "schema.Column", .version = 1, FIELDS(COLUMN)};
static const Kind EVENT_COLUMNS = {.type = CONNECT_ARRAY, .element = &EVENT_COLUMN};

static const KindField TABLE[] = {{"defaultCharsetName", &STRING_OPTIONAL},
                                  {"primaryKeyColumnNames", &STRINGS_OPTIONAL},
                                  {"columns", &EVENT_COLUMNS},
                                  {"comment", &STRING_OPTIONAL}};
enum { TABLE_FIELDS = sizeof TABLE / sizeof *TABLE };
static const Kind EVENT_TABLE = {
    .type = CONNECT_STRUCT, .optional = true, .name = CONNECTOR "schema.Table", .version = 1, FIELDS(TABLE)};

static const KindField CHANGE[] = {{"type", &STRING}, {"id", &STRING}, {"table", &EVENT_TABLE}};
enum { CHANGE_FIELDS = sizeof CHANGE / sizeof *CHANGE };
static const Kind EVENT_CHANGE = {
    .type = CONNECT_STRUCT, .name = CONNECTOR "schema.Change", .version = 1, FIELDS(CHANGE)};
static const Kind EVENT_CHANGES = {.type = CONNECT_ARRAY, .element = &EVENT_CHANGE};

static const KindField KEY[] = {{"databaseName", &STRING}};
const Kind event_shape_key = {
    .type = CONNECT_STRUCT, .name = CONNECTOR "postgresql.SchemaChangeKey", .version = 1, FIELDS(KEY)};
static const KindField VALUE[] = {{"source", &event_source},          {"ts_ms", &INT64},
                                  {"databaseName", &STRING_OPTIONAL}, {"schemaName", &STRING_OPTIONAL},
                                  {"ddl", &STRING_OPTIONAL},          {"tableChanges", &EVENT_CHANGES}};
const Kind event_shape = {
    .type = CONNECT_STRUCT, .name = CONNECTOR "postgresql.SchemaChangeValue", .version = 1, FIELDS(VALUE)};

/* ---- types ---- */

/* java.sql.Types, as PostgreSQL's JDBC driver maps types. */
static int jdbc_type(const EventType *type) {
    static const struct {
        uint32_t oid;
        int number;
    } known[] = {{16, -7},   {17, -2},    {18, 1},       {19, 12},    {20, -5},   {21, 5},
                 {23, 4},    {25, 12},    {26, -5},      {142, 2009}, {700, 7},   {701, 8},
                 {790, 8},   {BPCHAR, 1}, {VARCHAR, 12}, {1082, 91},  {1083, 92}, {1114, 93},
                 {1184, 93}, {1266, 92},  {BIT, -7},     {NUMERIC, 2}};
    enum { OTHER = 1111, ARRAY = 2003, TEXT = 12 };
    for (size_t at = 0; at < sizeof known / sizeof *known; at++)
        if (known[at].oid == type->oid)
            return known[at].number;
    if (type->label_count > 0)
        return TEXT;
    return type->name != NULL && type->name[0] == '_' ? ARRAY : OTHER;
}

static Datum length_of(const EventType *type) {
    switch (type->modifier < 0 ? 0 : type->oid) {
    case BPCHAR:
    case VARCHAR: return datum_integer(type->modifier - HEADER_BYTES);
    case NUMERIC: return datum_integer((type->modifier - HEADER_BYTES) >> 16 & 0xffff);
    case BIT:
    case VARBIT: return datum_integer(type->modifier);
    default: return datum_null();
    }
}

/* Eleven bits, with a sign. */
static Datum scale_of(const EventType *type) {
    if (type->oid != NUMERIC || type->modifier < 0)
        return datum_null();
    return datum_integer((((type->modifier - HEADER_BYTES) & 0x7ff) ^ 0x400) - 0x400);
}

/* ---- the event ---- */

static Datum text_or_null(const char *text) {
    return text == NULL ? datum_null() : datum_text(text);
}

static Datum labels_datum(const EventType *type, Arena *arena) {
    if (type->label_count == 0)
        return datum_null();
    Datum *list = arena_alloc(arena, (size_t)type->label_count * sizeof *list);
    for (int label = 0; label < type->label_count; label++)
        list[label] = datum_text(type->labels[label]);
    return datum_list(list, (uint32_t)type->label_count);
}

static bool counts_up(const EventType *type) {
    return type->default_expression != NULL && strncmp(type->default_expression, "nextval(", 8) == 0;
}

static Datum column_datum(const EventTable *table, uint16_t column, Arena *arena) {
    static const Datum none = {.kind = DATUM_NULL};
    const EventType *type = &table->types[column];
    const char *name = type->name == NULL ? "" : type->name;
    Datum *fields = arena_alloc(arena, COLUMN_FIELDS * sizeof *fields), *at = fields;
    *at++ = datum_text(table->columns[column].name);
    *at++ = datum_integer(jdbc_type(type));
    *at++ = datum_integer((int32_t)type->oid);
    *at++ = datum_text(name);
    *at++ = datum_text(name);
    *at++ = none; /* charsetName */
    *at++ = length_of(type);
    *at++ = scale_of(type);
    *at++ = datum_integer(column + 1);
    *at++ = datum_boolean(!type->not_null);
    *at++ = counts_up(type) ? datum_boolean(true) : none;
    *at++ = none; /* generated */
    *at++ = none; /* comment */
    *at++ = text_or_null(type->default_expression);
    *at = labels_datum(type, arena);
    return datum_list(fields, COLUMN_FIELDS);
}

static Datum table_datum(const EventTable *table, Arena *arena) {
    Datum *columns = arena_alloc(arena, (table->column_count + 1u) * sizeof *columns);
    Datum *keys = arena_alloc(arena, (table->key_count + 1u) * sizeof *keys);
    Datum *fields = arena_alloc(arena, TABLE_FIELDS * sizeof *fields);
    for (uint16_t column = 0; column < table->column_count; column++)
        columns[column] = column_datum(table, column, arena);
    for (uint16_t key = 0; key < table->key_count; key++)
        keys[key] = datum_text(table->columns[table->key[key]].name);
    fields[0] = datum_null();
    fields[1] = datum_list(keys, table->key_count);
    fields[2] = datum_list(columns, table->column_count);
    fields[3] = datum_null();
    return datum_list(fields, TABLE_FIELDS);
}

static void quoted_write(Writer *out, const char *name) {
    writer_u8(out, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            writer_u8(out, '"');
        writer_u8(out, (uint8_t)*name);
    }
    writer_u8(out, '"');
}

static const char *table_id(const EventTable *table, Arena *arena) {
    Writer id = writer_new(SIZE_MAX);
    quoted_write(&id, table->schema);
    writer_u8(&id, '.');
    quoted_write(&id, table->name);
    const char *text = arena_text(arena, writer_slice(&id));
    writer_free(&id);
    return text;
}

Datum event_shape_datum(EventTree *tree, const EventOrigin *origin, const EventShape *shape, Arena *arena) {
    const EventTable *table = shape->table;
    Datum *change = arena_alloc(arena, CHANGE_FIELDS * sizeof *change);
    Datum *changes = arena_alloc(arena, sizeof *changes);
    change[0] = datum_text(shape->altered ? "ALTER" : "CREATE");
    change[1] = datum_text(table_id(table, arena));
    change[2] = table_datum(table, arena);
    *changes = datum_list(change, CHANGE_FIELDS);
    Datum *at = tree->envelope;
    *at++ = event_source_datum(tree, origin, table->schema, table->name, shape->place);
    *at++ = datum_integer(event_milliseconds(shape->place->now_us));
    *at++ = datum_text(origin->database);
    *at++ = datum_text(table->schema);
    *at++ = datum_null(); /* ddl */
    *at = datum_list(changes, 1);
    return datum_list(tree->envelope, sizeof VALUE / sizeof *VALUE);
}

/* Lengths keep apart what stands side by side. */
static void part_write(Writer *out, const char *text) {
    if (text == NULL)
        writer_text(out, "-;");
    else
        writer_format(out, "%zu:%s;", strlen(text), text);
}

void event_shape_text(const EventTable *table, Writer *out) {
    part_write(out, table->schema);
    part_write(out, table->name);
    for (uint16_t column = 0; column < table->column_count; column++) {
        const EventType *type = &table->types[column];
        part_write(out, table->columns[column].name);
        part_write(out, type->name);
        part_write(out, type->default_expression);
        writer_format(out, "%u %d %d %d;", type->oid, type->modifier, type->not_null, type->label_count);
        for (int label = 0; label < type->label_count; label++)
            part_write(out, type->labels[label]);
    }
    for (uint16_t key = 0; key < table->key_count; key++)
        writer_format(out, " %d", table->key[key]);
}
