/* Bodies are decoded by protoc, with the schema that is registered. */
#include "proto/protobuf.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/avro_schema.h"
#include "proto/every_type.h"
#include "proto/format.h"
#include "proto/protobuf_decode.h"
#include "testing.h"

enum { KEY_ID = 7, VALUE_ID = 0x01020304, HEAD_BYTES = 6 };

typedef struct Fixture {
    Arena *arena;
    Records out;
    EventTable *table;
    Format format;
    FormatTable *made;
    char folder[40];
    Error e;
} Fixture;

static int fixture_make(void **state) {
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    f->arena = arena;
    f->out = records_new(1 << 20);
    f->table = table_make(arena, COLUMNS, COLUMN_COUNT);
    f->format = (Format){.name = FORMAT_PROTOBUF, .tombstones = true, .origin = &ORIGIN};
    strcpy(f->folder, "/tmp/walferry_protobuf_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    *state = f;
    return 0;
}

static const char *path_of(Fixture *f, const char *name) {
    Writer path = writer_new(1000);
    writer_format(&path, "%s/%s", f->folder, name);
    const char *text = arena_text(f->arena, writer_slice(&path));
    writer_free(&path);
    return text;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    static const char *const names[] = {"schema.proto", "body", "text", "again"};
    for (int at = 0; at < 4; at++)
        unlink(path_of(f, names[at]));
    rmdir(f->folder);
    records_free(&f->out);
    arena_free(f->arena);
    return 0;
}

/* ---- protoc ---- */

static void file_write(Fixture *f, const char *name, Slice content) {
    FILE *file = fopen(path_of(f, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content.len > 0 ? content.at : "", 1, content.len, file), content.len);
    fclose(file);
}

static Slice file_read(Fixture *f, const char *name) {
    FILE *file = fopen(path_of(f, name), "rb");
    assert_non_null(file);
    struct stat facts;
    fstat(fileno(file), &facts);
    size_t size = (size_t)facts.st_size;
    char *text = arena_alloc(f->arena, size + 1);
    assert_int_equal(fread(text, 1, size, file), size);
    fclose(file);
    return (Slice){text, size};
}

static void protoc(Fixture *f, const char *way, const char *message, const char *in, const char *out) {
    Writer command = writer_new(1000);
    writer_format(&command, "protoc --%s=%s --proto_path=%s schema.proto <%s/%s >%s/%s 2>&1", way, message,
                  f->folder, f->folder, in, f->folder, out);
    if (system(writer_string(&command)) != 0)
        fail_test("%s: %s\n%s", writer_string(&command), file_read(f, out).at,
                  file_read(f, "schema.proto").at);
    writer_free(&command);
}

/* As text; and what was read is written as the same bytes by others. */
static const char *decode(Fixture *f, bool key, const char *message, Span span) {
    Slice body = records_view(&f->out, span);
    Reader head = reader_new(body);
    Writer schema = writer_new(1 << 20);
    (key ? format_key_schema : format_value_schema)(f->made, &schema);
    file_write(f, "schema.proto", writer_slice(&schema));
    writer_free(&schema);
    assert_int_equal(reader_u8(&head), 0);
    assert_int_equal(reader_u32(&head), key ? KEY_ID : VALUE_ID);
    assert_int_equal(reader_u8(&head), 0);
    Slice plain = {body.at + HEAD_BYTES, body.len - HEAD_BYTES};
    file_write(f, "body", plain);
    protoc(f, "decode", message, "body", "text");
    protoc(f, "encode", message, "text", "again");
    assert_true(slice_equal(file_read(f, "again"), plain));
    return file_read(f, "text").at;
}

static void encode(Fixture *f, EventOp op, const char *before, const char *after) {
    static const EventBlock block = {.id = "571:1", .total_order = 3, .data_collection_order = 0};
    const Event event = {.op = op,
                         .place = &PLACE,
                         .block = op == EVENT_READ ? &block : NULL,
                         .before = values_make(f->arena, f->table, before),
                         .after = values_make(f->arena, f->table, after)};
    f->made = format_table_new(f->arena, &f->format, f->table, &f->e);
    assert_non_null(f->made);
    format_table_ids(f->made, KEY_ID, VALUE_ID);
    if (!format_event(f->made, &event, f->arena, &f->out, &f->e))
        fail_test("%s", f->e.text);
}

static void assert_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL)
        fail_test("%s\nis not in\n%s", part, text);
}

/* ---- tests ---- */

static void a_row_of_every_type(void **state) {
    static const char *const parts[] = {
        "after {\n  id: 9223372036854775807\n  flag: true\n  small: -32768\n  int_4: -2147483648\n  f4: 1.1\n"
        "  f8: -0\n  text: \"h\\303\\244\"\n  word: \"y\"\n  bytes: \"\\000\\377\"\n  bits: \"\\000\\001\"\n"
        "  price: \"\\373.\"\n  n {\n    value: \"\\003\\350\"\n  }\n  m {\n    scale: 1\n    value: "
        "\"\\001\"\n"
        "  }\n  day: 19782\n  at: 1709208000500000\n  zoned: \"2024-02-29T12:00:00.000000Z\"\n"
        "  point {\n    x: 1.5\n    y: nan\n    wkb: ",
        "  shape {\n    wkb: \"\\001\\001\\000\\000 \\346\\020",
        "    srid: 4326\n  }\n",
        "  ints {\n    item: 1\n    item: -1\n  }\n",
        "  vector {\n    item: 1\n    item: 2.5\n  }\n  half {\n    item: 0.1\n  }\n"
        "  sparse {\n    dimensions: 5\n    vector {\n      key: 1\n      value: 1.5\n    }\n"
        "    vector {\n      key: 3\n      value: 2\n    }\n  }\n  map: \"{\\\"a\\\":null}\"\n  box {\n    "
        "wkb: ",
        "    extensions {\n      key: \"type\"\n      value: \"box\"\n    }\n  }\n"
        "  circle {\n    center {\n      x: 1\n      y: 2\n",
        "source {\n  version: \"0.1.0\"\n  connector: \"postgresql\"\n  name: \"shop\"\n  ts_ms: "
        "1700000000123\n"
        "  snapshot: \"false\"\n  db: \"shopdb\"\n  sequence: \"[\\\"24023120\\\",\\\"24023128\\\"]\"\n"
        "  ts_us: 1700000000123456\n  ts_ns: 1700000000123456000\n  schema: \"public\"\n  table: \"t\"\n"
        "  txId: 571\n  lsn: 24023128\n}\n"
        "op: \"c\"\nts_ms: 1700000001000\nts_us: 1700000001000000\nts_ns: 1700000001000000000\n"};
    Fixture *f = *state;
    f->format.tombstones = false;
    encode(f, EVENT_UPDATE, NULLS, ROW_TEXT); /* the key changes */
    const char *text = decode(f, false, "shop.public.t.Envelope", f->out.list[0].value);
    assert_has(
        text,
        "before {\n  id: -1\n  small: 0\n  f8: nan\n  price: \"\\000\"\n  m {\n    value: \"\\000\"\n  }\n");
    assert_has(text, "op: \"d\"\n");
    text = decode(f, false, "shop.public.t.Envelope", f->out.list[1].value);
    for (size_t at = 0; at < sizeof parts / sizeof *parts; at++)
        assert_has(text, parts[at]);
    assert_has(decode(f, true, "shop.public.t.Key", f->out.list[0].key), "id: -1\n");
}

static void lists_with_null_are_special(void **state) {
    Fixture *f = *state;
    encode(f, EVENT_CREATE, NULL, ROW_TEXT);
    const Record *record = &f->out.list[0];
    assert_null(strstr(decode(f, false, "shop.public.t.Envelope", record->value), "  texts {"));
    assert_string_equal(record->headers[3].name, "walferry.special");
    assert_true(slice_is(records_view(&f->out, record->headers[3].value),
                         "{\"after\":{\"texts\":\"{a,NULL,\\\"\\\"}\",\"ns\":\"{1.5,NULL}\"}}"));
}

static void every_envelope_and_row(void **state) {
    static const char *const rows[] = {ROW_TEXT, NULLS, SPECIAL, UNCHANGED};
    Fixture *f = *state;
    for (int envelope = 0; envelope < 3; envelope++) {
        const char *name = envelope == 0 ? "shop.public.t.Envelope" : "shop.public.t.Value";
        f->format.envelope = (FormatEnvelope)envelope;
        for (size_t at = 0; at < sizeof rows / sizeof *rows; at++) {
            encode(f, at == 0 ? EVENT_READ : EVENT_UPDATE, NULL, rows[at]);
            decode(f, false, name, f->out.list[0].value);
            decode(f, true, "shop.public.t.Key", f->out.list[0].key);
        }
        encode(f, EVENT_DELETE, KEY_ONLY, NULL);
        decode(f, false, name, f->out.list[0].value);
        assert_false(f->out.list[1].value.exists);
        encode(f, EVENT_TRUNCATE, NULL, NULL);
        decode(f, false, name, f->out.list[0].value);
        assert_false(f->out.list[0].key.exists);
    }
    f->format.envelope = ENVELOPE_FLAT;
    encode(f, EVENT_UPDATE, NULL, NULLS);
    assert_string_equal(decode(f, false, "shop.public.t.Value", f->out.list[0].value),
                        "id: -1\nsmall: 0\nf8: nan\nprice: \"\\000\"\nm {\n  value: \"\\000\"\n}\nat: 0\n"
                        "ints {\n}\n__op: \"u\"\n__lsn: 23803720\n__seq: 2\n__ts_ms: 1700000000123\n");
}

static void the_schema(void **state) {
    static const ColumnMake columns[] = {
        {.name = "id", .oid = 23, .key = true},
        {.name = "a b", .oid = 1700, .modifier = NUMERIC(10, 2)},
        {.name = "lsn", .oid = 3220},
        {.name = "n", .oid = 1700, .not_null = true},
        {.name = "days", .oid = 1082, .array = true},
    };
    static const int16_t numbers[] = {1, 4, 5, 6, 9}; /* some were dropped */
    Fixture *f = *state;
    Writer text = writer_new(1 << 20);
    f->table = table_make(f->arena, columns, 5);
    f->table->topic = "my-shop.public.t";
    f->table->numbers = numbers;
    f->format.envelope = ENVELOPE_FLAT;
    const FormatTable *table = format_table_new(f->arena, &f->format, f->table, &f->e);
    format_value_schema(table, &text);
    assert_string_equal(writer_string(&text),
                        "syntax = \"proto3\";\n"
                        "package my_shop.public.t;\n"
                        "\n"
                        "message Value {\n"
                        "  optional int32 id = 1;\n"
                        "  optional bytes a_b = 4; // org.apache.kafka.connect.data.Decimal scale=2 "
                        "connect.decimal.precision=10\n"
                        "  VariableScaleDecimal n = 6;\n"
                        "  message List9 {\n"
                        "    repeated int32 item = 1; // io.debezium.time.Date\n"
                        "  }\n"
                        "  List9 days = 9;\n"
                        "  optional string __op = 2001;\n"
                        "  optional int64 __lsn = 2002;\n"
                        "  optional int64 __seq = 2003;\n"
                        "  optional int64 __ts_ms = 2004;\n"
                        "}\n"
                        "\n"
                        "message VariableScaleDecimal {\n"
                        "  int32 scale = 1;\n"
                        "  bytes value = 2;\n"
                        "}\n");
    writer_reset(&text);
    f->format.envelope = ENVELOPE_DEBEZIUM;
    format_value_schema(format_table_new(f->arena, &f->format, f->table, &f->e), &text);
    static const char *const order[] = {"message Envelope {\n  Value before = 1;\n  Value after = 2;\n"
                                        "  Source source = 3;\n  Block transaction = 4;\n  string op = 5;\n"
                                        "  optional int64 ts_ms = 6;\n",
                                        "\nmessage Value {", "\nmessage Source {\n  string version = 1;\n",
                                        "\nmessage Block {\n  string id = 1;\n", "\nmessage VariableScale"};
    const char *at = writer_string(&text);
    for (size_t part = 0; part < sizeof order / sizeof *order; part++) {
        assert_has(at, order[part]);
        at = strstr(at, order[part]);
    }
    writer_reset(&text);
    format_key_schema(table, &text);
    assert_string_equal(writer_string(&text), "syntax = \"proto3\";\npackage my_shop.public.t;\n\n"
                                              "message Key {\n  optional int32 id = 1;\n}\n");
    writer_free(&text);
}

static void messages_heartbeats_and_transactions(void **state) {
    static const EventCount counts[] = {{"public.a", 2}, {"public.b", 1}};
    const EventMessage message = {.place = &PLACE, .prefix = slice_text("p"), .content = {"\0\1", 2}};
    const EventTransaction transaction = {
        .place = &PLACE, .id = "571:1", .ends = true, .count = 3, .table_count = 2, .tables = counts};
    Fixture *f = *state;
    f->made = format_messages_new(f->arena, &f->format);
    format_table_ids(f->made, KEY_ID, VALUE_ID);
    assert_true(format_message(f->made, &message, &f->out, &f->e));
    assert_has(decode(f, false, "io.debezium.connector.postgresql.MessageValue", f->out.list[0].value),
               "message {\n  prefix: \"p\"\n  content: \"\\000\\001\"\n}\n");
    assert_string_equal(decode(f, true, "io.debezium.connector.postgresql.MessageKey", f->out.list[0].key),
                        "prefix: \"p\"\n");
    f->made = format_heartbeats_new(f->arena, &f->format);
    format_table_ids(f->made, KEY_ID, VALUE_ID);
    assert_true(format_heartbeat(f->made, 1700000000999999, &f->out, &f->e));
    assert_string_equal(decode(f, false, "io.debezium.connector.common.Heartbeat", f->out.list[0].value),
                        "ts_ms: 1700000000999\n");
    f->made = format_transactions_new(f->arena, &f->format);
    format_table_ids(f->made, KEY_ID, VALUE_ID);
    assert_true(format_transaction(f->made, &transaction, f->arena, &f->out, &f->e));
    assert_string_equal(
        decode(f, false, "io.debezium.connector.common.TransactionMetadataValue", f->out.list[0].value),
        "status: \"END\"\nid: \"571:1\"\nevent_count: 3\ndata_collections {\n  item {\n"
        "    data_collection: \"public.a\"\n    event_count: 2\n  }\n  item {\n"
        "    data_collection: \"public.b\"\n    event_count: 1\n  }\n}\nts_ms: 1700000000123\n");
}

static void too_long_is_a_limit(void **state) {
    Fixture *f = *state;
    f->made = format_table_new(f->arena, &f->format, f->table, &f->e);
    const Event event = {
        .op = EVENT_CREATE, .place = &PLACE, .after = values_make(f->arena, f->table, ROW_TEXT)};
    for (size_t limit = 0; limit < 1000; limit++) {
        records_free(&f->out);
        f->out = records_new(limit);
        if (format_event(f->made, &event, f->arena, &f->out, &f->e))
            return;
        assert_int_equal(f->e.kind, ERR_LIMIT);
    }
    fail_test("1000 bytes are not enough");
}

/* ---- read back by ourselves ---- */

static void assert_decoded(const json_t *is, const json_t *json);

static bool holds_null(const json_t *list) {
    for (size_t at = 0; at < json_array_size(list); at++)
        if (json_is_null(json_array_get(list, at)))
            return true;
    return false;
}

/* A list is in a message of its own, and is not said where a null is in it; a map with numbers for keys is a list of pairs in JSON. */
static void assert_decoded_list(const json_t *is, const json_t *json) {
    const json_t *items = json_object_get(is, "item");
    if (holds_null(json)) {
        assert_int_equal(json_array_size(items), 0);
        return;
    }
    assert_int_equal(items != NULL ? json_array_size(items) : json_object_size(is), json_array_size(json));
    for (size_t at = 0; at < json_array_size(json); at++) {
        const json_t *wanted = json_array_get(json, at);
        char key[30];
        snprintf(key, sizeof key, "%lld", (long long)json_integer_value(json_array_get(wanted, 0)));
        if (items == NULL)
            assert_decoded(json_object_get(is, key), json_array_get(wanted, 1));
        else
            assert_decoded(json_array_get(items, at), wanted);
    }
}

static bool is_nothing(const json_t *is) {
    return json_is_null(is) || json_number_value(is) == 0 || json_object_size(is) == 0;
}

static void assert_decoded_object(const json_t *is, const json_t *json) {
    Arena *arena = arena_new();
    const char *name, *given;
    json_t *member, *wanted;
    json_object_foreach((json_t *)(uintptr_t)is, name, member) {
        const json_t *match = NULL;
        json_object_foreach((json_t *)(uintptr_t)json, given, wanted) {
            if (strcmp(avro_field_name(arena, given), name) == 0)
                match = wanted;
        }
        if (match != NULL)
            assert_decoded(member, match);
        else
            assert_true(is_nothing(member));
    }
    json_object_foreach((json_t *)(uintptr_t)json, given, wanted)
        assert_non_null(json_object_get(is, avro_field_name(arena, given)));
    arena_free(arena);
}

static void assert_decoded(const json_t *is, const json_t *json) {
    if (json_is_array(json))
        assert_decoded_list(is, json);
    else if (json_is_object(json))
        assert_decoded_object(is, json);
    else if (json_is_number(is))
        assert_true(json_number_value(is) == json_number_value(json));
    else if (json_is_object(is))
        assert_true(json_is_null(json) && is_nothing(is)); /* a map: nothing is as empty */
    else if (!json_equal(is, json))
        fail_test("%s instead of %s", json_dumps(is, JSON_ENCODE_ANY), json_dumps(json, JSON_ENCODE_ANY));
}

static void decode_span(const FormatTable *made, bool key, Slice body, Slice json) {
    Error e;
    Writer schema = writer_new(1 << 20);
    (key ? format_key_schema : format_value_schema)(made, &schema);
    ProtobufDecoder *decoder = protobuf_decoder_new(writer_slice(&schema), &e);
    if (decoder == NULL)
        fail_test("%s", e.text);
    json_t *is = protobuf_decode(decoder, (Slice){body.at + 5, body.len - 5}, &e);
    if (is == NULL)
        fail_test("%s", e.text);
    json_t *wanted = json_loadb(json.at, json.len, JSON_DECODE_ANY, NULL);
    assert_decoded(is, wanted);
    json_decref(is);
    json_decref(wanted);
    for (size_t len = 0; len + 5 < body.len; len++) { /* many a shorter one is whole, too */
        is = protobuf_decode(decoder, (Slice){body.at + 5, len}, &e);
        assert_true(is != NULL || e.kind == ERR_DATA);
        json_decref(is);
    }
    writer_free(&schema);
    protobuf_decoder_free(decoder);
}

static void decode_all(Fixture *f, Records *json) {
    assert_int_equal(f->out.count, json->count);
    for (int at = 0; at < json->count; at++) {
        const Record *is = &f->out.list[at], *wanted = &json->list[at];
        if (is->key.exists)
            decode_span(f->made, true, records_view(&f->out, is->key), records_view(json, wanted->key));
        if (is->value.exists)
            decode_span(f->made, false, records_view(&f->out, is->value), records_view(json, wanted->value));
    }
}

static void we_read_what_json_says(void **state) {
    static const char *const rows[] = {ROW_TEXT, NULLS, SPECIAL, UNCHANGED};
    Fixture *f = *state;
    Records json = records_new(1 << 20);
    for (int envelope = 0; envelope < 3; envelope++)
        for (size_t at = 0; at < sizeof rows / sizeof *rows; at++) {
            const Event event = {
                .op = EVENT_CREATE, .place = &PLACE, .after = values_make(f->arena, f->table, rows[at])};
            f->format.envelope = (FormatEnvelope)envelope;
            encode(f, EVENT_CREATE, NULL, rows[at]);
            Format format = f->format;
            format.name = FORMAT_JSON;
            const FormatTable *table = format_table_new(f->arena, &format, f->table, &f->e);
            assert_true(format_event(table, &event, f->arena, &json, &f->e));
            decode_all(f, &json);
        }
    records_free(&json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(a_row_of_every_type),
                                       TEST(lists_with_null_are_special),
                                       TEST(every_envelope_and_row),
                                       TEST(we_read_what_json_says),
                                       TEST(the_schema),
                                       TEST(messages_heartbeats_and_transactions),
                                       TEST(too_long_is_a_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
