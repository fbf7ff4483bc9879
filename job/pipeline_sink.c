#include "core/clock.h"
#include "core/fault.h"
#include "job/pipeline.h"

enum { IDLE_WAIT_MS = 10, LAST_SETTLE_MS = 5000 };

static bool settle(Pipeline *p, int number, bool flush, int wait_ms, Error *e) {
    Lsn durable;
    if (!p->ops[number]->settle(p->sinks[number], flush, wait_ms, &durable, e))
        return false;
    ledger_durable(p->ledger, number, durable);
    return FAULT("ledger.after_durable", e);
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

/* A batch, or nothing for a moment; *ended when the queue is closed and empty. */
static bool step(Pipeline *p, int number, bool *busy, bool *ended, Error *e) {
    Batch *b;
    switch (queue_pop(p->queues[number], &b, *busy ? 0 : IDLE_WAIT_MS)) {
    case QUEUE_OK: {
        bool ok = p->ops[number]->write(p->sinks[number], b, e);
        batch_drop(b);
        *busy = true;
        return ok && settle(p, number, false, 0, e);
    }
    case QUEUE_TIMEOUT:
        *busy = false;
        return settle(p, number, true, 0, e) && promise_when_wanted(p, number, e);
    case QUEUE_CLOSED: *ended = true; return settle(p, number, true, LAST_SETTLE_MS, e);
    }
    return false;
}

void *pipeline_sink(void *sink_thread) {
    SinkThread *thread = sink_thread;
    Pipeline *p = thread->pipeline;
    bool busy = false, ended = false;
    Error e;
    while (!ended && !atomic_load(&p->failed))
        if (!step(p, thread->number, &busy, &ended, &e)) {
            pipeline_fail(p, &e);
            break;
        }
    queue_close(p->queues[thread->number]);
    atomic_fetch_sub(&p->sinks_left, 1);
    return NULL;
}
