#include "core/pause.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"

enum { STEP_MS = 50 };

void pause_new(Pause *pause) {
    pause->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_init(&pause->over, false);
}

void pause_free(Pause *pause) {
    if (pause->fd >= 0)
        close(pause->fd);
    pause->fd = -1;
}

bool pause_listen(Pause *pause, int64_t ms, int socket, bool *readable) {
    int64_t until_ms = clock_ms() + ms, left_ms = ms;
    *readable = false;
    while (!atomic_load(&pause->over) && left_ms > 0 && !*readable) {
        struct pollfd both[] = {{pause->fd, POLLIN, 0},
                                {socket, POLLIN, 0}}; /* negative ones are passed over */
        int64_t step_ms = pause->fd < 0 && left_ms > STEP_MS ? STEP_MS : left_ms;
        *readable = poll(both, 2, (int)step_ms) > 0 && both[1].revents != 0;
        left_ms = until_ms - clock_ms();
    }
    return !atomic_load(&pause->over);
}

bool pause_for(Pause *pause, int64_t ms) {
    bool ignored;
    return pause_listen(pause, ms, -1, &ignored);
}

void pause_end(Pause *pause) {
    atomic_store(&pause->over, true);
    if (pause->fd >= 0)
        eventfd_write(pause->fd, 1);
}
