#include "core/throttle.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/memory.h"

Throttle *throttle_new(void) {
    Throttle *t = memory_new(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void throttle_free(Throttle *t) {
    if (t == NULL)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void throttle_set(Throttle *t, ThrottleKind kind, int64_t per_s, int64_t now_us) {
    assert(per_s >= 0);
    pthread_mutex_lock(&t->lock);
    int64_t before = atomic_load(&t->per_s[kind]);
    double debt_us = t->paid_us[kind] - (double)now_us;
    if (before == 0 || per_s == 0 || debt_us < 0)
        t->paid_us[kind] = (double)now_us;
    else
        t->paid_us[kind] = (double)now_us + debt_us * (double)before / (double)per_s;
    atomic_store(&t->per_s[kind], per_s);
    pthread_mutex_unlock(&t->lock);
}

int64_t throttle_get(const Throttle *t, ThrottleKind kind) {
    return atomic_load(&t->per_s[kind]);
}

void throttle_take(Throttle *t, ThrottleKind kind, int64_t amount, int64_t now_us) {
    if (throttle_get(t, kind) == 0)
        return;
    pthread_mutex_lock(&t->lock);
    int64_t per_s = atomic_load(&t->per_s[kind]);
    double oldest_us = (double)now_us - THROTTLE_CREDIT_US;
    if (t->paid_us[kind] < oldest_us)
        t->paid_us[kind] = oldest_us;
    if (per_s > 0)
        t->paid_us[kind] += (double)amount * 1e6 / (double)per_s;
    pthread_mutex_unlock(&t->lock);
}

int64_t throttle_wait_us(Throttle *t, int64_t now_us) {
    double paid_us = (double)now_us;
    bool limited = false;
    for (int kind = 0; kind < THROTTLE_KINDS; kind++)
        limited = limited || throttle_get(t, (ThrottleKind)kind) > 0;
    if (!limited)
        return 0;
    pthread_mutex_lock(&t->lock);
    for (int kind = 0; kind < THROTTLE_KINDS; kind++)
        if (atomic_load(&t->per_s[kind]) > 0 && t->paid_us[kind] > paid_us)
            paid_us = t->paid_us[kind];
    pthread_mutex_unlock(&t->lock);
    double left_us = paid_us - (double)now_us;
    return left_us > 0 ? (int64_t)left_us + 1 : 0;
}
