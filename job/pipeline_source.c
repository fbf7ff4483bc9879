#include "job/pipeline_source.h"

#include <libpq-fe.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/sqlstate.h"
#include "job/position.h"

enum {
    READ_WAIT_MS = 100,
    PUSH_WAIT_MS = 50,
    ADVANCED_STATUS_MS = 200, /* a position that moved is told this soon */
    ASK_POSITION_MS = 100,    /* `until`: how often the server is asked where it is */
    FINISH_WAIT_MS = 3000,
    LOOK_EVERY = 64 /* frames of one read: how often the clock is looked at */
};

typedef struct Teller {
    int64_t told_ms;
    Lsn told;
} Teller;

static bool tell(Pipeline *p, Teller *teller, bool reply_wanted, Error *e) {
    if (!FAULT("source.before_feedback", e))
        return false;
    Lsn confirmed = ledger_confirmed(p->ledger);
    teller->told_ms = clock_ms();
    teller->told = confirmed;
    atomic_store(&p->job->metrics->confirmed_lsn, confirmed.at);
    return stream_status(p->stream, lsn_max(p->received, confirmed), confirmed, reply_wanted, e);
}

/* Unsolicited, well within the server's patience: whatever else this thread waits for, it comes through here.
 */
static bool tell_when_due(Pipeline *p, Teller *teller, Error *e) {
    int64_t since_ms = clock_ms() - teller->told_ms;
    bool advanced = since_ms >= ADVANCED_STATUS_MS && lsn_before(teller->told, ledger_confirmed(p->ledger));
    if (!advanced && since_ms < stream_status_every_ms(p->stream))
        return true;
    return tell(p, teller, false, e);
}

static bool interrupted(Pipeline *p, Error *e) {
    return pipeline_ending(p) || atomic_load(&p->source_down) ? fail(e, ERR_STOPPED, "stopping") : true;
}

static bool push_to(Pipeline *p, Teller *teller, Queue *queue, Batch *b, Error *e) {
    for (;;) {
        QueueResult result = queue_push(queue, b, PUSH_WAIT_MS);
        if (result == QUEUE_OK)
            return true;
        if (result == QUEUE_CLOSED)
            return fail(e, ERR_STOPPED, "the sink has ended");
        if (!tell_when_due(p, teller, e) || !interrupted(p, e))
            return false;
    }
}

/* A use for each queue that wants it. */
static bool push(Pipeline *p, Teller *teller, Batch *b, Error *e) {
    b->decoded_us = clock_us();
    for (int sink = 0; sink < p->sink_count; sink++) {
        if (b->kind != BATCH_WHOLE && !p->ops[sink]->parts)
            continue;
        batch_use(b);
        if (!push_to(p, teller, p->queues[sink], b, e)) {
            batch_drop(b);
            return false;
        }
    }
    return true;
}

/* All parts of a transaction and its commit are handed over: whether the whole has to follow is the sink's word. */
static bool decide(Pipeline *p, Teller *teller, Ticket *ticket, Error *e) {
    TicketOutcome outcome;
    while ((outcome = ticket_wait(ticket, PUSH_WAIT_MS)) == TICKET_OPEN)
        if (!tell_when_due(p, teller, e) || !interrupted(p, e))
            return false;
    return assembler_decide(p->assembler, outcome == TICKET_GIVEN_UP || p->sink_count > 1, e);
}

static bool hand_out(Pipeline *p, Teller *teller, bool flush, int64_t received_us, Error *e) {
    for (;;) {
        Batch *b;
        if (!assembler_take(p->assembler, flush, &b, e))
            return false;
        if (b == NULL)
            return true;
        b->received_us = received_us;
        bool ok = push(p, teller, b, e) && (b->kind != BATCH_COMMIT || decide(p, teller, b->ticket, e));
        batch_drop(b);
        if (!ok)
            return false;
    }
}

static void note_received(Pipeline *p, Lsn wal_end) {
    p->received = lsn_max(p->received, wal_end);
    atomic_store_explicit(&p->job->metrics->received_lsn, p->received.at, memory_order_relaxed);
}

static bool take_data(Pipeline *p, const Frame *frame, Error *e) {
    Lsn before = assembler_committed(p->assembler);
    assembler_reached(p->assembler, frame->wal_end);
    if (!assembler_feed(p->assembler, frame->at, frame->bytes, frame->memory, frame->memory_bytes, e))
        return false;
    atomic_fetch_add_explicit(&p->job->metrics->bytes, (long long)frame->bytes.len, memory_order_relaxed);
    Lsn after = assembler_committed(p->assembler);
    if (lsn_equal(before, after))
        return true;
    note_received(p, after);
    return FAULT("source.after_commit_parsed", e);
}

static bool take_keepalive(Pipeline *p, Teller *teller, const Frame *frame, Error *e) {
    note_received(p, frame->wal_end);
    assembler_reached(p->assembler, frame->wal_end);
    ledger_idle(p->ledger, frame->wal_end);
    return !frame->reply_wanted || tell(p, teller, false, e);
}

/* Every transaction that ends at or before `until` has been read: the server has said that it is beyond. */
static bool is_reached(Pipeline *p) {
    if (lsn_is_none(p->until))
        return false;
    return assembler_passed(p->assembler) || !lsn_before(p->received, p->until);
}

static bool ask_position(Pipeline *p, Teller *teller, int64_t *asked_ms, Error *e) {
    if (lsn_is_none(p->until) || clock_ms() - *asked_ms < ASK_POSITION_MS)
        return true;
    *asked_ms = clock_ms();
    return tell(p, teller, true, e);
}

/* Frames that came with one read take no time worth a look at the clock each. */
static bool looks_now(unsigned *unlooked, bool another_read) {
    *unlooked = another_read ? 0 : (*unlooked + 1) % LOOK_EVERY;
    return *unlooked == 0;
}

/* Reads until it is interrupted or `until` is reached; then what is complete goes out. */
static bool read_loop(Pipeline *p, Teller *teller, Error *e) {
    int64_t received_us = clock_us(), asked_ms = 0;
    unsigned unlooked = 0;
    bool waiting = false;
    while (!is_reached(p)) {
        Frame frame;
        if (!interrupted(p, e))
            return false;
        if (!stream_read(p->stream, waiting ? READ_WAIT_MS : 0, &frame, e))
            return e->kind == ERR_LIMIT ? fail_context(e, "behind " LSN_FMT, LSN_ARGS(p->received)) : false;
        waiting = frame.kind == FRAME_NONE;
        bool ok = true, another_read = frame.kind != FRAME_DATA || frame.read_us != received_us;
        switch (frame.kind) {
        case FRAME_DATA:
            received_us = frame.read_us;
            ok = take_data(p, &frame, e) && hand_out(p, teller, false, received_us, e);
            break;
        case FRAME_KEEPALIVE: ok = take_keepalive(p, teller, &frame, e); break;
        case FRAME_NONE:
            ok = hand_out(p, teller, true, received_us, e) && ask_position(p, teller, &asked_ms, e);
            break;
        case FRAME_END:
            fail(e, ERR_RETRY, "the source ended the stream");
            e->connection = true;
            ok = false;
            break;
        }
        if (!ok || (looks_now(&unlooked, another_read) && !tell_when_due(p, teller, e)))
            return false;
    }
    atomic_store(&p->reached, true);
    return hand_out(p, teller, true, received_us, e);
}

/* The sinks settle what they have; the source keeps hearing from us meanwhile. */
static void wait_for_sinks(Pipeline *p, Teller *teller) {
    Error ignored;
    for (int sink = 0; sink < p->sink_count; sink++)
        queue_close(p->queues[sink]);
    while (atomic_load(&p->sinks_left) > 0 && !atomic_load(&p->source_down) && !atomic_load(&p->failed)) {
        clock_sleep_ms(5);
        if (!tell_when_due(p, teller, &ignored))
            return;
    }
}

void *pipeline_source(void *pipeline) {
    Pipeline *p = pipeline;
    Teller teller = {clock_ms(), ledger_confirmed(p->ledger)};
    Error e = {0};
    bool asked_to_end = read_loop(p, &teller, &e) || (e.kind == ERR_STOPPED && !atomic_load(&p->failed));
    position_lost((Lsn){atomic_load(&p->job->metrics->applied_lsn)}, &e);
    if (!asked_to_end && e.kind != ERR_STOPPED) {
        p->undecodable = sqlstate_is(&e, SQLSTATE_INTERNAL_ERROR);
        p->stream_lost = e.connection && !atomic_load(&p->source_down);
        pipeline_fail(p, &e);
    }
    wait_for_sinks(p, &teller);
    if (asked_to_end && !atomic_load(&p->failed) && !atomic_load(&p->source_down))
        stream_finish(p->stream, lsn_max(p->received, ledger_confirmed(p->ledger)),
                      ledger_confirmed(p->ledger), FINISH_WAIT_MS);
    else
        stream_close(p->stream);
    p->stream = NULL;
    return NULL;
}
