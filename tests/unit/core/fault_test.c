#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fault.h"
#include "testing.h"

#ifdef WALFERRY_FAULTS

/* The orders are read once a process, so each case is a child of its own; what it writes into `answer` comes
 * back. */
typedef struct Answer {
    char text[700];
    bool acted[2000];
} Answer;

static int child_run(const char *orders, void (*body)(Answer *), Answer *answer) {
    int ends[2];
    memset(answer, 0, sizeof *answer);
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (orders != NULL)
            setenv("WALFERRY_FAULT", orders, 1);
        else
            unsetenv("WALFERRY_FAULT");
        freopen("/dev/null", "w", stderr);
        body(answer);
        for (size_t done = 0; done < sizeof *answer;)
            done += (size_t)write(ends[1], (char *)answer + done, sizeof *answer - done);
        _exit(0);
    }
    close(ends[1]);
    ssize_t got;
    for (size_t done = 0; (got = read(ends[0], (char *)answer + done, sizeof *answer - done)) > 0;)
        done += (size_t)got;
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static void hit_ten_times(Answer *answer) {
    Error e = {.kind = ERR_NONE};
    for (int hit = 0; hit < 10; hit++)
        answer->acted[hit] = !FAULT("point", &e);
    snprintf(answer->text, sizeof answer->text, "%s: %s", error_kind_name(e.kind), e.text);
}

/* "..x......." : which of ten hits failed. */
static void assert_hits(const char *orders, const char *expected) {
    Answer answer;
    assert_int_equal(child_run(orders, hit_ten_times, &answer), 0);
    for (int hit = 0; hit < 10; hit++)
        if (answer.acted[hit] != (expected[hit] == 'x'))
            fail_test("hit %d of \"%s\"", hit + 1, orders);
}

static void without_orders_every_point_goes_on(void **unused) {
    (void)unused;
    assert_hits(NULL, "..........");
    assert_hits("", "..........");
    assert_hits("other:fail", "..........");
    assert_hits("poin:fail,points:fail", "..........");
}

static void fail_fails_every_time_or_at_the_nth_hit(void **unused) {
    (void)unused;
    assert_hits("point:fail", "xxxxxxxxxx");
    assert_hits("point:fail@1", "x.........");
    assert_hits("point:fail@10", ".........x");
    assert_hits("point:fail@11", "..........");
}

static void several_orders_count_the_same_hits(void **unused) {
    (void)unused;
    assert_hits("point:fail@2,other:kill,point:fail@3,point:fail@7", ".xx...x...");
    assert_hits("point:sleep:0,point:fail@5", "....x.....");
}

static void a_failure_has_the_kind_that_was_asked_for(void **unused) {
    (void)unused;
    static const char *const KINDS[] = {"retry", "config", "lost", "protocol", "data", "limit"};
    Answer answer;
    for (size_t kind = 0; kind < sizeof KINDS / sizeof *KINDS; kind++) {
        char orders[60], expected[100];
        snprintf(orders, sizeof orders, "point:fail:%s", KINDS[kind]);
        snprintf(expected, sizeof expected, "%s: fault point \"point\" was told to fail", KINDS[kind]);
        assert_int_equal(child_run(orders, hit_ten_times, &answer), 0);
        assert_string_equal(answer.text, expected);
    }
    assert_int_equal(child_run("point:fail", hit_ten_times, &answer), 0);
    assert_memory_equal(answer.text, "retry: ", 7);
}

static void hit_without_an_error(Answer *answer) {
    answer->acted[0] = !FAULT("point", NULL);
}

static void a_caller_may_want_no_error(void **unused) {
    (void)unused;
    Answer answer;
    assert_int_equal(child_run("point:fail", hit_without_an_error, &answer), 0);
    assert_true(answer.acted[0]);
}

static void kill_is_sigkill(void **unused) {
    (void)unused;
    Answer answer;
    int status = child_run("point:kill@3", hit_ten_times, &answer);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void hit_and_time(Answer *answer) {
    Error e;
    int64_t began_ms = clock_ms();
    answer->acted[0] = !FAULT("point", &e);
    answer->acted[1] = clock_ms() - began_ms >= 49;
}

static void sleep_sleeps_and_goes_on(void **unused) {
    (void)unused;
    Answer answer;
    assert_int_equal(child_run("point:sleep:50", hit_and_time, &answer), 0);
    assert_false(answer.acted[0]);
    assert_true(answer.acted[1]);
}

static void end_by_alarm(int signal) {
    (void)signal;
    _exit(7);
}

static void hit_under_alarm(Answer *answer) {
    Error e;
    signal(SIGALRM, end_by_alarm);
    ualarm(50000, 0);
    answer->acted[0] = !FAULT("point", &e);
}

static void block_never_returns_but_takes_signals(void **unused) {
    (void)unused;
    Answer answer;
    int status = child_run("point:block", hit_under_alarm, &answer);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void hit_often(Answer *answer) {
    Error e;
    for (size_t hit = 0; hit < sizeof answer->acted; hit++)
        answer->acted[hit] = !FAULT("point", &e);
}

static int count_acted(const Answer *answer) {
    int count = 0;
    for (size_t hit = 0; hit < sizeof answer->acted; hit++)
        count += answer->acted[hit];
    return count;
}

static void probability_follows_the_seed(void **unused) {
    (void)unused;
    Answer first, again, other;
    setenv("WALFERRY_FAULT_SEED", "42", 1);
    assert_int_equal(child_run("point:fail~0.25", hit_often, &first), 0);
    assert_int_equal(child_run("point:fail~0.25", hit_often, &again), 0);
    setenv("WALFERRY_FAULT_SEED", "43", 1);
    assert_int_equal(child_run("point:fail~0.25", hit_often, &other), 0);
    unsetenv("WALFERRY_FAULT_SEED");
    assert_in_range(count_acted(&first), 400, 600); /* 500 of 2000 expected */
    assert_memory_equal(first.acted, again.acted, sizeof first.acted);
    assert_memory_not_equal(first.acted, other.acted, sizeof first.acted);
    assert_int_equal(child_run("point:fail~0", hit_often, &first), 0);
    assert_int_equal(count_acted(&first), 0);
    assert_int_equal(child_run("point:fail@7~1", hit_often, &first), 0);
    assert_int_equal(count_acted(&first), 1);
    assert_true(first.acted[6]);
}

static void *hit_from_a_thread(void *count) {
    Error e;
    for (int hit = 0; hit < 5000; hit++)
        if (!FAULT("point", &e))
            ++*(int *)count;
    return NULL;
}

static void hit_from_threads(Answer *answer) {
    pthread_t threads[4];
    int counts[4] = {0}, total = 0;
    for (int thread = 0; thread < 4; thread++)
        pthread_create(&threads[thread], NULL, hit_from_a_thread, &counts[thread]);
    for (int thread = 0; thread < 4; thread++) {
        pthread_join(threads[thread], NULL);
        total += counts[thread];
    }
    snprintf(answer->text, sizeof answer->text, "%d", total);
}

static void exactly_one_thread_meets_the_nth_hit(void **unused) {
    (void)unused;
    Answer answer;
    assert_int_equal(child_run("point:fail@10000,point:fail@20000", hit_from_threads, &answer), 0);
    assert_string_equal(answer.text, "2");
}

static void points_that_acted_are_written_down_before_they_act(void **unused) {
    (void)unused;
    char path[] = "/tmp/walferry-fault-XXXXXX", text[100] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    setenv("WALFERRY_FAULT_LOG", path, 1);
    Answer answer;
    child_run("point:fail@2,point:kill@4,other:fail", hit_ten_times, &answer);
    unsetenv("WALFERRY_FAULT_LOG");
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    unlink(path);
    assert_string_equal(text, "point\npoint\n");
}

static void misspelt_orders_end_the_program(void **unused) {
    (void)unused;
    static const char *const WRONG[] = {"point",           "point:",       ":fail",           "point:explode",
                                        "point:fail@",     "point:fail@0", "point:fail@x",    "point:fail@-1",
                                        "point:fail~",     "point:fail~2", "point:fail~-0.1", "point:fail~x",
                                        "point:fail:odd",  "point:sleep",  "point:sleep:x",   "point:fail,",
                                        "point:fail:none", "point:kill 5"};
    Answer answer;
    for (size_t wrong = 0; wrong < sizeof WRONG / sizeof *WRONG; wrong++) {
        int status = child_run(WRONG[wrong], hit_ten_times, &answer);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_test("\"%s\" was taken", WRONG[wrong]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_orders_every_point_goes_on),
        cmocka_unit_test(fail_fails_every_time_or_at_the_nth_hit),
        cmocka_unit_test(several_orders_count_the_same_hits),
        cmocka_unit_test(a_failure_has_the_kind_that_was_asked_for),
        cmocka_unit_test(a_caller_may_want_no_error),
        cmocka_unit_test(kill_is_sigkill),
        cmocka_unit_test(sleep_sleeps_and_goes_on),
        cmocka_unit_test(block_never_returns_but_takes_signals),
        cmocka_unit_test(probability_follows_the_seed),
        cmocka_unit_test(exactly_one_thread_meets_the_nth_hit),
        cmocka_unit_test(points_that_acted_are_written_down_before_they_act),
        cmocka_unit_test(misspelt_orders_end_the_program),
    };
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}

#else

static void without_faults_every_point_goes_on(void **unused) {
    (void)unused;
    assert_true(FAULT("point", NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_faults_every_point_goes_on)};
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}

#endif
