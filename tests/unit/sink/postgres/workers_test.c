#include "sink/postgres/workers.h"
#include "testing.h"

typedef struct Play {
    Workers w;
    int64_t now_ms;
} Play;

static Play play(int wanted, int cores) {
    Play p = {.now_ms = 1};
    workers_begin(&p.w, wanted, cores);
    return p;
}

/* A run every 100 ms for so long; of the time so many percent are spent waiting. */
static void works(Play *p, int for_ms, int changes, int waited_percent) {
    for (int passed = 0; passed < for_ms; passed += 100) {
        p->now_ms += 100;
        workers_note(&p->w, p->now_ms, changes, waited_percent);
    }
}

/* Until it is tried to take one more. */
static void waits_for_a_try(Play *p, int changes) {
    int before = p->w.now;
    for (int step = 0; step < 20000 && p->w.now == before; step++)
        works(p, 100, changes, 50);
    assert_int_equal(p->w.now, before + 1);
}

static void a_number_is_taken_as_it_is(void **state) {
    (void)state;
    Play p = play(4, 2);
    works(&p, 60000, 100, 90);
    assert_int_equal(p.w.now, 4);
    assert_int_equal(play(99, 2).w.now, WORKERS_MOST);
}

static void it_begins_with_one_and_stays_while_nothing_waits(void **state) {
    (void)state;
    Play p = play(WORKERS_AUTO, 8);
    assert_int_equal(p.w.now, 1);
    works(&p, 60000, 100, 5);
    assert_int_equal(p.w.now, 1);
}

static void one_more_stays_where_it_is_faster(void **state) {
    (void)state;
    Play p = play(WORKERS_AUTO, 8);
    waits_for_a_try(&p, 100);
    works(&p, 1700, 115, 5);
    assert_int_equal(p.w.now, 2);
    works(&p, 60000, 115, 5);
    assert_int_equal(p.w.now, 2);
}

static void it_goes_on_as_long_as_that_helps_up_to_the_cores(void **state) {
    (void)state;
    Play p = play(WORKERS_AUTO, 4);
    for (int changes = 100; p.w.steady < 4; changes *= 2) {
        works(&p, 1600, changes, 50);
        assert_in_range(p.now_ms, 0, 20000);
    }
    works(&p, 60000, 100000, 90);
    assert_int_equal(p.w.now, 4);
}

static void on_one_core_nothing_is_tried(void **state) {
    (void)state;
    Play p = play(WORKERS_AUTO, 1);
    works(&p, 60000, 100, 90);
    assert_int_equal(p.w.now, 1);
}

static void one_more_that_wins_nothing_goes_and_comes_back_ever_later(void **state) {
    (void)state;
    Play p = play(WORKERS_AUTO, 8);
    int64_t pause_ms = 0;
    for (int round = 0; round < 4; round++) {
        int64_t from_ms = p.now_ms;
        waits_for_a_try(&p, 100);
        assert_true(p.now_ms - from_ms > pause_ms);
        pause_ms = p.now_ms - from_ms;
        works(&p, 1700, 109, 50);
        assert_int_equal(p.w.now, 1);
    }
    assert_true(pause_ms > 60000);
}

/* A window in which there was nothing to do says nothing. */
static void rest_breaks_a_window_off(void **state) {
    (void)state;
    Play p = play(WORKERS_AUTO, 8);
    for (int round = 0; round < 50; round++) {
        works(&p, 1000, 100, 90);
        workers_rest(&p.w);
    }
    assert_int_equal(p.w.now, 1);
}

static void what_cannot_be_had_is_not_tried_again(void **state) {
    (void)state;
    Play p = play(WORKERS_AUTO, 8);
    waits_for_a_try(&p, 100);
    workers_limit(&p.w, 1);
    assert_int_equal(p.w.now, 1);
    works(&p, 600000, 100, 90);
    assert_int_equal(p.w.now, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_taken_as_it_is),
        cmocka_unit_test(it_begins_with_one_and_stays_while_nothing_waits),
        cmocka_unit_test(one_more_stays_where_it_is_faster),
        cmocka_unit_test(it_goes_on_as_long_as_that_helps_up_to_the_cores),
        cmocka_unit_test(on_one_core_nothing_is_tried),
        cmocka_unit_test(one_more_that_wins_nothing_goes_and_comes_back_ever_later),
        cmocka_unit_test(rest_breaks_a_window_off),
        cmocka_unit_test(what_cannot_be_had_is_not_tried_again),
    };
    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
