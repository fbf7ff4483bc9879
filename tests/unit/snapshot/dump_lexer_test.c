#include <string.h>

#include "snapshot/dump_lexer.h"
#include "testing.h"

#define MARK DUMP_HEADER "real"

/* Where the mark is found: behind `before`, never inside it. */
static void found_behind(const char *before) {
    char text[1000] = "";
    strcat(strcat(text, before), MARK);
    assert_ptr_equal(dump_next_mark(text), text + strlen(before));
}

static void a_mark_begins_a_line(void **unused) {
    (void)unused;
    found_behind("");
    found_behind("SELECT 1;\n");
    assert_null(dump_next_mark("SELECT 1; " MARK));
    assert_null(dump_next_mark("-- " MARK));
}

static void quoted_text_hides_marks(void **unused) {
    (void)unused;
    found_behind("COMMENT '\n" MARK "';\n");
    found_behind("COMMENT 'it''s\n" MARK "';\n");
    found_behind("COMMENT 'ends in \\';\n");
    found_behind("INDEX \"\n" MARK "\";\n");
    found_behind("INDEX \"a'b\";\n");
    found_behind("INDEX \"a\"\"\n" MARK "\";\n");
}

static void escape_strings_may_hold_a_quote(void **unused) {
    (void)unused;
    found_behind("SELECT E'\\'\n" MARK "';\n");
    found_behind("SELECT e'\\\\';\n");
    found_behind("SELECT LIKE'\\';\n");
}

static void dollar_quotes_end_at_their_own_tag(void **unused) {
    (void)unused;
    found_behind("DO $$\n" MARK "\n$$;\n");
    found_behind("DO $a$ $$ $b$\n" MARK "\n$a$;\n");
    found_behind("SELECT $1, a$b$c;\n");
}

static void apostrophes_in_comment_lines_are_no_quotes(void **unused) {
    (void)unused;
    found_behind("-- it's\n");
    found_behind("SELECT 1 -- it's\n;\n");
}

static void text_that_ends_in_quotes_has_no_mark(void **unused) {
    (void)unused;
    assert_null(dump_next_mark("SELECT 'open\n" MARK));
    assert_null(dump_next_mark("SELECT \"open\n" MARK));
    assert_null(dump_next_mark("SELECT $x$ open\n" MARK));
    assert_null(dump_next_mark("SELECT E'open\\"));
}

static void the_end_is_a_mark(void **unused) {
    (void)unused;
    assert_true(dump_at_mark(DUMP_END));
    assert_false(dump_at_mark("--\n-- PostgreSQL database dump\n--\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mark_begins_a_line),
        cmocka_unit_test(quoted_text_hides_marks),
        cmocka_unit_test(escape_strings_may_hold_a_quote),
        cmocka_unit_test(dollar_quotes_end_at_their_own_tag),
        cmocka_unit_test(apostrophes_in_comment_lines_are_no_quotes),
        cmocka_unit_test(text_that_ends_in_quotes_has_no_mark),
        cmocka_unit_test(the_end_is_a_mark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
