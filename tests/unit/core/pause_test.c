#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/pause.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

static void so_long_unless_it_is_over(void **state) {
    (void)state;
    Pause pause;
    pause_new(&pause);
    int64_t begin_us = clock_us();
    assert_true(pause_for(&pause, 20));
    assert_true(clock_us() - begin_us >= 20000);
    pause_end(&pause);
    begin_us = clock_us();
    assert_false(pause_for(&pause, 60000));
    assert_true(clock_us() - begin_us < 10000000);
    pause_free(&pause);
}

static void a_socket_ends_the_wait_too(void **state) {
    (void)state;
    Pause pause;
    int ends[2];
    bool readable;
    pause_new(&pause);
    assert_int_equal(pipe(ends), 0);
    assert_true(pause_listen(&pause, 5, ends[0], &readable));
    assert_false(readable);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(pause_listen(&pause, 60000, ends[0], &readable));
    assert_true(readable);
    close(ends[0]);
    close(ends[1]);
    pause_free(&pause);
}

static void without_a_descriptor_it_waits_in_steps(void **state) {
    (void)state;
    Pause pause;
    pause_new(&pause);
    close(pause.fd);
    pause.fd = -1;
    assert_true(pause_for(&pause, 60));
    pause_end(&pause);
    assert_false(pause_for(&pause, 60000));
    pause_free(&pause);
}

static void *waiter(void *pause) {
    while (pause_for(pause, 60000))
        ;
    return NULL;
}

static void the_end_is_heard_at_once(void **state) {
    (void)state;
    Pause pause;
    pthread_t thread;
    pause_new(&pause);
    assert_int_equal(pthread_create(&thread, NULL, waiter, &pause), 0);
    clock_sleep_ms(20);
    int64_t begin_us = clock_us();
    pause_end(&pause);
    pthread_join(thread, NULL);
    assert_true(clock_us() - begin_us < 10000000);
    pause_free(&pause);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_long_unless_it_is_over),
        cmocka_unit_test(a_socket_ends_the_wait_too),
        cmocka_unit_test(without_a_descriptor_it_waits_in_steps),
        cmocka_unit_test(the_end_is_heard_at_once),
    };
    return cmocka_run_group_tests_name("pause", tests, NULL, NULL);
}
