/* slot_tell: what was seen of the job's slot, into the metrics, and warnings while there is time to do something about
 * it (F30). */
#ifndef WALFERRY_JOB_SLOT_TELL_H
#define WALFERRY_JOB_SLOT_TELL_H

#include "core/metrics.h"
#include "decoder/slot.h"

typedef struct SlotTelling {
    char wal_status[16]; /* as it was last told of */
} SlotTelling;

void slot_tell(SlotTelling *told, const char *name, const SlotView *slot, Metrics *m);

#endif
