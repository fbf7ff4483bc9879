#include <string.h>

#include "core/error.h"
#include "testing.h"

static void fail_fills_and_forgets_what_was_before(void **unused) {
    (void)unused;
    Error e;
    memset(&e, 'x', sizeof e);
    assert_false(fail(&e, ERR_DATA, "row %d of \"%s\"", 7, "shop"));
    assert_int_equal(e.kind, ERR_DATA);
    assert_string_equal(e.text, "row 7 of \"shop\"");
    assert_string_equal(e.hint, "");
    assert_string_equal(e.sqlstate, "");
    assert_false(e.connection);
}

static void hint_is_added_to_the_text(void **unused) {
    (void)unused;
    Error e;
    fail(&e, ERR_CONFIG, "no right");
    assert_false(fail_hint(&e, "grant %s", "it"));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_string_equal(e.text, "no right");
    assert_string_equal(e.hint, "grant it");
}

static void context_goes_in_front_and_keeps_the_rest(void **unused) {
    (void)unused;
    Error e;
    fail(&e, ERR_RETRY, "gone");
    fail_hint(&e, "wait");
    e.connection = true;
    assert_false(fail_context(&e, "table \"%s\"", "t"));
    assert_string_equal(e.text, "table \"t\": gone");
    assert_string_equal(e.hint, "wait");
    assert_int_equal(e.kind, ERR_RETRY);
    assert_true(e.connection);
}

static void an_error_may_be_made_from_itself(void **unused) {
    (void)unused;
    Error e;
    fail(&e, ERR_RETRY, "inner");
    fail(&e, ERR_DATA, "outer: %s", e.text);
    assert_string_equal(e.text, "outer: inner");
}

static void long_texts_are_cut_not_overrun(void **unused) {
    (void)unused;
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    Error e;
    fail(&e, ERR_DATA, "%s", text);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    fail_hint(&e, "%s", text);
    assert_int_equal(strlen(e.hint), sizeof e.hint - 1);
    /* Around the place where the context leaves no room for the text. */
    for (size_t length = sizeof e.text - 8; length < sizeof e.text + 3; length++) {
        fail(&e, ERR_DATA, "end");
        fail_context(&e, "%.*s", (int)length, text);
        assert_true(strlen(e.text) < sizeof e.text);
        assert_memory_equal(e.text, text, sizeof e.text - 8);
    }
}

static void names_and_exit_codes_are_the_documented_ones(void **unused) {
    (void)unused;
    static const struct {
        ErrorKind kind;
        const char *name;
        int exit_code;
    } KINDS[] = {{ERR_NONE, "none", 0},         {ERR_STOPPED, "stopped", 0}, {ERR_CONFIG, "config", 2},
                 {ERR_LOST, "lost", 3},         {ERR_DATA, "data", 5},       {ERR_LIMIT, "limit", 5},
                 {ERR_PROTOCOL, "protocol", 4}, {ERR_RETRY, "retry", 6}};
    for (size_t kind = 0; kind < sizeof KINDS / sizeof *KINDS; kind++) {
        assert_string_equal(error_kind_name(KINDS[kind].kind), KINDS[kind].name);
        assert_int_equal(error_exit_code(KINDS[kind].kind), KINDS[kind].exit_code);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_fills_and_forgets_what_was_before),
        cmocka_unit_test(hint_is_added_to_the_text),
        cmocka_unit_test(context_goes_in_front_and_keeps_the_rest),
        cmocka_unit_test(an_error_may_be_made_from_itself),
        cmocka_unit_test(long_texts_are_cut_not_overrun),
        cmocka_unit_test(names_and_exit_codes_are_the_documented_ones),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
