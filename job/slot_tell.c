#include "job/slot_tell.h"

#include <stdio.h>
#include <string.h>

#include "core/log.h"

static void status_tell(SlotTelling *told, const char *name, const SlotView *slot) {
    if (strcmp(told->wal_status, slot->wal_status) == 0)
        return;
    if (strcmp(slot->wal_status, "extended") == 0)
        log_warn("slot \"%s\" keeps %lld bytes of WAL, more than max_wal_size (wal_status extended)", name,
                 (long long)slot->retained_bytes);
    else if (strcmp(slot->wal_status, "unreserved") == 0)
        log_warn("slot \"%s\" is about to lose its WAL (wal_status unreserved): the next checkpoint of the "
                 "source may remove what is not read yet; raise max_slot_wal_keep_size",
                 name);
    else if (told->wal_status[0] != '\0')
        log_info("slot \"%s\": wal_status %s", name, slot->wal_status);
    snprintf(told->wal_status, sizeof told->wal_status, "%s", slot->wal_status);
}

void slot_tell(SlotTelling *told, const char *name, const SlotView *slot, Metrics *m) {
    status_tell(told, name, slot);
    atomic_store(&m->restart_lsn, slot->restart.at);
    atomic_store(&m->retained_bytes, slot->retained_bytes);
    atomic_store(&m->safe_wal_bytes, slot->safe_bytes);
    pthread_mutex_lock(&m->lock);
    snprintf(m->wal_status, sizeof m->wal_status, "%s", slot->wal_status);
    pthread_mutex_unlock(&m->lock);
}
