/* How the program ends without memory, and that any other death stays what it is. */
#include "cli/no_memory.h"

#include <jansson.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/memory.h"
#include "testing.h"

enum { LEFT_BYTES = 1 << 20 };
static char said[1000];

/* From now on this process gets next to nothing more. */
static void memory_end(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + LEFT_BYTES;
    assert_int_equal(setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes}), 0);
}

/* The status of a process that dies so; `said` is what it wrote. */
static int status_of(void (*die)(void), bool lacking) {
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL); /* cmocka's own */
        signal(SIGABRT, SIG_DFL);
        no_memory_prepare();
        if (lacking)
            memory_end();
        die();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t)got;
    said[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Not NULL, which the sanitizers look for before the store. */
static volatile int *volatile nowhere;
static void die_by_a_fault(void) {
    nowhere = (volatile int *)(uintptr_t)sysconf(_SC_PAGESIZE);
    *nowhere = 1;
}
static void die_by_another(void) {
    kill(getpid(), SIGSEGV);
}
static void die_refused(void) {
    memory_refused(77);
}

static void is_told(void (*die)(void)) {
    int status = status_of(die, true);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), error_exit_code(ERR_LIMIT));
    assert_int_equal(strncmp(said, "walferry: no memory", 19), 0);
    assert_non_null(strstr(said, "\nhint: raise the limit (ulimit -v"));
}

static void a_death_without_memory_is_told(void **unused) {
    (void)unused;
    is_told(die_by_a_fault);
    is_told(abort);
    is_told(die_by_another);
    is_told(die_refused);
    assert_non_null(strstr(said, "no memory for 77 more bytes\n"));
}

static void a_death_with_memory_stays_one(void **unused) {
    (void)unused;
    void (*deaths[])(void) = {die_by_a_fault, abort, die_by_another};
    for (size_t at = 0; at < sizeof deaths / sizeof *deaths; at++) {
        int status = status_of(deaths[at], false);
        assert_true(WIFSIGNALED(status));
        assert_string_equal(said, "");
    }
}

static void json_has_its_memory_from_us(void **unused) {
    (void)unused;
    json_malloc_t take;
    json_free_t give;
    no_memory_prepare();
    json_get_alloc_funcs(&take, &give);
    assert_true(take == memory_raw && give == free);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_death_without_memory_is_told),
        cmocka_unit_test(a_death_with_memory_stays_one),
        cmocka_unit_test(json_has_its_memory_from_us),
    };
    return cmocka_run_group_tests_name("no_memory", tests, NULL, NULL);
}
