#include "sink/postgres/workers.h"

#include <sched.h>

enum {
    WINDOW_MS = 1500,
    WAITED_PERCENT = 20, /* of a window: from here on another connection may win something */
    GAIN_PERCENT = 10,
    PAUSE_MS = 20 * 1000, /* between tries that came to nothing, */
    PAUSE_MS_MAX = 10 * 60 * 1000
};

int workers_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

void workers_begin(Workers *w, int wanted, int cores) {
    int most = wanted == WORKERS_AUTO ? cores : wanted;
    most = most > WORKERS_MOST ? WORKERS_MOST : most < 1 ? 1 : most;
    *w = (Workers){.most = most, .automatic = wanted == WORKERS_AUTO, .pause_ms = PAUSE_MS};
    w->now = w->steady = w->automatic ? 1 : most;
}

void workers_rest(Workers *w) {
    w->window_ms = 0;
}

void workers_limit(Workers *w, int most) {
    w->most = most;
    if (w->now > most)
        w->now = most;
    if (w->steady > most)
        w->steady = most;
    workers_rest(w);
}

static void try_more(Workers *w, double speed) {
    w->speed = speed;
    w->now = w->steady + 1;
}

static void tried(Workers *w, int64_t now_ms, double speed) {
    if (speed * 100 > w->speed * (100 + GAIN_PERCENT)) {
        w->steady = w->now;
        w->pause_ms = PAUSE_MS;
        return;
    }
    w->now = w->steady;
    w->next_try_ms = now_ms + w->pause_ms;
    w->pause_ms = w->pause_ms * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX : w->pause_ms * 2;
}

void workers_note(Workers *w, int64_t now_ms, int64_t changes, int64_t waited_ms) {
    if (!w->automatic)
        return;
    if (w->window_ms == 0) {
        w->window_ms = now_ms;
        w->changes = w->waited_ms = 0;
        return;
    }
    w->changes += changes;
    w->waited_ms += waited_ms;
    int64_t passed_ms = now_ms - w->window_ms;
    if (passed_ms < WINDOW_MS)
        return;
    double speed = (double)w->changes / (double)passed_ms;
    bool waits = w->waited_ms * 100 >= passed_ms * WAITED_PERCENT;
    workers_rest(w);
    if (w->now > w->steady)
        tried(w, now_ms, speed);
    if (w->now == w->steady && waits && w->now < w->most && now_ms >= w->next_try_ms)
        try_more(w, speed);
}
