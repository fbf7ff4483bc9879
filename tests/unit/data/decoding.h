/* decoding: a frame that must be a message, and one that must not. Include it last: cmocka makes a macro of
 * "fail". */
#ifndef WALFERRY_TESTS_DECODING_H
#define WALFERRY_TESTS_DECODING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "decoder/pgoutput.h"

#include <cmocka.h>

static inline Message decode_ok(Slice frame, DecodeOptions options, Arena *arena) {
    Message m;
    Error e = {0};
    if (!pgoutput_decode(frame, options, arena, &m, &e))
        fail_msg("%s", e.text);
    return m;
}

static inline void assert_refused(Slice frame, DecodeOptions options, const char *says) {
    Arena *arena = arena_new();
    Message m;
    Error e = {0};
    assert_false(pgoutput_decode(frame, options, arena, &m, &e));
    assert_int_equal(e.kind, ERR_PROTOCOL);
    if (strstr(e.text, says) == NULL)
        assert_string_equal(e.text, says);
    assert_non_null(strstr(e.text, "at byte "));
    arena_free(arena);
}

#endif
