#include "core/ticket.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"

struct Ticket {
    pthread_mutex_t lock;
    pthread_cond_t settled;
    TicketOutcome outcome;
    unsigned users;
};

Ticket *ticket_new(void) {
    Ticket *t = memory_new(sizeof *t);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->settled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    t->users = 1;
    return t;
}

void ticket_use(Ticket *t) {
    pthread_mutex_lock(&t->lock);
    assert(t->users > 0);
    t->users++;
    pthread_mutex_unlock(&t->lock);
}

void ticket_drop(Ticket *t) {
    pthread_mutex_lock(&t->lock);
    assert(t->users > 0);
    unsigned left = --t->users;
    pthread_mutex_unlock(&t->lock);
    if (left > 0)
        return;
    pthread_cond_destroy(&t->settled);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void ticket_settle(Ticket *t, TicketOutcome outcome) {
    pthread_mutex_lock(&t->lock);
    assert(t->outcome == TICKET_OPEN && outcome != TICKET_OPEN);
    t->outcome = outcome;
    pthread_cond_broadcast(&t->settled);
    pthread_mutex_unlock(&t->lock);
}

TicketOutcome ticket_outcome(Ticket *t) {
    return ticket_wait(t, 0);
}

TicketOutcome ticket_wait(Ticket *t, int wait_ms) {
    struct timespec until = clock_after_ms(wait_ms);
    pthread_mutex_lock(&t->lock);
    while (t->outcome == TICKET_OPEN && wait_ms > 0)
        if (pthread_cond_timedwait(&t->settled, &t->lock, &until) == ETIMEDOUT)
            break;
    TicketOutcome outcome = t->outcome;
    pthread_mutex_unlock(&t->lock);
    return outcome;
}
