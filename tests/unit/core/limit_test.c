#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "core/limit.h"
#include "testing.h"

static void the_limit_and_its_value_are_named(void **unused) {
    (void)unused;
    struct rlimit limit = {.rlim_cur = 200, .rlim_max = RLIM_INFINITY};
    Error e;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 200;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_false(limit_failed(&e, "make a pipe", EMFILE));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_string_equal(e.text, "cannot make a pipe: Too many open files");
    assert_string_equal(e.hint, "raise the limit: 200 open files (ulimit -n, LimitNOFILE of the service)");
}

/* A thread may have been refused for either. */
static void a_limit_of_memory_is_named_beside_that_of_threads(void **unused) {
    (void)unused;
    const struct rlimit threads = {1000, 1000}, memory = {1ULL << 50, RLIM_INFINITY};
    Error e;
    assert_int_equal(setrlimit(RLIMIT_NPROC, &threads), 0);
    assert_int_equal(setrlimit(RLIMIT_AS, &memory), 0);
    assert_false(limit_failed(&e, "make a thread", EAGAIN));
    assert_non_null(strstr(e.hint, "1000 processes and threads (ulimit -u"));
    assert_non_null(strstr(e.hint, "1125899906842624 bytes of memory (ulimit -v"));
}

static void what_is_no_limit_has_no_hint(void **unused) {
    (void)unused;
    Error e;
    assert_false(limit_is_meant(ENOENT));
    assert_true(limit_is_meant(EMFILE) && limit_is_meant(EAGAIN) && limit_is_meant(ENOMEM));
    assert_false(limit_failed(&e, "open it", ENOENT));
    assert_string_equal(e.text, "cannot open it: No such file or directory");
    assert_string_equal(e.hint, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_and_its_value_are_named),
        cmocka_unit_test(a_limit_of_memory_is_named_beside_that_of_threads),
        cmocka_unit_test(what_is_no_limit_has_no_hint),
    };
    return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
