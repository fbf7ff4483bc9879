/* pause: how a thread waits between two looks: so long, or until it is told that there is nothing more to look for, which
 * it hears at once. pause_end may be called by any thread, once or more; the waiting ones are joined before pause_free. */
#ifndef WALFERRY_CORE_PAUSE_H
#define WALFERRY_CORE_PAUSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Pause {
    int fd; /* an eventfd; -1: there was none to be had, and the end is heard a little later */
    atomic_bool over;
} Pause;

void pause_new(Pause *pause);
void pause_free(Pause *pause);
/* Waits; true: go on. Without a wait when it is over already. */
bool pause_for(Pause *pause, int64_t ms);
/* The same, but what `socket` has to say ends the wait, too: *readable. */
bool pause_listen(Pause *pause, int64_t ms, int socket, bool *readable);
void pause_end(Pause *pause);

#endif
