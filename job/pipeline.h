/* pipeline: one session of the stream: recovery, then source ─▶ queue ─▶ sink until somebody stops it, `until` is
 * reached, or something fails. A session never mends itself: whatever fails, the next session begins at recovery, so
 * that the way after an error is the way after kill -9.
 *
 *   pipeline.c         what its threads share (this file)
 *   indexer.c          indexes that the source has got, made beside the stream
 *   target_wait.c      who holds the lock that the sink waits for (F81)
 *   keeper.c           heartbeat, guard, lag; and the ear for a source that is shutting down (trap A13)
 *   pipeline_sink.c    one thread a sink: write, settle, promise
 *   pipeline_source.c  source thread: frames in, batches out, status back (also while a queue is full, L15)
 *   pipeline_recover.c the sinks and where they stand
 *   pipeline_open.c    opening, in the order that makes it exclusive: the slot, the locks, the positions (trap A6)
 *   pipeline_run.c     the session: threads, what is watched meanwhile, ending */
#ifndef WALFERRY_JOB_PIPELINE_H
#define WALFERRY_JOB_PIPELINE_H

#include <pthread.h>

#include "core/ledger.h"
#include "core/pause.h"
#include "core/queue.h"
#include "decoder/assembler.h"
#include "decoder/heartbeat.h"
#include "decoder/slot.h"
#include "decoder/stream.h"
#include "job/job.h"
#include "sink/sink.h"

enum { BEATS_REMEMBERED = 64 };

typedef struct Pipeline {
    Job *job;
    const Selection *selection;
    Lsn until;         /* none: no end */
    bool until_is_now; /* `until` is to be found by a beat of our own */
    bool gives_way;    /* to tables that are to be loaded again: only where the walk comes to them next */
    /* Prepared transactions are asked for at their PREPARE; not before all tables are of one moment: whether a row of
     * theirs is due depends on when they commit. */
    bool two_phase;
    bool binary;            /* the stream's values */
    atomic_bool wants_text; /* a sink cannot take them so */

    int sink_count;
    const SinkOps *ops[LEDGER_SINKS_MAX];
    Sink *sinks[LEDGER_SINKS_MAX];
    Queue *queues[LEDGER_SINKS_MAX];
    Lsn applied[LEDGER_SINKS_MAX];     /* peeked at, then at recovery */
    Position begins[LEDGER_SINKS_MAX]; /* where the sinks before each stand */
    atomic_int sinks_left;             /* sink threads that have not ended */
    Pause sinks_ended;                 /* none is left: whoever looks on ends */

    Stream *stream; /* source thread's, once it runs */
    Assembler *assembler;
    JournalSpace spill;
    Ledger *ledger;
    Lsn received;
    Lsn begin;      /* where the server begins to send */
    Lsn early_from; /* behind it a streamed transaction is due for every table of the sink that takes parts */

    int64_t sender_timeout_ms; /* the source's own; 0: none */
    Pg *keeper;                /* keeper thread's, once it runs */
    HeartbeatForm heartbeat;
    _Atomic int64_t beat_made_us[BEATS_REMEMBERED]; /* monotonic, by number modulo */

    atomic_bool failed;      /* somebody failed: everybody ends at once */
    atomic_bool source_down; /* the source is going away: close the stream without a word */
    TargetWait target_wait;  /* the database sink's */
    atomic_bool reached;     /* `until` was passed by the reader */
    bool stream_lost;        /* the stream's connection broke, while the source was there */
    bool undecodable;        /* the source failed while it was decoding */
    pthread_mutex_t lock;    /* guards error */
    Error error;             /* the first one */
} Pipeline;

/* Any thread of the session: */
void pipeline_sinks_ended(Pipeline *p, int count);
void pipeline_fail(Pipeline *p, const Error *e); /* the first one counts */
bool pipeline_ending(const Pipeline *p);         /* failed, or somebody wants it to end */

#endif
