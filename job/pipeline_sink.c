#include "job/pipeline_sink.h"

#include "core/clock.h"
#include "core/fault.h"

/* UNSETTLED: durability is asked for. SETTLED: there is nothing to do; a batch wakes the thread. */
enum { UNSETTLED_WAIT_MS = 50, SETTLED_WAIT_MS = 200, LAST_SETTLE_MS = 5000 };

/* One sink's thread. */
typedef struct Turn {
    bool busy, ended;
    Lsn written, durable; /* ends of transactions; written: of the last one handed over */
} Turn;

static bool settle(Pipeline *p, int number, Turn *turn, bool flush, int wait_ms, Error *e) {
    if (!p->ops[number]->settle(p->sinks[number], flush, wait_ms, &turn->durable, e))
        return false;
    ledger_durable(p->ledger, number, turn->durable);
    return FAULT("ledger.after_durable", e);
}

static int wait_of(const Turn *turn) {
    bool settled = !lsn_before(turn->durable, turn->written);
    return turn->busy ? 0 : settled ? SETTLED_WAIT_MS : UNSETTLED_WAIT_MS;
}

/* With a heartbeat only transaction ends are confirmed; without one an idle position may be, once every sink
 * has noted durably that the slot may stand there (trap B11). */
static bool promise_when_wanted(Pipeline *p, int number, Error *e) {
    if (p->heartbeat != HEARTBEAT_OFF)
        return true;
    Lsn upto = ledger_promise_wanted(p->ledger, clock_ms());
    if (lsn_is_none(upto))
        return true;
    if (!p->ops[number]->promise(p->sinks[number], upto, e))
        return false;
    ledger_promised(p->ledger, number, upto);
    return true;
}

/* What waits behind a throttle when the end is asked for stays with the source: to apply it now would break the limit.
 * From the first batch on that is left, all are. */
static bool leaves_rest(SinkThread *thread) {
    const Job *job = thread->pipeline->job;
    int64_t limits =
        throttle_get(job->apply_throttle, THROTTLE_ROWS) + throttle_get(job->apply_throttle, THROTTLE_BYTES);
    thread->leaves = thread->leaves || (atomic_load(&job->stop) && limits > 0);
    return thread->leaves;
}

/* A batch, or nothing for a moment; `ended` when the queue is closed and empty. */
static bool step(SinkThread *thread, Turn *turn, Error *e) {
    Pipeline *p = thread->pipeline;
    int number = thread->number;
    Batch *b;
    switch (queue_pop(p->queues[number], &b, wait_of(turn))) {
    case QUEUE_OK: {
        if (leaves_rest(thread)) {
            batch_drop(b);
            return true;
        }
        bool ok = p->ops[number]->write(p->sinks[number], b, e);
        turn->written = b->count > 0 ? b->transactions[b->count - 1].end : turn->written;
        batch_drop(b);
        turn->busy = true;
        return ok && settle(p, number, turn, false, 0, e);
    }
    case QUEUE_TIMEOUT:
        turn->busy = false;
        return settle(p, number, turn, true, 0, e) && promise_when_wanted(p, number, e);
    case QUEUE_CLOSED: turn->ended = true; return settle(p, number, turn, true, LAST_SETTLE_MS, e);
    }
    return false;
}

void *pipeline_sink(void *sink_thread) {
    SinkThread *thread = sink_thread;
    Pipeline *p = thread->pipeline;
    Turn turn = {0};
    Error e;
    while (!turn.ended && !atomic_load(&p->failed))
        if (!step(thread, &turn, &e)) {
            pipeline_fail(p, &e);
            break;
        }
    queue_close(p->queues[thread->number]);
    pipeline_sinks_ended(p, 1);
    return NULL;
}
