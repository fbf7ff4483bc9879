/* throttle: limits that all workers of a load share: queries, rows and bytes in a second. Who works takes first and then
 * waits for as long as it is told; what is too much for a moment is a debt of all. A limit may be changed at any time:
 * a debt is then paid at the new speed. Time is an argument and nothing sleeps here. Any thread. */
#ifndef WALFERRY_CORE_THROTTLE_H
#define WALFERRY_CORE_THROTTLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

typedef enum ThrottleKind { THROTTLE_QUERIES, THROTTLE_ROWS, THROTTLE_BYTES, THROTTLE_KINDS } ThrottleKind;

/* What was not used is kept for so long: a wait that took longer than it had to costs no speed. */
enum { THROTTLE_CREDIT_US = 100000 };

typedef struct Throttle {
    atomic_llong per_s[THROTTLE_KINDS]; /* 0: no limit */
    pthread_mutex_t lock;
    double paid_us[THROTTLE_KINDS]; /* monotonic clock: until then everything taken is paid for */
} Throttle;

Throttle *throttle_new(void); /* without limits */
void throttle_free(Throttle *t);
void throttle_set(Throttle *t, ThrottleKind kind, int64_t per_s, int64_t now_us);
int64_t throttle_get(const Throttle *t, ThrottleKind kind);
void throttle_take(Throttle *t, ThrottleKind kind, int64_t amount, int64_t now_us);
/* How long everybody has to wait until all that was taken is paid for; 0: go on. */
int64_t throttle_wait_us(Throttle *t, int64_t now_us);

#endif
