#include <string.h>

#include "core/bytes.h"
#include "testing.h"

static void numbers_go_through_writer_and_reader(void **unused) {
    (void)unused;
    Writer w = writer_new(100);
    writer_u8(&w, 0xFE);
    writer_u16(&w, 0x8001);
    writer_u32(&w, 0x80000002);
    writer_u64(&w, UINT64_C(0x8000000300000004));
    static const char WIRE[] = "\xFE\x80\x01\x80\x00\x00\x02\x80\x00\x00\x03\x00\x00\x00\x04";
    assert_true(slice_equal(writer_slice(&w), (Slice){WIRE, sizeof WIRE - 1}));
    Reader r = reader_new(writer_slice(&w));
    assert_int_equal(reader_u8(&r), 0xFE);
    assert_int_equal(reader_u16(&r), 0x8001);
    assert_int_equal(reader_u32(&r), 0x80000002);
    assert_true(reader_u64(&r) == UINT64_C(0x8000000300000004));
    assert_false(r.bad);
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(reader_offset(&r), 15);
    writer_free(&w);
}

static uint64_t read_kind(Reader *r, int kind) {
    switch (kind) {
    case 0: return reader_u8(r);
    case 1: return reader_u16(r);
    case 2: return reader_u32(r);
    case 3: return reader_u64(r);
    case 4: return reader_bytes(r, 3).len;
    default: return reader_text(r).len;
    }
}

static void a_reader_that_went_past_the_end_stays_bad(void **unused) {
    (void)unused;
    static const char LONG_ENOUGH[] = "12345678";
    static const size_t NEEDED[] = {1, 2, 4, 8, 3, 1};
    for (int kind = 0; kind < 6; kind++) {
        Reader r = reader_new((Slice){LONG_ENOUGH, NEEDED[kind] - 1});
        assert_int_equal(read_kind(&r, kind), 0);
        assert_true(r.bad);
        for (int again = 0; again < 6; again++)
            assert_int_equal(read_kind(&r, again), 0);
        assert_true(r.bad);
        assert_int_equal(reader_offset(&r), 0);
    }
}

static void bytes_of_any_claimed_length_are_refused(void **unused) {
    (void)unused;
    Reader r = reader_new(slice_text("abc"));
    Slice out = reader_bytes(&r, SIZE_MAX);
    assert_null(out.at);
    assert_int_equal(out.len, 0);
    assert_true(r.bad);
}

static void texts_end_at_their_nul(void **unused) {
    (void)unused;
    static const char WIRE[] = "one\0\0three"; /* the array's own NUL ends the last one */
    Reader r = reader_new((Slice){WIRE, sizeof WIRE});
    assert_true(slice_is(reader_text(&r), "one"));
    assert_true(slice_is(reader_text(&r), ""));
    Slice last = reader_text(&r);
    assert_true(slice_is(last, "three"));
    assert_int_equal(last.at[last.len], '\0');
    assert_false(r.bad);
    assert_true(slice_is(reader_text(&r), ""));
    assert_true(r.bad);
    Reader unended = reader_new(slice_text("no end"));
    assert_int_equal(reader_text(&unended).len, 0);
    assert_true(unended.bad);
}

static void an_empty_slice_may_be_null(void **unused) {
    (void)unused;
    Slice empty = {NULL, 0};
    assert_true(slice_is(empty, ""));
    assert_true(slice_equal(empty, slice_text("")));
    Reader r = reader_new(empty);
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(reader_bytes(&r, 0).len, 0);
    assert_false(r.bad);
    assert_int_equal(reader_u8(&r), 0);
    assert_true(r.bad);
    Writer w = writer_new(10);
    writer_bytes(&w, empty);
    assert_string_equal(writer_string(&w), "");
    assert_int_equal(w.len, 0);
    writer_free(&w);
}

static void slices_differ_by_any_byte_and_by_length(void **unused) {
    (void)unused;
    assert_true(slice_is(slice_text("ab"), "ab"));
    assert_false(slice_is(slice_text("ab"), "abc"));
    assert_false(slice_is(slice_text("ab"), "a"));
    assert_false(slice_is(slice_text("ab"), "aB"));
    assert_false(slice_equal((Slice){"a\0b", 3}, (Slice){"a\0c", 3}));
}

static void a_write_beyond_the_limit_writes_nothing(void **unused) {
    (void)unused;
    Writer w = writer_new(5);
    writer_text(&w, "12345");
    assert_false(w.full);
    assert_string_equal(writer_string(&w), "12345");
    writer_u8(&w, 1);
    assert_true(w.full);
    assert_int_equal(w.len, 5);
    writer_reset(&w);
    assert_false(w.full);
    writer_text(&w, "123");
    writer_u32(&w, 1);
    assert_true(w.full);
    assert_string_equal(writer_string(&w), "123");
    writer_text(&w, "4"); /* full stays: a gap would be worse than an end */
    assert_string_equal(writer_string(&w), "123");
    writer_reset(&w);
    writer_format(&w, "%d", 123456);
    assert_true(w.full);
    assert_string_equal(writer_string(&w), "");
    writer_free(&w);
}

static void a_writer_grows_and_keeps_what_it_has(void **unused) {
    (void)unused;
    Writer w = writer_new(SIZE_MAX / 4);
    for (int number = 0; number < 20000; number++)
        writer_format(&w, "%d,", number % 10);
    assert_int_equal(w.len, 40000);
    for (size_t at = 0; at < w.len; at += 2)
        assert_true(w.at[at] == (char)('0' + at / 2 % 10) && w.at[at + 1] == ',');
    assert_int_equal(strlen(writer_string(&w)), 40000);
    writer_free(&w);
    assert_null(w.at);
    assert_int_equal(w.limit, SIZE_MAX / 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_go_through_writer_and_reader),
        cmocka_unit_test(a_reader_that_went_past_the_end_stays_bad),
        cmocka_unit_test(bytes_of_any_claimed_length_are_refused),
        cmocka_unit_test(texts_end_at_their_nul),
        cmocka_unit_test(an_empty_slice_may_be_null),
        cmocka_unit_test(slices_differ_by_any_byte_and_by_length),
        cmocka_unit_test(a_write_beyond_the_limit_writes_nothing),
        cmocka_unit_test(a_writer_grows_and_keeps_what_it_has),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
