/* relay: the bytes of one COPY from the source to the destination, unread. Both sockets are polled, so that
 * neither end is starved and a stop is seen at once; a slow destination holds the source back, so memory
 * stays bounded by RELAY_UNSENT_BYTES and the largest row. */
#ifndef WALFERRY_SNAPSHOT_RELAY_H
#define WALFERRY_SNAPSHOT_RELAY_H

#include <stdatomic.h>

#include "core/metrics.h"
#include "core/pg.h"
#include "core/throttle.h"

enum { RELAY_UNSENT_BYTES = 256 * 1024, RELAY_GATHERED_BYTES = 64 * 1024 };

typedef struct Relay {
    Pg *source, *target; /* in COPY OUT and COPY IN */
    const atomic_bool *stop;
    TableMetrics *progress;
    Metrics *metrics;
    Throttle *throttle;  /* rows and bytes, as they are read */
    int64_t rows, bytes; /* relayed so far; rows by COPY's own count when it is over */
    int64_t told_rows, told_bytes;
    size_t unsent_bytes;
    size_t gathered_bytes;
    char gathered
        [RELAY_GATHERED_BYTES]; /* rows that go in one message: the server reads few large ones faster */
    bool owes;                  /* more was read than the throttle allows yet */
    int64_t refused;            /* which CopyData, from 1, the source had to end before; 0: none */
    bool target_spoke;          /* during its COPY: it has something to complain about */
} Relay;

/* True: both COPYs ended well with the same count of rows. False: either may still be under way; the caller
 * cuts. */
bool relay_run(Relay *r, Error *e);
/* Takes what was told to the metrics back: the table was not loaded. */
void relay_untell(Relay *r);

#endif
