/* timeline: the way by which a server has come to its timeline, as its history file tells it. Positions in the
 * write-ahead log mean the same on two timelines only up to the fork: the point where the newer server left the older
 * timeline. Text from the wire: bounded, and refused when it is not of the known form. */
#ifndef WALFERRY_DECODER_TIMELINE_H
#define WALFERRY_DECODER_TIMELINE_H

#include "core/bytes.h"
#include "core/error.h"
#include "core/lsn.h"

/* The newest ones are kept: a job that stood still over more promotions than this is told that it has no way back. */
enum { TIMELINE_SWITCHES_MAX = 256, TIMELINE_HISTORY_MAX_BYTES = 1 << 20 };

typedef struct TimelineSwitch {
    uint32_t timeline;
    Lsn end; /* where it was left for the next one */
} TimelineSwitch;

typedef struct TimelineHistory {
    int count;                                      /* 0 also when the server has no history file */
    TimelineSwitch switches[TIMELINE_SWITCHES_MAX]; /* oldest first */
} TimelineHistory;

/* The history file of `timeline`: lines "number, LSN, reason", numbers rising and below it; ERR_PROTOCOL otherwise. */
bool timeline_parse(Slice text, uint32_t timeline, TimelineHistory *out, Error *e);
/* Up to where the ancestor and the history's timeline have the same log; false: it is none of its ancestors. */
bool timeline_fork(const TimelineHistory *history, uint32_t ancestor, Lsn *fork);

#endif
