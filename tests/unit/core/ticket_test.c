#include "core/ticket.h"

#include <pthread.h>

#include "core/clock.h"
#include "testing.h"

static void *settle_later(void *ticket) {
    clock_sleep_ms(50);
    ticket_settle(ticket, TICKET_APPLIED);
    ticket_drop(ticket);
    return NULL;
}

static void whoever_waits_hears_of_it(void **unused) {
    (void)unused;
    pthread_t other;
    Ticket *t = ticket_new();
    assert_int_equal(ticket_outcome(t), TICKET_OPEN);
    assert_int_equal(ticket_wait(t, 1), TICKET_OPEN);
    ticket_use(t);
    assert_int_equal(pthread_create(&other, NULL, settle_later, t), 0);
    assert_int_equal(ticket_wait(t, 20000), TICKET_APPLIED);
    assert_int_equal(ticket_wait(t, 20000), TICKET_APPLIED);
    pthread_join(other, NULL);
    assert_int_equal(ticket_outcome(t), TICKET_APPLIED);
    ticket_drop(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whoever_waits_hears_of_it)};
    return cmocka_run_group_tests_name("ticket", tests, NULL, NULL);
}
