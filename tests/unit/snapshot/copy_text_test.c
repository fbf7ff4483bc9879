#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "snapshot/copy_text.h"
#include "testing.h"

/* The values in brackets, NULL as "-"; "!" where it is none. */
static void splits(const char *row, uint16_t count, const char *expected) {
    size_t length = strlen(row);
    char *copy = malloc(length + 1);
    memcpy(copy, row, length + 1);
    Value values[8];
    Writer said = writer_new(1000);
    if (!copy_text_split(copy, length, values, count))
        writer_text(&said, "!");
    else
        for (uint16_t n = 0; n < count; n++) {
            writer_text(&said, values[n].kind == VALUE_NULL ? "-" : "[");
            if (values[n].kind == VALUE_TEXT) {
                writer_bytes(&said, values[n].bytes);
                writer_text(&said, "]");
                assert_int_equal(values[n].bytes.at[values[n].bytes.len], 0);
            }
        }
    assert_string_equal(writer_string(&said), expected);
    writer_free(&said);
    free(copy);
}

static void rows_are_taken_apart(void **unused) {
    (void)unused;
    splits("1\ttwo\t\\N\n", 3, "[1][two]-");
    splits("\n", 1, "[]");
    splits("", 1, "[]");
    splits("\t\n", 2, "[][]");
    splits("\\N\n", 1, "-");
    splits("\\N\t\\N", 2, "--");
    splits("\\\\N\n", 1, "[\\N]");
    splits("a\\\\\tb\n", 2, "[a\\][b]");
    splits("\\t\\n\\r\\b\\f\\v\\x\\.\n", 1, "[\t\n\r\b\f\vx.]");
    splits("\n", 0, "");
    splits("", 0, "");
}

static void what_is_no_row_is_refused(void **unused) {
    (void)unused;
    splits("1\n", 2, "!");
    splits("1\t2\t3\n", 2, "!");
    splits("1\\\n", 1, "!");
    splits("1\\", 1, "!");
    splits("x\n", 0, "!");
    splits("\t", 1, "!");
}

/* COPY's own escapes of any text come back. */
static void what_is_escaped_comes_back(void **unused) {
    (void)unused;
    static const char letters[] = "a\\\t\n\r\b\f\vN.";
    for (unsigned number = 0; number < 10000; number++) {
        char text[5] = "", row[12] = "";
        size_t at = 0;
        for (unsigned n = 0, left = number; n < 4; n++, left /= 10) {
            char c = letters[left % 10];
            const char *named = strchr("\bb\ff\nn\rr\tt\vv", c);
            text[n] = c;
            if (c == '\\' || named != NULL)
                row[at++] = '\\';
            row[at++] = c == '\\' ? c : named != NULL ? named[1] : c;
        }
        Value value;
        assert_true(copy_text_split(row, at, &value, 1));
        assert_int_equal(value.kind, VALUE_TEXT);
        assert_int_equal(value.bytes.len, 4);
        assert_memory_equal(value.bytes.at, text, 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_taken_apart),
        cmocka_unit_test(what_is_no_row_is_refused),
        cmocka_unit_test(what_is_escaped_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
