#include "core/clock.h"

static int64_t microseconds(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_us(void) {
    return microseconds(CLOCK_MONOTONIC);
}
int64_t clock_ms(void) {
    return clock_us() / 1000;
}
int64_t clock_wall_us(void) {
    return microseconds(CLOCK_REALTIME);
}

struct timespec clock_after_ms(int wait_ms) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += wait_ms / 1000;
    at.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

void clock_sleep_us(int64_t us) {
    struct timespec wait = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    nanosleep(&wait, NULL);
}
void clock_sleep_ms(int64_t ms) {
    clock_sleep_us(ms * 1000);
}
