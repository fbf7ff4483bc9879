#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/memory.h"
#include "testing.h"

/* The sanitizer would end the process itself. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

/* More than any address space has, where the compiler cannot see it. */
static volatile size_t too_much = SIZE_MAX / 4;

static void tell(size_t size) {
    _exit(size == too_much ? 7 : 8);
}

/* How the process ends that asks for it. */
static int refused(void (*ask)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        memory_when_refused(tell);
        ask();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void *volatile kept;
static void ask_new(void) {
    kept = memory_new(too_much);
}
static void ask_raw(void) {
    kept = memory_raw(too_much);
}
static void ask_grow(void) {
    kept = memory_grow(malloc(10), too_much);
}
static void ask_hash(void) {
    kept = uthash_malloc(too_much);
}
static void ask_array(void) {
    kept = memory_array(too_much, 1);
}
static void ask_library(void) {
    memory_refused(too_much);
}
static void ask_array_beyond_any_size(void) {
    kept = memory_array(too_much, 8);
}

static void what_is_refused_is_told_and_ends_the_process(void **unused) {
    (void)unused;
    assert_int_equal(refused(ask_new), 7);
    assert_int_equal(refused(ask_raw), 7);
    assert_int_equal(refused(ask_grow), 7);
    assert_int_equal(refused(ask_hash), 7);
    assert_int_equal(refused(ask_array), 7);
    assert_int_equal(refused(ask_library), 7);
    assert_int_equal(refused(ask_array_beyond_any_size), 8);
}

static void what_is_given_can_be_used(void **unused) {
    (void)unused;
    char *memory = memory_new(100);
    for (int byte = 0; byte < 100; byte++)
        assert_int_equal(memory[byte], 0);
    memory = memory_grow(memory, 1000);
    memset(memory, 1, 1000);
    free(memory);
    free(memory_raw(0));
    int *numbers = memory_array(3, sizeof *numbers);
    assert_int_equal(numbers[0] | numbers[1] | numbers[2], 0);
    free(numbers);
    char *whole = memory_text("whole"), *part = memory_text_part(whole, 2);
    assert_string_equal(whole, "whole");
    assert_string_equal(part, "wh");
    free(whole);
    free(part);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_refused_is_told_and_ends_the_process),
        cmocka_unit_test(what_is_given_can_be_used),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
