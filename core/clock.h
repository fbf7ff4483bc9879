/* clock: the two clocks. Durations and deadlines use the monotonic one; the wall clock is for people and for what
 * is compared with a server's timestamps. */
#ifndef WALFERRY_CORE_CLOCK_H
#define WALFERRY_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

int64_t clock_us(void);      /* monotonic microseconds */
int64_t clock_ms(void);      /* monotonic milliseconds */
int64_t clock_wall_us(void); /* microseconds since 1970 */
/* The monotonic moment some time from now, for pthread_cond_timedwait on a condition of that clock. */
struct timespec clock_after_ms(int wait_ms);
void clock_sleep_us(int64_t us); /* at least; a signal ends it */
void clock_sleep_ms(int64_t ms);

/* PostgreSQL counts microseconds from 2000-01-01 (protocol chapter "Streaming Replication Protocol"). */
#define CLOCK_PG_EPOCH_US INT64_C(946684800000000)

#endif
