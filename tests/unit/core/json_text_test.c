#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/json_text.h"
#include "testing.h"

static void assert_written(Slice text, const char *expected) {
    Writer out = writer_new(1 << 16);
    json_text_write(&out, text);
    assert_string_equal(writer_string(&out), expected);
    assert_int_equal(out.len, strlen(expected));
    writer_free(&out);
}

static void plain_text_is_only_quoted(void **unused) {
    (void)unused;
    assert_written(slice_text("walferry"), "\"walferry\"");
    assert_written(slice_text("Fähre /→ \x7f"), "\"Fähre /→ \x7f\"");
}

static void the_empty_text_may_lie_nowhere(void **unused) {
    (void)unused;
    assert_written((Slice){NULL, 0}, "\"\"");
}

static void what_json_forbids_is_escaped(void **unused) {
    (void)unused;
    assert_written(slice_text("\""), "\"\\\"\"");
    assert_written(slice_text("\\"), "\"\\\\\"");
    assert_written(slice_text("a\nb\rc\td"), "\"a\\nb\\rc\\td\"");
    assert_written((Slice){"\0\x1f\b", 3}, "\"\\u0000\\u001f\\u0008\"");
    assert_written(slice_text("\"\"\\\\"), "\"\\\"\\\"\\\\\\\\\"");
}

static void only_the_slice_is_written(void **unused) {
    (void)unused;
    assert_written((Slice){"abc\ndef", 3}, "\"abc\"");
    assert_written((Slice){"abc\ndef", 4}, "\"abc\\n\"");
}

/* Every byte that text can hold, at the start, in the middle and at the end of plain text. */
static void a_parser_reads_the_same_text(void **unused) {
    (void)unused;
    for (int byte = 0; byte < 0x80; byte++) {
        const char texts[][3] = {{(char)byte, 'x', 'y'}, {'x', (char)byte, 'y'}, {'x', 'y', (char)byte}};
        for (size_t place = 0; place < 3; place++) {
            Writer out = writer_new(100);
            json_text_write(&out, (Slice){texts[place], 3});
            json_t *read = json_loadb(out.at, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            assert_non_null(read);
            assert_int_equal(json_string_length(read), 3);
            assert_memory_equal(json_string_value(read), texts[place], 3);
            json_decref(read);
            writer_free(&out);
        }
    }
}

static void a_text_above_the_limit_is_told_by_the_writer(void **unused) {
    (void)unused;
    Writer out = writer_new(5);
    json_text_write(&out, slice_text("four"));
    assert_true(out.full);
    writer_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_is_only_quoted),
        cmocka_unit_test(the_empty_text_may_lie_nowhere),
        cmocka_unit_test(what_json_forbids_is_escaped),
        cmocka_unit_test(only_the_slice_is_written),
        cmocka_unit_test(a_parser_reads_the_same_text),
        cmocka_unit_test(a_text_above_the_limit_is_told_by_the_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
