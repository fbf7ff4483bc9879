/* workers: on how many connections runs are applied at the same time. Pure: time and counts are arguments.
 *
 * "auto" begins with one. While the sink waits for the destination with the next run collected, one more is tried for as
 * long as a window, and stays where the changes per second rose by more than a tenth; else it goes again, and the next
 * try comes later each time. So where the source, this machine or a single lock is what holds things up, it is one. */
#ifndef WALFERRY_SINK_WORKERS_H
#define WALFERRY_SINK_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

enum { WORKERS_AUTO = -1, WORKERS_MOST = 16 };

typedef struct Workers {
    int now;    /* how many there should be, at least 1 */
    int steady; /* less than `now` while one more is tried */
    int most;
    bool automatic;
    int64_t window_ms; /* when the window began; 0: it begins with the next run */
    int64_t changes, waited_ms;
    double speed; /* changes a millisecond in the window before the try */
    int64_t next_try_ms, pause_ms;
} Workers;

/* wanted: WORKERS_AUTO, or how many; cores: that this process may use. */
void workers_begin(Workers *w, int wanted, int cores);
/* A run of so many changes was committed, and waited for so long with the next one collected. */
void workers_note(Workers *w, int64_t now_ms, int64_t changes, int64_t waited_ms);
/* Work has stopped: what this window has seen says nothing. */
void workers_rest(Workers *w);
/* No more than this can be had. */
void workers_limit(Workers *w, int most);
/* Of the cores that this process may use. */
int workers_cores(void);

#endif
