#include "core/binary_type.h"
#include "testing.h"

static void shown(uint32_t oid, const char *bytes, size_t length, const char *expected) {
    Writer out = writer_new(1000);
    binary_type_show(oid, (Slice){bytes, length}, &out);
    assert_string_equal(writer_string(&out), expected);
    writer_free(&out);
}

static void people_read_keys(void **unused) {
    (void)unused;
    shown(21, "\xff\xfe", 2, "-2");
    shown(23, "\x7f\xff\xff\xff", 4, "2147483647");
    shown(20, "\x80\0\0\0\0\0\0\0", 8, "-9223372036854775808");
    shown(26, "\xff\xff\xff\xff", 4, "4294967295");
    shown(25, "it's", 4, "it's");
    shown(25, NULL, 0, "");
    shown(2950, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16,
          "00112233-4455-6677-8899-aabbccddeeff");
    shown(17, "\x01\xff", 2, "\\x01ff");
}

static void a_value_of_another_length_is_bytes(void **unused) {
    (void)unused;
    shown(23, "\x01", 1, "\\x01");
    shown(701, "0123456789012345678901234567", 28, "\\x303132333435363738393031323334353637383930313233...");
}

static void only_scalars_of_the_server_that_mean_the_same_everywhere(void **unused) {
    (void)unused;
    static const uint32_t yes[] = {16, 20, 23, 25, 1700, 1184, 2950, 3802};
    /* interval, arrays, OID aliases, ranges, xml, tsquery, types of users */
    static const uint32_t no[] = {0, 1186, 1007, 2205, 3904, 142, 3615, 16384, 65552, 4294967295u};
    for (size_t at = 0; at < sizeof yes / sizeof *yes; at++)
        assert_true(binary_type(yes[at]));
    for (size_t at = 0; at < sizeof no / sizeof *no; at++)
        assert_false(binary_type(no[at]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_read_keys),
        cmocka_unit_test(a_value_of_another_length_is_bytes),
        cmocka_unit_test(only_scalars_of_the_server_that_mean_the_same_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
