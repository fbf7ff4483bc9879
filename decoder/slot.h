/* slot: the job's replication slot: make it with an exported snapshot, look at it, drop it, and who the server is.
 * Only slots named dts_sync_* are ever made or dropped. Making a slot waits for every transaction that is open on the
 * source; the caller's `waiting` is told whom it waits for. */
#ifndef WALFERRY_DECODER_SLOT_H
#define WALFERRY_DECODER_SLOT_H

#include "core/pg.h"
#include "decoder/timeline.h"

typedef struct ServerIdentity {
    uint64_t system_id;
    uint32_t timeline;
    Lsn flushed;             /* the end of its log */
    TimelineHistory history; /* of that timeline */
} ServerIdentity;

typedef struct SlotBirth {
    Lsn point; /* consistent point: the snapshot shows every commit whose end is <= point, and no other */
    char snapshot[64]; /* as SET TRANSACTION SNAPSHOT takes it; until the session's next command */
} SlotBirth;

typedef enum SlotKind {
    SLOT_LASTING,      /* FAILOVER where the server has it (17 and newer) and takes it */
    SLOT_LASTING_HERE, /* without FAILOVER */
    SLOT_TEMPORARY
} SlotKind;

typedef struct SlotView {
    bool exists, active, logical;
    char plugin[64], database[64], wal_status[16];
    char invalidation[32]; /* why it lost its WAL (17+): "wal_removed", "idle_timeout", …; "" */
    int64_t active_pid;
    Lsn confirmed, restart;
    int64_t retained_bytes; /* WAL the server keeps for it */
    int64_t safe_bytes;     /* until max_slot_wal_keep_size; -1: no limit */
    bool two_phase;         /* a session has asked for two-phase: every further one must */
} SlotView;

/* On a walsender session. A server in recovery is refused (ERR_RETRY): a standby may be about to be promoted. */
bool slot_identify(Pg *walsender, ServerIdentity *out, Error *e);
/* `watcher` is a plain connection that looks whom the server waits for, about once a second; waiting may be NULL, and
 * returns false to give up (the command is cancelled, nothing is left behind). Gives up by itself after wait_ms. */
bool slot_create(Pg *walsender, Pg *watcher, const char *name, SlotKind kind, int64_t wait_ms,
                 bool (*waiting)(void *context, const char *whom), void *context, SlotBirth *out, Error *e);
bool slot_look(Pg *source, const char *name, SlotView *out, Error *e); /* exists = false: none of that name */
/* Absent is fine. An active one is refused (ERR_CONFIG) with its PID, after wait_ms. */
bool slot_drop(Pg *source, const char *name, int64_t wait_ms, Error *e);

#endif
