#include <stdio.h>

#include "core/clock.h"
#include "data/golden.h"
#include "decoder/pgoutput.h"

#include "data/decoding.h"

static const DecodeOptions PLAIN = {0}, IN_STREAM = {.in_stream = true}, PARALLEL = {.abort_has_lsn = true};
static const int64_t SECOND_AFTER_EPOCH = CLOCK_PG_EPOCH_US + 1000000;

static Message decode_recipe(const char *recipe, DecodeOptions options, Arena *arena) {
    return decode_ok(golden_recipe(arena, recipe), options, arena);
}

static void transaction_bounds_by_hand(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Message m = decode_recipe("'B' 0000000116b37420 00000000000f4240 0000002a", PLAIN, arena);
    assert_int_equal(m.kind, MESSAGE_BEGIN);
    assert_int_equal(m.begin.final.at, 0x116b37420);
    assert_int_equal(m.begin.time_us, SECOND_AFTER_EPOCH);
    assert_int_equal(m.xid, 42);
    m = decode_recipe("'C' 00 0000000116b37420 0000000116b37450 fffffffffff0bdc0", PLAIN, arena);
    assert_int_equal(m.commit.commit.at, 0x116b37420);
    assert_int_equal(m.commit.end.at, 0x116b37450);
    assert_int_equal(m.commit.time_us, CLOCK_PG_EPOCH_US - 1000000);
    assert_int_equal(m.xid, 0);
    m = decode_recipe("'S' 0000002a 01", PLAIN, arena);
    assert_int_equal(m.xid, 42);
    assert_true(m.stream_start.first);
    assert_false(decode_recipe("'S' 0000002a 00", PLAIN, arena).stream_start.first);
    assert_int_equal(decode_recipe("'E'", IN_STREAM, arena).kind, MESSAGE_STREAM_STOP);
    m = decode_recipe("'c' 0000002a 00 0000000116b37420 0000000116b37450 00000000000f4240", PLAIN, arena);
    assert_int_equal(m.xid, 42);
    assert_int_equal(m.commit.commit.at, 0x116b37420);
    assert_int_equal(m.commit.end.at, 0x116b37450);
    assert_int_equal(m.commit.time_us, SECOND_AFTER_EPOCH);
    arena_free(arena);
}

static void stream_abort_has_lsn_only_when_parallel_was_asked_for(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const char *brief = "'A' 0000002a 0000002b",
               *whole = "'A' 0000002a 0000002b 0000000116b37420 00000000000f4240";
    Message m = decode_recipe(brief, PLAIN, arena);
    assert_int_equal(m.xid, 42);
    assert_int_equal(m.stream_abort.subxid, 43);
    assert_true(lsn_is_none(m.stream_abort.lsn));
    m = decode_recipe(whole, PARALLEL, arena);
    assert_int_equal(m.xid, 42);
    assert_int_equal(m.stream_abort.subxid, 43);
    assert_int_equal(m.stream_abort.lsn.at, 0x116b37420);
    assert_refused(golden_recipe(arena, brief), PARALLEL, "ends too early, at byte 9 of 9");
    assert_refused(golden_recipe(arena, whole), PLAIN, "16 bytes too many, at byte 9 of 25");
    arena_free(arena);
}

static void prepared_family_by_hand(void **state) {
    (void)state;
    static const char *const RECIPES[] = {
        "'b' 0000000000000010 0000000000000020 00000000000f4240 0000002a 'gid' 00",
        "'P' 00 0000000000000010 0000000000000020 00000000000f4240 0000002a 'gid' 00",
        "'K' 00 0000000000000010 0000000000000020 00000000000f4240 0000002a 'gid' 00",
        "'p' 00 0000000000000010 0000000000000020 00000000000f4240 0000002a 'gid' 00",
        "'r' 00 0000000000000010 0000000000000020 00000000001e8480 00000000000f4240 0000002a 'gid' 00"};
    Arena *arena = arena_new();
    for (size_t recipe = 0; recipe < sizeof RECIPES / sizeof RECIPES[0]; recipe++) {
        Message m = decode_recipe(RECIPES[recipe], PLAIN, arena);
        bool rollback = m.kind == MESSAGE_ROLLBACK_PREPARED;
        assert_int_equal(m.kind, RECIPES[recipe][1]);
        assert_int_equal(m.commit.commit.at, rollback ? 0 : 0x10);
        assert_int_equal(m.commit.prepare_end.at, rollback ? 0x10 : 0);
        assert_int_equal(m.commit.end.at, 0x20);
        assert_int_equal(m.commit.time_us, SECOND_AFTER_EPOCH);
        assert_int_equal(m.xid, 42);
        assert_true(slice_is(m.commit.gid, "gid"));
    }
    arena_free(arena);
}

static void rows_by_hand(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Message m = decode_recipe("'I' 0000002a 00004001 'N' 0004 'n' 'u' 't' 00000002 'ab' 'b' 00000001 00",
                              IN_STREAM, arena);
    assert_int_equal(m.xid, 42);
    assert_int_equal(m.row.oid, 0x4001);
    assert_int_equal(m.row.before_kind, 0);
    assert_null(m.row.before.values);
    assert_int_equal(m.row.after.count, 4);
    assert_int_equal(m.row.after.values[0].kind, VALUE_NULL);
    assert_int_equal(m.row.after.values[1].kind, VALUE_UNCHANGED);
    assert_int_equal(m.row.after.values[2].kind, VALUE_TEXT);
    assert_true(slice_is(m.row.after.values[2].bytes, "ab"));
    assert_int_equal(m.row.after.values[3].kind, VALUE_BINARY);
    assert_int_equal(m.row.after.values[3].bytes.len, 1);
    m = decode_recipe("'D' 00004001 'K' 0002 't' 00000000 'n'", PLAIN, arena);
    assert_int_equal(m.row.before_kind, 'K');
    assert_int_equal(m.row.before.values[0].kind, VALUE_TEXT);
    assert_int_equal(m.row.before.values[1].kind, VALUE_NULL);
    assert_null(m.row.after.values);
    m = decode_recipe("'D' 00004001 'O' 0001 'n'", PLAIN, arena);
    assert_int_equal(m.row.before_kind, 'O');
    assert_int_equal(m.row.before.values[0].kind, VALUE_NULL);
    m = decode_recipe("'U' 00004001 'O' 0001 'n' 'N' 0001 't' 00000001 'x'", PLAIN, arena);
    assert_int_equal(m.row.before.values[0].kind, VALUE_NULL);
    assert_true(slice_is(m.row.after.values[0].bytes, "x"));
    arena_free(arena);
}

static void descriptions_by_hand(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Message m = decode_recipe("'R' 0000002a 00004001 00 't' 00 'i' 0002 "
                              "01 'k' 00 00000017 ffffffff 00 'v' 00 00000413 00000018",
                              IN_STREAM, arena);
    assert_int_equal(m.xid, 42);
    assert_int_equal(m.relation.oid, 0x4001);
    assert_true(slice_is(m.relation.schema, "pg_catalog"));
    assert_true(slice_is(m.relation.name, "t"));
    assert_int_equal(m.relation.identity, 'i');
    assert_int_equal(m.relation.column_count, 2);
    assert_true(m.relation.columns[0].key);
    assert_false(m.relation.columns[1].key);
    assert_string_equal(m.relation.columns[1].name, "v");
    assert_int_equal(m.relation.columns[1].type, 1043);
    assert_int_equal(m.relation.columns[0].modifier, -1);
    assert_int_equal(m.relation.columns[1].modifier, 24);
    m = decode_recipe("'Y' 00004002 's' 00 'mood' 00", PLAIN, arena);
    assert_int_equal(m.type.oid, 0x4002);
    assert_true(slice_is(m.type.schema, "s"));
    assert_true(slice_is(m.type.name, "mood"));
    arena_free(arena);
}

static void truncates_messages_and_origins_by_hand(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Message m = decode_recipe("'T' 0000002a 00000002 02 00004001 00004002", IN_STREAM, arena);
    assert_int_equal(m.xid, 42);
    assert_int_equal(m.truncate.count, 2);
    assert_int_equal(m.truncate.oids[1], 0x4002);
    assert_false(m.truncate.cascade);
    assert_true(m.truncate.restart_identity);
    assert_true(decode_recipe("'T' 00000001 01 00004001", PLAIN, arena).truncate.cascade);
    m = decode_recipe("'M' 01 0000000000000010 'p' 00 00000003 'a' 00 'b'", PLAIN, arena);
    assert_true(m.logical.transactional);
    assert_int_equal(m.logical.lsn.at, 0x10);
    assert_true(slice_is(m.logical.prefix, "p"));
    assert_memory_equal(m.logical.content.at, "a\0b", 3);
    assert_int_equal(m.logical.content.len, 3);
    m = decode_recipe("'O' 0000000000000010 'far' 00", IN_STREAM, arena);
    assert_int_equal(m.xid, 0);
    assert_int_equal(m.origin.lsn.at, 0x10);
    assert_true(slice_is(m.origin.name, "far"));
    arena_free(arena);
}

typedef struct BadFrame {
    const char *recipe, *says;
} BadFrame;

static const BadFrame BAD_FRAMES[] = {
    {"", "empty"},
    {"'Z'", "unknown pgoutput message 0x5a"},
    {"00", "unknown pgoutput message 0x00"},
    {"'B' 0000000000000010 00000000000f4240 00000000", "transaction id 0"},
    {"'B' 0000000000000010 7fffffffffffffff 0000002a", "time 9223372036854775807 is out of range"},
    {"'C' 01 0000000000000010 0000000000000020 00000000000f4240", "unknown flags 0x01"},
    {"'c' 0000002a 80 0000000000000010 0000000000000020 00000000000f4240", "unknown flags 0x80"},
    {"'P' 02 0000000000000010 0000000000000020 00000000000f4240 0000002a 'gid' 00", "unknown flags 0x02"},
    {"'p' 02 0000000000000010 0000000000000020 00000000000f4240 0000002a 'gid' 00", "unknown flags 0x02"},
    {"'K' 00 0000000000000010 0000000000000020 00000000000f4240 0000002a 'gid'",
     "ends too early, at byte 30"},
    {"'S' 0000002a 02", "flag is 0x02"},
    {"'S' 00000000 01", "transaction id 0"},
    {"'A' 0000002a 00000000", "transaction id 0"},
    {"'E' 00", "1 bytes too many, at byte 1 of 2"},
    {"'O' 0000000000000010 'name'", "ends too early"},
    {"'I' 00004001 'K' 0000", "unexpected tuple kind 0x4b"},
    {"'I' 00004001 00 0000", "unexpected tuple kind 0x00"},
    {"'U' 00004001 'K' 0000 'K' 0000", "unexpected tuple kind 0x4b"},
    {"'U' 00004001 'K' 0000", "ends too early"},
    {"'D' 00004001 'N' 0000", "unexpected tuple kind 0x4e"},
    {"'D' 00004001 'K' 0000 'N' 0000", "3 bytes too many"},
    {"'I' 00004001 'N' 0001 'x'", "column 1 is of an unknown kind"},
    {"'I' 00004001 'N' 0002 'n' 't' 00000002 'a'",
     "column 2 is of an unknown kind or longer than the frame, at byte 9"},
    {"'I' 00004001 'N' 0001 't' ffffffff 'a'", "column 1"},
    {"'I' 00004001 'N' 0001 't' 7fffffff 'a'", "column 1"},
    {"'I' 00004001 'N' 0001 'b' 80000000 'a'", "column 1"},
    {"'I' 00004001 'N' 0001 't' 40000000 'a'", "column 1"},
    {"'I' 00004001 'N' 0001 't' 0000", "column 1"},
    {"'I' 00004001 'N' ffff 'n'", "a tuple of 65535 columns"},
    {"'I' 00004001 'N' 0002 'n'", "a tuple of 2 columns"},
    {"'T' ffffffff 00 00004001", "4294967295 relations are longer than the frame"},
    {"'T' 40000000 00 00004001", "1073741824 relations are longer than the frame"},
    {"'T' 00000001 04 00004001", "unknown options 0x04"},
    {"'T' 00000001 00 00004001 00004002", "4 bytes too many"},
    {"'M' 02 0000000000000010 'p' 00 00000000", "unknown flags 0x02"},
    {"'M' 00 0000000000000010 'p' 00 ffffffff 'a'", "ends too early"},
    {"'M' 00 0000000000000010 'p' 00 00000000 'a'", "1 bytes too many"},
    {"'M' 00 0000000000000010 'prefix'", "ends too early"},
    {"'Y' 00004001 's' 00 00", "a name of 0 bytes"},
    {"'Y' 00004001 's' 00 'open'", "ends too early"},
    {"'R' 00004001 's' 00 00 'd' 0000", "a name of 0 bytes"},
    {"'R' 00004001 's' 00 't' 00 'x' 0000", "unknown replica identity 0x78"},
    {"'R' 00004001 's' 00 't' 00 00 0000", "unknown replica identity 0x00"},
    {"'R' 00004001 's' 00 't' 00 'd' ffff 00", "a relation of 65535 columns"},
    {"'R' 00004001 's' 00 't' 00 'd' 0001 02 'c' 00 00000017 ffffffff", "unknown column flags 0x02"},
    {"'R' 00004001 's' 00 't' 00 'd' 0001 01 00 00000017 ffffffff", "a name of 0 bytes"},
    {"'R' 00004001 's' 00 't' 00 'd' 0001 01 'column'", "ends too early"},
};

static void bad_frames_are_refused_with_what_is_wrong(void **state) {
    (void)state;
    Arena *arena = arena_new();
    for (size_t frame = 0; frame < sizeof BAD_FRAMES / sizeof BAD_FRAMES[0]; frame++)
        assert_refused(golden_recipe(arena, BAD_FRAMES[frame].recipe), PLAIN, BAD_FRAMES[frame].says);
    assert_refused(golden_recipe(arena, "'I' 00000000 00004001 'N' 0000"), IN_STREAM, "transaction id 0");
    arena_free(arena);
}

/* A frame with `columns` of them, all there. */
static Slice wide_frame(Arena *arena, char kind, uint16_t columns) {
    Writer w = writer_new(1 << 20);
    if (kind == 'R')
        writer_bytes(&w, (Slice){"R\0\0\x40\1s\0t\0d", 10});
    else
        writer_bytes(&w, (Slice){"I\0\0\x40\1N", 6});
    writer_u16(&w, columns);
    for (unsigned column = 0; column < columns; column++)
        writer_bytes(&w, kind == 'R' ? (Slice){"\0c\0\0\0\0\x17\0\0\0\0", 11} : (Slice){"n", 1});
    Slice frame = golden_copy(arena, writer_slice(&w));
    writer_free(&w);
    return frame;
}

static void more_columns_than_a_table_can_have_are_refused_before_allocation(void **state) {
    (void)state;
    Arena *frames = arena_new(), *arena = arena_new();
    assert_int_equal(decode_ok(wide_frame(frames, 'I', COLUMNS_MAX), PLAIN, frames).row.after.count,
                     COLUMNS_MAX);
    assert_int_equal(decode_ok(wide_frame(frames, 'R', COLUMNS_MAX), PLAIN, frames).relation.column_count,
                     COLUMNS_MAX);
    assert_refused(wide_frame(frames, 'I', COLUMNS_MAX + 1), PLAIN, "a tuple of 1601 columns, at byte 8");
    assert_refused(wide_frame(frames, 'R', COLUMNS_MAX + 1), PLAIN, "a relation of 1601 columns, at byte 12");
    size_t before = arena_bytes(arena);
    Message m;
    Error e = {0};
    assert_false(pgoutput_decode(wide_frame(frames, 'I', UINT16_MAX), PLAIN, arena, &m, &e));
    assert_false(pgoutput_decode(golden_recipe(frames, "'T' 3fffffff 00"), PLAIN, arena, &m, &e));
    assert_int_equal(arena_bytes(arena), before);
    arena_free(arena);
    arena_free(frames);
}

static Slice type_with_name(Arena *arena, unsigned len) {
    char recipe[1200], name[1100];
    memset(name, 'n', len);
    snprintf(recipe, sizeof recipe, "'Y' 00004001 's' 00 '%.*s' 00", (int)len, name);
    return golden_recipe(arena, recipe);
}

static void names_may_have_1023_bytes(void **state) {
    (void)state;
    Arena *arena = arena_new();
    assert_int_equal(decode_ok(type_with_name(arena, 64), PLAIN, arena).type.name.len, 64);
    assert_int_equal(decode_ok(type_with_name(arena, 1023), PLAIN, arena).type.name.len, 1023);
    assert_refused(type_with_name(arena, 1024), PLAIN, "a name of 1024 bytes");
    arena_free(arena);
}

static void peek_refuses_what_it_cannot_tell(void **state) {
    (void)state;
    static const char *const RECIPES[] = {"", "'Z'", "00", "'I'", "'I' 000001", "'I' 00000000"};
    Arena *arena = arena_new();
    for (size_t recipe = 0; recipe < sizeof RECIPES / sizeof RECIPES[0]; recipe++) {
        MessageKind kind;
        uint32_t xid;
        Error e = {0};
        assert_false(pgoutput_peek(golden_recipe(arena, RECIPES[recipe]), true, &kind, &xid, &e));
        assert_int_equal(e.kind, ERR_PROTOCOL);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peek_refuses_what_it_cannot_tell),
        cmocka_unit_test(transaction_bounds_by_hand),
        cmocka_unit_test(stream_abort_has_lsn_only_when_parallel_was_asked_for),
        cmocka_unit_test(prepared_family_by_hand),
        cmocka_unit_test(rows_by_hand),
        cmocka_unit_test(descriptions_by_hand),
        cmocka_unit_test(truncates_messages_and_origins_by_hand),
        cmocka_unit_test(bad_frames_are_refused_with_what_is_wrong),
        cmocka_unit_test(more_columns_than_a_table_can_have_are_refused_before_allocation),
        cmocka_unit_test(names_may_have_1023_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
