/* Any change is refused with ERR_DATA or ERR_LIMIT, or becomes records whose keys, values and headers are JSON where they
 * ought to be; and records of the other formats, as many. The first byte of the input chooses operation and options; then each value of the two rows: a byte for its
 * kind, one for its length, and the text. */
#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/format.h"
#include "proto/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORD_LIMIT = 4000, OPTIONS = 64, OTHERS = 2 * 3 * 3 * 2 };

static const struct {
    uint32_t oid;
    const char *name;
    bool array, required;
} COLUMNS[] = {{20, "id", false, true},     {25, "te\"xt", false, false}, {1700, "n", false, true},
               {1184, "at", false, false},  {701, "f", false, false},     {17, "b", false, false},
               {1700, "list", true, false}, {600, "p", false, false},     {25, "texts", true, true}};
enum { COLUMN_COUNT = sizeof COLUMNS / sizeof *COLUMNS };

typedef struct Fixture {
    EventTable table;
    const JsonTable *tables[OPTIONS];
    FormatTable *others[OTHERS];
    Records out;
} Fixture;

static const Kind *kind_new(Arena *arena, int column) {
    TypeFacts *element = arena_alloc(arena, sizeof *element), *array = arena_alloc(arena, sizeof *array);
    *element = (TypeFacts){.oid = COLUMNS[column].oid, .name = "", .sort = 'b', .delimiter = ','};
    *array = (TypeFacts){.oid = 16384, .name = "", .sort = 'b', .element = element};
    const ColumnFacts facts = {.type = COLUMNS[column].array ? array : element,
                               .modifier = -1,
                               .not_null = COLUMNS[column].required};
    return kind_of(arena, &facts, (KindOptions){0});
}

/* Made once, and never freed: libFuzzer ends the process. */
static Fixture *fixture(void) {
    static Fixture *made;
    static Arena *arena; /* where a leak check finds it */
    static const uint16_t key[] = {0, 2};
    static const EventOrigin origin = {.version = "1", .prefix = "p", .database = "d"};
    if (made != NULL)
        return made;
    arena = arena_new();
    EventColumn *columns = arena_alloc(arena, COLUMN_COUNT * sizeof *columns);
    made = arena_alloc(arena, sizeof *made);
    for (int column = 0; column < COLUMN_COUNT; column++)
        columns[column] = (EventColumn){COLUMNS[column].name, kind_new(arena, column)};
    made->table = (EventTable){.topic = "p.s.t",
                               .schema = "s",
                               .name = "t",
                               .column_count = COLUMN_COUNT,
                               .columns = columns,
                               .key_count = 2,
                               .key = key};
    for (int bits = 0; bits < OPTIONS; bits++)
        made->tables[bits] =
            json_table_new(arena, &made->table, &origin,
                           (JsonOptions){.envelope = (bits & 1) != 0 ? JSON_FLAT : JSON_DEBEZIUM,
                                         .schema = (bits & 2) != 0,
                                         .tombstones = (bits & 4) != 0,
                                         .toast_absent = (bits & 8) != 0,
                                         .special_fails = (bits & 16) != 0,
                                         .null_is_default = (bits & 32) != 0});
    for (int bits = 0; bits < OTHERS; bits++) {
        Format *format = arena_alloc(arena, sizeof *format);
        Error e;
        *format = (Format){.name = bits % 2 == 0 ? FORMAT_AVRO : FORMAT_PROTOBUF,
                           .envelope = (FormatEnvelope)(bits / 2 % 3),
                           .toast = (FormatToast)(bits / 6 % 3),
                           .special_fails = bits / 18 == 1,
                           .tombstones = true,
                           .origin = &origin};
        made->others[bits] = format_table_new(arena, format, &made->table, &e);
        assert(made->others[bits] != NULL);
    }
    made->out = records_new(RECORD_LIMIT);
    return made;
}

static Value take_value(Reader *r, Arena *arena) {
    Value value = {.kind = (ValueKind)(reader_u8(r) % (VALUE_BINARY + 1))};
    Slice text = reader_bytes(r, reader_u8(r));
    if (value.kind != VALUE_TEXT && value.kind != VALUE_BINARY)
        return value;
    value.bytes = (Slice){arena_text(arena, text), text.len};
    return value;
}

static void assert_json(Slice text) {
    json_t *parsed = json_loadb(text.at, text.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    assert(parsed != NULL);
    json_decref(parsed);
}

static void check(const Records *out) {
    for (int at = 0; at < out->count; at++) {
        const Record *record = &out->list[at];
        assert(record->key.exists && record->header_count >= 3 && record->header_count <= HEADERS_MOST);
        assert_json(records_view(out, record->key));
        if (record->value.exists)
            assert_json(records_view(out, record->value));
        for (int header = 3; header < record->header_count; header++)
            assert_json(records_view(out, record->headers[header].value));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const EventPlace place = {.end = {1}, .lsn = {2}, .xid = 3, .committed_us = 4, .now_us = 5};
    Fixture *f = fixture();
    Reader r = reader_new((Slice){(const char *)data, size});
    uint8_t choice = reader_u8(&r), op = reader_u8(&r) % EVENT_TRUNCATE; /* a truncate has no rows */
    Arena *arena = arena_new();
    Value rows[2][COLUMN_COUNT];
    for (int row = 0; row < 2; row++)
        for (int column = 0; column < COLUMN_COUNT; column++)
            rows[row][column] = take_value(&r, arena);
    bool has_before = op == EVENT_UPDATE || op == EVENT_DELETE;
    const Event event = {.op = (EventOp)op,
                         .place = &place,
                         .before = has_before ? rows[0] : NULL,
                         .after = op == EVENT_DELETE ? NULL : rows[1]};
    Error e = {0};
    if (json_event(f->tables[choice % OPTIONS], &event, arena, &f->out, &e))
        check(&f->out);
    else
        assert(e.kind == ERR_DATA || e.kind == ERR_LIMIT);
    e = (Error){0};
    if (format_event(f->others[choice % OTHERS], &event, arena, &f->out, &e))
        assert(f->out.count > 0 && f->out.count <= RECORDS_MOST);
    else
        assert(e.kind == ERR_DATA || e.kind == ERR_LIMIT);
    arena_free(arena);
    return 0;
}
