/* sink: where changes go. The interface that every sink implements, and the list of sinks.
 * All members are called from one thread, the sink's own; every call may be the last before kill -9. */
#ifndef WALFERRY_SINK_SINK_H
#define WALFERRY_SINK_SINK_H

#include "core/change.h"
#include "core/config.h"
#include "core/error.h"
#include "core/metrics.h"
#include "core/selection.h"
#include "core/throttle.h"

typedef struct Position {
    Lsn applied; /* end of the last transaction that is in the sink: skip, start, timeline check (trap A9) */
    Lsn bound;   /* highest position that may have been confirmed; at least `applied` */
    uint64_t system_id;
    uint32_t timeline;
    Lsn loaded; /* newest snapshot of a loaded table, or none: counts as applied for the timeline check (A9) */
} Position;

/* Between a sink that waits for its destination and whoever looks after it from another connection. */
typedef struct TargetWait {
    atomic_bool silent;       /* set by the one who looks: whoever waits for the destination gives up */
    atomic_int backend_pid;   /* set by the sink: its session there */
    _Atomic int64_t since_ms; /* set by the sink: waiting without a byte since then; 0: not waiting */
} TargetWait;

typedef struct SinkOptions {
    const Config *cfg;
    const Selection *selection;
    Metrics *metrics;
    /* Where a sink begins that has no record yet: where the sinks before it stand, seen until recover is called, certain
     * then. NULL or none: it has had one, which is lost. */
    const Position *begin;
    TargetWait *wait; /* NULL: nobody looks */
    /* The stream's values come in binary, those of every column (trap B3); decided before the first write. A sink that
     * cannot take them so sets wants_text and fails to be retried. NULL: text. */
    const bool *binary;
    atomic_bool *wants_text;
    Throttle *throttle; /* of the changes; NULL: none */
    bool (*ending)(
        void *context); /* the session is to end: whoever waits for the throttle goes on; NULL: never */
    void *context;
} SinkOptions;

typedef struct Sink Sink;

typedef struct SinkOps {
    const char *name;
    /* Takes transactions in parts while they arrive, and settles their tickets; at most one sink of a job does. */
    bool parts;
    /* Connects or opens; may block. Writes nothing. */
    Sink *(*open)(const SinkOptions *options, Error *e);
    /* Where it seems to stand, read without the lock: only for choosing where the stream begins. With two_phase that
     * is on the destination's disk when it returns. */
    bool (*peek)(Sink *s, Position *out, Error *e);
    /* Takes the job's lock, exclusively first, and says where it stands. Called by the owner of the slot:
     * left-over holders are ended. From here on nobody else writes. */
    bool (*recover)(Sink *s, Position *out, Error *e);
    /* The source is on a new timeline: `now` is noted durably, before anything of it is taken in (trap A9). */
    bool (*follow)(Sink *s, const Position *now, Error *e);
    /* Takes in one batch and keeps a use of it for as long as it needs; may block on the destination. Skips
     * whole transactions with end <= applied. Nothing of a transaction is visible before it is whole. */
    bool (*write)(Sink *s, Batch *b, Error *e);
    /* Commits what can be committed (`flush`: now, nothing more is coming at the moment) and says how far
     * everything survives a power cut. Waits at most wait_ms for durability. */
    bool (*settle)(Sink *s, bool flush, int wait_ms, Lsn *durable, Error *e);
    /* Notes durably that the slot may stand at `upto`, before it is told. */
    bool (*promise)(Sink *s, Lsn upto, Error *e);
    /* Ends without committing what is not committed; never blocks for long. */
    void (*close)(Sink *s);
} SinkOps;

extern const SinkOps sink_apply; /* a PostgreSQL destination, rows and progress in one transaction */
extern const SinkOps sink_file;  /* JSON lines */
extern const SinkOps sink_kafka; /* records in topics */

/* The sinks that this job needs, in a fixed order; returns how many (at most LEDGER_SINKS_MAX). */
int sink_list(const Config *cfg, const SinkOps **out);

#endif
