#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "snapshot/dump_intern.h"
#include "testing.h"

static bool shell_run(const char *script, const atomic_bool *stop, Writer *text, Error *e) {
    const char *const arguments[] = {"/bin/sh", "-c", script, NULL};
    DumpChild child = {.arguments = arguments, .input = -1, .output = -1, .extra = -1, .stop = stop};
    return dump_run(&child, text, e);
}

static void output_larger_than_a_pipe_comes_whole(void **unused) {
    (void)unused;
    Error e;
    Writer text = writer_new(1 << 20);
    assert_true(shell_run("head -c 300000 /dev/zero | tr '\\0' x; echo noise >&2", NULL, &text, &e));
    assert_int_equal(text.len, 300000);
    writer_free(&text);
}

static void a_failure_has_the_exit_code_and_the_last_lines(void **unused) {
    (void)unused;
    Error e;
    Writer text = writer_new(1000);
    assert_false(shell_run("for n in $(seq 200); do echo line $n >&2; done; exit 3", NULL, &text, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "exit code 3"));
    assert_non_null(strstr(e.text, "line 199; line 200"));
    assert_null(strstr(e.text, "line 1;"));
    writer_free(&text);
}

static void warnings_are_no_failure(void **unused) {
    (void)unused;
    Error e;
    Writer text = writer_new(1000);
    assert_true(shell_run("echo 'pg_dump: warning: of a test' >&2", NULL, &text, &e));
    assert_false(
        shell_run("echo 'pg_dump: warning: of a test' >&2; echo 'the reason' >&2; exit 1", NULL, &text, &e));
    assert_null(strstr(e.text, "warning"));
    assert_non_null(strstr(e.text, "the reason"));
    writer_free(&text);
}

static void what_passes_by_itself_is_tried_again(void **unused) {
    (void)unused;
    assert_int_equal(dump_run_kind("pg_dump: detail: Query was: LOCK TABLE public.a IN ACCESS SHARE MODE"),
                     ERR_RETRY);
    assert_int_equal(dump_run_kind("pg_dump: error: connection to server at \"a\" failed: refused"),
                     ERR_RETRY);
    assert_int_equal(dump_run_kind("pg_dump: detail: Query was: SET TRANSACTION SNAPSHOT '1'"), ERR_RETRY);
    assert_int_equal(dump_run_kind("pg_dump: error: query failed: ERROR:  permission denied"), ERR_CONFIG);
}

static void a_program_that_is_not_there_is_named(void **unused) {
    (void)unused;
    Error e;
    Writer text = writer_new(1000);
    const char *const arguments[] = {"/nonexistent/pg_dump", NULL};
    DumpChild child = {.arguments = arguments, .input = -1, .output = -1, .extra = -1};
    assert_false(dump_run(&child, &text, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "/nonexistent/pg_dump"));
    writer_free(&text);
}

static void descriptors_and_environment_are_passed(void **unused) {
    (void)unused;
    Error e;
    Writer text = writer_new(1000);
    int input = memfd_create("in", MFD_CLOEXEC), extra = memfd_create("extra", MFD_CLOEXEC),
        other = memfd_create("other", 0);
    assert_int_equal(write(input, "from input ", 11), 11);
    assert_int_equal(write(extra, "from extra ", 11), 11);
    assert_int_equal(lseek(input, 0, SEEK_SET), 0);
    const char *const arguments[] = {
        "/bin/sh", "-c", "/bin/cat; /bin/cat /proc/self/fd/3; echo $SECRET; ls /proc/self/fd | wc -l", NULL};
    char secret[] = "SECRET=told", path[] = "PATH=/usr/bin:/bin";
    char *const environment[] = {secret, path, NULL};
    DumpChild child = {
        .arguments = arguments, .environment = environment, .input = input, .output = -1, .extra = extra};
    assert_true(dump_run(&child, &text, &e));
    /* 0, 1, 2, 3 and the one that ls reads the folder with: `other` was not inherited. */
    assert_string_equal(writer_string(&text), "from input from extra told\n5\n");
    close(input);
    close(extra);
    close(other);
    writer_free(&text);
}

static void too_much_output_ends_the_child(void **unused) {
    (void)unused;
    Error e;
    Writer text = writer_new(100000);
    assert_false(shell_run("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", NULL, &text, &e));
    assert_int_equal(e.kind, ERR_LIMIT);
    writer_free(&text);
}

static void *stop_later(void *stop) {
    clock_sleep_ms(100);
    atomic_store((atomic_bool *)stop, true);
    return NULL;
}

static int64_t stopped_after_ms(const char *script) {
    atomic_bool stop = false;
    pthread_t thread;
    Error e;
    Writer text = writer_new(1000);
    int64_t began_ms = clock_ms();
    assert_int_equal(pthread_create(&thread, NULL, stop_later, &stop), 0);
    assert_false(shell_run(script, &stop, &text, &e));
    assert_int_equal(e.kind, ERR_STOPPED);
    pthread_join(thread, NULL);
    writer_free(&text);
    return clock_ms() - began_ms;
}

static void stop_ends_the_child_at_once(void **unused) {
    (void)unused;
    assert_true(stopped_after_ms("exec sleep 60") < 1500);
}

static void a_child_that_ignores_sigterm_is_killed(void **unused) {
    (void)unused;
    int64_t took_ms = stopped_after_ms("trap '' TERM; while :; do sleep 0.1; done");
    assert_true(took_ms >= 2000 && took_ms < 10000);
}

static bool is_alive(pid_t pid) {
    return kill(pid, 0) == 0;
}

static void a_killed_parent_takes_the_child_along(void **unused) {
    (void)unused;
    int told[2];
    pid_t grandchild = 0;
    assert_int_equal(pipe(told), 0);
    pid_t middle = fork();
    if (middle == 0) {
        Error e;
        const char *const arguments[] = {"/bin/sh", "-c", "echo $$; exec sleep 60 >/dev/null", NULL};
        DumpChild child = {.arguments = arguments, .input = -1, .output = told[1], .extra = -1};
        dump_run(&child, NULL, &e);
        _exit(0);
    }
    char text[32] = "";
    assert_true(read(told[0], text, sizeof text - 1) > 0);
    grandchild = atoi(text);
    assert_true(grandchild > 1 && is_alive(grandchild));
    assert_int_equal(kill(middle, SIGKILL), 0);
    assert_int_equal(waitpid(middle, NULL, 0), middle);
    char state = 'R';
    for (int look = 0; look < 200 && state != 'Z' && is_alive(grandchild); look++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/stat", (int)grandchild);
        FILE *file = fopen(path, "r");
        if (file != NULL && fscanf(file, "%*d %*s %c", &state) != 1)
            state = 'R';
        if (file != NULL)
            fclose(file);
        clock_sleep_ms(10);
    }
    assert_true(state == 'Z' || !is_alive(grandchild));
    close(told[0]);
    close(told[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_larger_than_a_pipe_comes_whole),
        cmocka_unit_test(a_failure_has_the_exit_code_and_the_last_lines),
        cmocka_unit_test(warnings_are_no_failure),
        cmocka_unit_test(what_passes_by_itself_is_tried_again),
        cmocka_unit_test(a_program_that_is_not_there_is_named),
        cmocka_unit_test(descriptors_and_environment_are_passed),
        cmocka_unit_test(too_much_output_ends_the_child),
        cmocka_unit_test(stop_ends_the_child_at_once),
        cmocka_unit_test(a_child_that_ignores_sigterm_is_killed),
        cmocka_unit_test(a_killed_parent_takes_the_child_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
