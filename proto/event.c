#include "proto/event.h"

#include <string.h>

#define PLACEHOLDER_UUID                                                                                     \
    "b68a35a7-17ad-35b3-af2a-ae46edb4545a" /* java.util.UUID.nameUUIDFromBytes(PLACEHOLDER) */
#define FIELDS(list) .field_count = sizeof(list) / sizeof *(list), .fields = (list)
#define POSTGRESQL   "io.debezium.connector.postgresql."

/* ---- the parts that are the same for all tables ---- */

static const Kind STRING = {.type = CONNECT_STRING, .form = FORM_TEXT};
static const Kind STRING_OPTIONAL = {.type = CONNECT_STRING, .form = FORM_TEXT, .optional = true};
static const Kind BYTES_OPTIONAL = {.type = CONNECT_BYTES, .form = FORM_RAW, .optional = true};
static const Kind INT64 = {.type = CONNECT_INT64, .form = FORM_INTEGER};
static const Kind INT64_OPTIONAL = {.type = CONNECT_INT64, .form = FORM_INTEGER, .optional = true};

static const KindParameter SNAPSHOT_MARKS[] = {
    {"allowed", "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"}};
static const Kind SNAPSHOT = {.type = CONNECT_STRING,
                              .form = FORM_TEXT,
                              .optional = true,
                              .name = "io.debezium.data.Enum",
                              .version = 1,
                              .fallback = "false",
                              .parameter_count = 1,
                              .parameters = SNAPSHOT_MARKS};

static const KindField SOURCE[] = {
    {"version", &STRING},
    {"connector", &STRING},
    {"name", &STRING},
    {"ts_ms", &INT64},
    {"snapshot", &SNAPSHOT},
    {"db", &STRING},
    {"sequence", &STRING_OPTIONAL},
    {"ts_us", &INT64_OPTIONAL},
    {"ts_ns", &INT64_OPTIONAL},
    {"schema", &STRING},
    {"table", &STRING},
    {"txId", &INT64_OPTIONAL},
    {"lsn", &INT64_OPTIONAL},
    {"xmin", &INT64_OPTIONAL},
    {"origin", &STRING_OPTIONAL},
    {"origin_lsn", &INT64_OPTIONAL},
};
const Kind event_source = {.type = CONNECT_STRUCT, .name = POSTGRESQL "Source", .version = 1, FIELDS(SOURCE)};

static const KindField BLOCK[] = {
    {"id", &STRING}, {"total_order", &INT64}, {"data_collection_order", &INT64}};
const Kind event_block = {
    .type = CONNECT_STRUCT, .optional = true, .name = "event.block", .version = 1, FIELDS(BLOCK)};

static const KindField MESSAGE_KEY[] = {{"prefix", &STRING_OPTIONAL}};
const Kind event_message_key = {
    .type = CONNECT_STRUCT, .name = POSTGRESQL "MessageKey", .version = 1, FIELDS(MESSAGE_KEY)};

static const KindField CONTENT[] = {{"prefix", &STRING_OPTIONAL}, {"content", &BYTES_OPTIONAL}};
static const Kind MESSAGE = {
    .type = CONNECT_STRUCT, .name = POSTGRESQL "Message", .version = 1, FIELDS(CONTENT)};
static const KindField MESSAGE_VALUE[] = {{"op", &STRING},
                                          {"ts_ms", &INT64_OPTIONAL},
                                          {"source", &event_source},
                                          {"transaction", &event_block},
                                          {"message", &MESSAGE}};
const Kind event_message = {
    .type = CONNECT_STRUCT, .name = POSTGRESQL "MessageValue", .version = 1, FIELDS(MESSAGE_VALUE)};

/* ---- heartbeats and transactions ---- */

#define COMMON "io.debezium.connector.common."

static const KindField HEARTBEAT_KEY[] = {{"serverName", &STRING}};
const Kind event_heartbeat_key = {
    .type = CONNECT_STRUCT, .name = COMMON "ServerNameKey", .version = 1, FIELDS(HEARTBEAT_KEY)};
static const KindField HEARTBEAT[] = {{"ts_ms", &INT64}};
const Kind event_heartbeat = {
    .type = CONNECT_STRUCT, .name = COMMON "Heartbeat", .version = 1, FIELDS(HEARTBEAT)};

static const KindField TRANSACTION_KEY[] = {{"id", &STRING}};
const Kind event_transaction_key = {
    .type = CONNECT_STRUCT, .name = COMMON "TransactionMetadataKey", .version = 1, FIELDS(TRANSACTION_KEY)};
static const KindField COLLECTION[] = {{"data_collection", &STRING}, {"event_count", &INT64}};
static const Kind EVENT_COLLECTION = {
    .type = CONNECT_STRUCT, .optional = true, .name = "event.collection", .version = 1, FIELDS(COLLECTION)};
static const Kind COLLECTIONS = {.type = CONNECT_ARRAY, .optional = true, .element = &EVENT_COLLECTION};
static const KindField TRANSACTION[] = {{"status", &STRING},
                                        {"id", &STRING},
                                        {"event_count", &INT64_OPTIONAL},
                                        {"data_collections", &COLLECTIONS},
                                        {"ts_ms", &INT64}};
const Kind event_transaction = {
    .type = CONNECT_STRUCT, .name = COMMON "TransactionMetadataValue", .version = 1, FIELDS(TRANSACTION)};

const char *event_snapshot_name(SnapshotMark mark) {
    static const char *const names[] = {
        [SNAPSHOT_FALSE] = "false",
        [SNAPSHOT_TRUE] = "true",
        [SNAPSHOT_FIRST] = "first",
        [SNAPSHOT_FIRST_IN_TABLE] = "first_in_data_collection",
        [SNAPSHOT_LAST_IN_TABLE] = "last_in_data_collection",
        [SNAPSHOT_LAST] = "last",
        [SNAPSHOT_INCREMENTAL] = "incremental",
    };
    return names[mark];
}

/* ---- a table's own ---- */

static const char *name_of(Arena *arena, const EventTable *table, const char *part) {
    Writer name = writer_new(SIZE_MAX);
    writer_format(&name, "%s.%s", table->topic, part);
    const char *text = arena_text(arena, writer_slice(&name));
    writer_free(&name);
    return text;
}

static Kind *struct_new(Arena *arena, const EventTable *table, const char *part, const KindField *fields,
                        int count) {
    Kind *kind = arena_alloc(arena, sizeof *kind);
    *kind = (Kind){
        .type = CONNECT_STRUCT, .name = name_of(arena, table, part), .field_count = count, .fields = fields};
    return kind;
}

static int number_of(const EventTable *table, uint16_t column) {
    return table->numbers != NULL ? table->numbers[column] : column + 1;
}

const Kind *event_key(Arena *arena, const EventTable *table) {
    if (table->key_count == 0)
        return NULL;
    int count = table->key_count + (table->key_field != NULL);
    KindField *fields = arena_alloc(arena, (size_t)count * sizeof *fields);
    int *numbers = arena_alloc(arena, (size_t)count * sizeof *numbers);
    for (uint16_t at = 0; at < table->key_count; at++) {
        const EventColumn *column = &table->columns[table->key[at]];
        fields[at] = (KindField){column->name, kind_optional(arena, column->kind, false)};
        numbers[at] = number_of(table, table->key[at]);
    }
    if (table->key_field != NULL) {
        fields[count - 1] = (KindField){table->key_field, &STRING};
        numbers[count - 1] = EVENT_KEY_FIELD_NUMBER;
    }
    Kind *key = struct_new(arena, table, "Key", fields, count);
    key->numbers = numbers;
    return key;
}

/* The columns that are not left out, with room for marks behind them. */
static Kind *value_new(Arena *arena, const EventTable *table, KindField **fields) {
    int count = 0;
    size_t most = table->column_count + (size_t)EVENT_MARKS;
    int *numbers = arena_alloc(arena, most * sizeof *numbers);
    *fields = arena_alloc(arena, most * sizeof **fields);
    for (uint16_t at = 0; at < table->column_count; at++) {
        if (table->columns[at].kind == NULL)
            continue;
        (*fields)[count] = (KindField){table->columns[at].name, table->columns[at].kind};
        numbers[count++] = number_of(table, at);
    }
    for (int mark = 0; mark < EVENT_MARKS; mark++)
        numbers[count + mark] = EVENT_MARK_NUMBER + mark;
    Kind *value = struct_new(arena, table, "Value", *fields, count);
    value->numbers = numbers;
    return value;
}

const Kind *event_envelope(Arena *arena, const EventTable *table) {
    KindField *columns;
    Kind *value = value_new(arena, table, &columns);
    value->optional = true;
    const KindField parts[] = {{"before", value},
                               {"after", value},
                               {"source", &event_source},
                               {"transaction", &event_block},
                               {"op", &STRING},
                               {"ts_ms", &INT64_OPTIONAL},
                               {"ts_us", &INT64_OPTIONAL},
                               {"ts_ns", &INT64_OPTIONAL}};
    KindField *fields = arena_alloc(arena, sizeof parts);
    memcpy(fields, parts, sizeof parts);
    Kind *envelope = struct_new(arena, table, "Envelope", fields, sizeof parts / sizeof *parts);
    envelope->version = 2;
    return envelope;
}

static Kind *row_kind_new(Arena *arena, const EventTable *table, KindField **fields) {
    Kind *row = value_new(arena, table, fields);
    for (int at = 0; at < row->field_count; at++)
        (*fields)[at].kind = kind_optional(arena, (*fields)[at].kind, true);
    return row;
}

const Kind *event_row(Arena *arena, const EventTable *table) {
    KindField *fields;
    return row_kind_new(arena, table, &fields);
}

const Kind *event_flat(Arena *arena, const EventTable *table) {
    static const KindField marks[EVENT_MARKS] = {
        {"__op", &STRING}, {"__lsn", &INT64}, {"__seq", &INT64}, {"__ts_ms", &INT64}};
    KindField *fields;
    Kind *row = row_kind_new(arena, table, &fields);
    memcpy(fields + row->field_count, marks, sizeof marks);
    row->field_count += EVENT_MARKS;
    return row;
}

/* ---- rows ---- */

bool event_changes_key(const EventTable *table, const Event *event) {
    if (event->op != EVENT_UPDATE || event->before == NULL || event->after == NULL)
        return false;
    for (uint16_t at = 0; at < table->key_count; at++) {
        const Value *before = &event->before[table->key[at]], *after = &event->after[table->key[at]];
        if (value_is_known(before) && value_is_known(after) &&
            (before->kind != after->kind || !slice_equal(before->bytes, after->bytes)))
            return true;
    }
    return false;
}

static bool is_uuid(const Kind *kind) {
    return kind->name != NULL && strcmp(kind->name, "io.debezium.data.Uuid") == 0;
}

const char *event_placeholder(const Kind *kind) {
    switch (kind->form) {
    case FORM_TEXT:
    case FORM_BYTES:
    case FORM_RAW: return PLACEHOLDER;
    case FORM_HSTORE: return "{\"" PLACEHOLDER "\":\"" PLACEHOLDER "\"}";
    case FORM_ARRAY: break;
    default: return NULL;
    }
    switch (kind->element->form) {
    case FORM_TEXT: return is_uuid(kind->element) ? PLACEHOLDER_UUID : PLACEHOLDER;
    case FORM_BYTES: return PLACEHOLDER;
    case FORM_INTEGER:
    case FORM_DATE: return PLACEHOLDER;
    default: return NULL;
    }
}
