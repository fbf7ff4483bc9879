#include "decoder/assembler.h"

#include <assert.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "decoder/assembler_delivery.h"
#include "decoder/assembler_parts.h"

/* A streamed transaction whose end has not been read. */
typedef struct Streamed {
    uint32_t xid;
    Lsn began;
    Held *held;
    Parts *parts; /* NULL: it waits for its end */
    UT_hash_handle hh;
} Streamed;

struct Assembler {
    AssemblerOptions options;
    Ledger *ledger;
    RelationCache *relations;
    HeldBudget budget;
    Arrival arrival; /* of the newest frame */
    Held *current;   /* between BEGIN and COMMIT, or BEGIN PREPARE and PREPARE */
    Lsn current_began, current_final;
    bool current_prepares;
    Held *late; /* prepared before the server's beginning: its COMMIT PREPARED is the next frame */
    Streamed *streams;
    Streamed *in_stream; /* between STREAM START and STREAM STOP */
    Delivery *delivery;
    PartsDesk *desk;
    Streamed *undecided; /* all its parts are out, and assembler_decide has not been called */
    Transaction undecided_head;
    uint32_t unheld;
    Lsn last_end, committed, until;
    bool passed;
    uint64_t aborts_ignored;
    Arena *scratch; /* for messages that leave nothing behind; emptied when it has grown */
};

enum { SCRATCH_BYTES = 256 * 1024 };

Assembler *assembler_new(const AssemblerOptions *options, Ledger *ledger) {
    Assembler *a = memory_new(sizeof *a);
    assert(options->batch_changes > 0);
    a->options = *options;
    a->ledger = ledger;
    a->relations = relation_cache_new();
    a->budget = (HeldBudget){options->held_bytes, 0, options->spill, options->release, NULL};
    a->scratch = arena_new();
    a->delivery = delivery_new(&a->options, a->relations);
    a->desk = parts_desk_new(&a->options, a->relations);
    return a;
}

static void stream_forget(Assembler *a, Streamed *stream) {
    HASH_DEL(a->streams, stream);
    parts_close(&stream->parts, false);
    free(stream);
}

void assembler_free(Assembler *a) {
    if (a == NULL)
        return;
    Streamed *stream, *next;
    HASH_ITER (hh, a->streams, stream, next) {
        held_free(stream->held);
        stream_forget(a, stream);
    }
    held_free(a->current);
    held_free(a->late);
    parts_desk_free(a->desk);
    delivery_free(a->delivery);
    arena_free(a->scratch);
    relation_cache_free(a->relations);
    free(a);
}

void assembler_until(Assembler *a, Lsn until) {
    a->until = until;
}
Lsn assembler_committed(const Assembler *a) {
    return a->committed;
}
bool assembler_passed(const Assembler *a) {
    return a->passed;
}
bool assembler_full(const Assembler *a) {
    return delivery_full(a->delivery) || parts_desk_full(a->desk) || a->undecided != NULL;
}
void assembler_reached(Assembler *a, Lsn at) {
    parts_desk_reached(a->desk, at);
}
uint64_t assembler_aborts_ignored(const Assembler *a) {
    return a->aborts_ignored;
}

uint64_t assembler_spilled_bytes(const Assembler *a) {
    return a->options.spill == NULL ? 0 : a->options.spill->used_bytes;
}

uint32_t assembler_held(const Assembler *a) {
    return HASH_COUNT(a->streams) + (a->current != NULL ? 1 : 0) + (a->late != NULL ? 1 : 0);
}

/* What is handed out in parts may rest on what was committed before it. */
bool assembler_take(Assembler *a, bool flush, Batch **out, Error *e) {
    bool parts = parts_desk_full(a->desk);
    if (!delivery_take(a->delivery, flush || parts, out, e))
        return false;
    if (*out == NULL && parts)
        *out = parts_desk_take(a->desk);
    return true;
}

uint32_t assembler_unheld(const Assembler *a) {
    return a->unheld;
}

/* The whole of it is needed. */
static bool is_there(Assembler *a, const Held *held, Error *e) {
    if (!held_is_forgotten(held))
        return true;
    a->unheld = held_xid(held);
    return fail(e, ERR_RETRY,
                "transaction %u has to be applied again, and the spill folder has no room for it: it is read "
                "from the source again",
                a->unheld);
}

bool assembler_decide(Assembler *a, bool whole, Error *e) {
    Streamed *stream = a->undecided;
    assert(stream != NULL && !parts_desk_full(a->desk));
    if (whole && !is_there(a, stream->held, e))
        return false;
    a->undecided = NULL;
    parts_close(&stream->parts, !whole);
    if (whole)
        delivery_begin(a->delivery, stream->held, true, &a->undecided_head);
    else
        held_free(stream->held);
    stream_forget(a, stream);
    return true;
}

/* What the frame that ends a transaction says. */
typedef struct Ending {
    TransactionEnd how;
    Lsn commit, end;
    int64_t time_us;
    Lsn began; /* none: nobody asks */
} Ending;

static Ending ending_of(const Message *m, TransactionEnd how, Lsn began) {
    return (Ending){how, m->commit.commit, m->commit.end, m->commit.time_us, began};
}

typedef enum Verdict { ENDING_BAD, ENDING_BEYOND, ENDING_GOES_OUT } Verdict;

/* The end of a transaction was read: it goes out, unless it lies beyond `until`. */
static Verdict ending_judge(Assembler *a, uint32_t xid, const Ending *ending, Error *e) {
    Lsn commit = ending->commit, end = ending->end;
    if (!lsn_before(commit, end) || !lsn_before(a->last_end, end)) {
        fail(e, ERR_PROTOCOL,
             "commit of transaction %u ends at " LSN_FMT ", not beyond its record " LSN_FMT
             " and the commit before " LSN_FMT,
             xid, LSN_ARGS(end), LSN_ARGS(commit), LSN_ARGS(a->last_end));
        return ENDING_BAD;
    }
    a->last_end = end;
    bool beyond = !lsn_is_none(a->until) && lsn_before(a->until, end);
    a->passed = a->passed || beyond;
    a->committed = beyond ? a->committed : end;
    if (a->ledger != NULL && beyond)
        ledger_begin(a->ledger); /* it will not be made durable: no idle position may pass it */
    else if (a->ledger != NULL)
        ledger_commit(a->ledger, end);
    return beyond ? ENDING_BEYOND : ENDING_GOES_OUT;
}

static Transaction head_of(uint32_t xid, const Ending *ending) {
    return (Transaction){.xid = xid,
                         .ending = ending->how,
                         .commit = ending->commit,
                         .end = ending->end,
                         .began = ending->began,
                         .committed_us = ending->time_us,
                         .begins = true};
}

static bool deliver(Assembler *a, Held *held, Ending ending, Error *e) {
    Verdict verdict = ending_judge(a, held_xid(held), &ending, e);
    Transaction head = head_of(held_xid(held), &ending);
    if (verdict == ENDING_GOES_OUT)
        delivery_begin(a->delivery, held, false, &head);
    else
        held_free(held);
    return verdict != ENDING_BAD;
}

/* Of what was handed out in parts only the end is missing; the rest waits for assembler_decide. */
static bool deliver_streamed(Assembler *a, Streamed *stream, Ending ending, Error *e) {
    Verdict verdict = ending_judge(a, stream->xid, &ending, e);
    Transaction head = head_of(stream->xid, &ending);
    if (verdict == ENDING_GOES_OUT && parts_commit(&stream->parts, &head)) {
        a->undecided = stream;
        a->undecided_head = head;
        return true;
    }
    if (verdict == ENDING_GOES_OUT && !is_there(a, stream->held, e))
        return false;
    if (verdict == ENDING_GOES_OUT)
        delivery_begin(a->delivery, stream->held, true, &head);
    else
        held_free(stream->held);
    parts_abort(&stream->parts);
    stream_forget(a, stream);
    return verdict != ENDING_BAD;
}

/* ---- the protocol's state machine ---- */

static bool out_of_place(const Message *m, const char *where, Error *e) {
    return fail(e, ERR_PROTOCOL, "message '%c' %s", (char)m->kind, where);
}

static bool feed_begin(Assembler *a, const Message *m, Error *e) {
    if (a->current != NULL || a->in_stream != NULL)
        return out_of_place(m, "inside a transaction", e);
    if (a->ledger != NULL)
        ledger_begin(a->ledger);
    a->current = held_new(&a->budget, m->xid);
    a->current_prepares = m->kind == MESSAGE_BEGIN_PREPARE;
    a->current_began = a->arrival.at;
    a->current_final = a->current_prepares ? m->commit.commit : m->begin.final;
    return true;
}

/* The transaction between BEGIN and this frame, which ends it; NULL and e when it does not. */
static Held *current_end(Assembler *a, const Message *m, bool prepares, Error *e) {
    Held *held = a->current;
    if (held == NULL || a->current_prepares != prepares)
        out_of_place(m, prepares ? "without BEGIN PREPARE" : "without BEGIN", e);
    else if (!lsn_equal(m->commit.commit, a->current_final))
        fail(e, ERR_PROTOCOL, "%s at " LSN_FMT " of a transaction that began for " LSN_FMT,
             prepares ? "PREPARE" : "COMMIT", LSN_ARGS(m->commit.commit), LSN_ARGS(a->current_final));
    else if (prepares && m->xid != held_xid(held))
        fail(e, ERR_PROTOCOL, "PREPARE of transaction %u ends transaction %u", m->xid, held_xid(held));
    else {
        a->current = NULL;
        return held;
    }
    return NULL;
}

static bool feed_commit(Assembler *a, const Message *m, Error *e) {
    Held *held = current_end(a, m, false, e);
    return held != NULL && deliver(a, held, ending_of(m, TRANSACTION_COMMITS, a->current_began), e);
}

static bool is_late(const Assembler *a, const Message *m) {
    return lsn_before(m->commit.commit, a->options.late_before);
}

/* Of a transaction that has only locked rows PostgreSQL 18 sends the PREPARE alone (and 16 and 17 nothing before its
 * COMMIT PREPARED). */
static bool feed_prepare(Assembler *a, const Message *m, Error *e) {
    bool alone = a->current == NULL && a->in_stream == NULL && !is_late(a, m);
    Held *held = alone ? held_new(&a->budget, m->xid) : current_end(a, m, true, e);
    if (held != NULL && is_late(a, m))
        a->late = held;
    else if (held != NULL)
        return deliver(a, held, ending_of(m, TRANSACTION_PREPARES, LSN_NONE), e);
    return held != NULL;
}

static bool feed_commit_prepared(Assembler *a, const Message *m, Error *e) {
    if (a->current != NULL || a->in_stream != NULL)
        return out_of_place(m, "inside a transaction", e);
    if (a->late == NULL)
        return deliver(a, held_new(&a->budget, m->xid), ending_of(m, TRANSACTION_COMMITS_PREPARED, LSN_NONE),
                       e);
    Held *held = a->late;
    if (m->xid != held_xid(held))
        return fail(e, ERR_PROTOCOL, "COMMIT PREPARED of transaction %u instead of %u", m->xid,
                    held_xid(held));
    a->late = NULL;
    return deliver(a, held, ending_of(m, TRANSACTION_COMMITS, LSN_NONE), e);
}

/* Its record's own LSN is not sent: its identity is the last byte of the record. */
static bool feed_rollback_prepared(Assembler *a, const Message *m, Error *e) {
    if (a->current != NULL || a->in_stream != NULL)
        return out_of_place(m, "inside a transaction", e);
    Ending ending = ending_of(m, TRANSACTION_ROLLS_BACK_PREPARED, LSN_NONE);
    ending.commit.at = ending.end.at - (lsn_is_none(ending.end) ? 0 : 1);
    return deliver(a, held_new(&a->budget, m->xid), ending, e);
}

static bool feed_stream_start(Assembler *a, const Message *m, Error *e) {
    if (a->current != NULL || a->in_stream != NULL)
        return out_of_place(m, "inside a transaction", e);
    Streamed *stream;
    HASH_FIND(hh, a->streams, &m->xid, sizeof m->xid, stream);
    if (m->stream_start.first != (stream == NULL))
        return fail(e, ERR_PROTOCOL, "STREAM START of transaction %u is %s", m->xid,
                    stream == NULL ? "not the first, but nothing of it is known" : "a first one again");
    if (stream == NULL) {
        stream = memory_new(sizeof *stream);
        stream->xid = m->xid;
        stream->began = a->arrival.at;
        stream->held = held_new(&a->budget, m->xid);
        stream->parts = m->xid == a->options.early_never ? NULL : parts_begin(a->desk, m->xid);
        HASH_ADD(hh, a->streams, xid, sizeof stream->xid, stream);
    }
    a->in_stream = stream;
    return true;
}

static bool feed_stream_stop(Assembler *a, const Message *m, Error *e) {
    if (a->in_stream == NULL)
        return out_of_place(m, "without STREAM START", e);
    a->in_stream = NULL;
    return true;
}

/* STREAM COMMIT or STREAM PREPARE. What is late is never streamed: all of it lies before the server's beginning. */
static bool feed_stream_end(Assembler *a, const Message *m, Error *e) {
    bool prepares = m->kind == MESSAGE_STREAM_PREPARE;
    if (a->current != NULL || a->in_stream != NULL)
        return out_of_place(m, "inside a transaction", e);
    Streamed *stream;
    HASH_FIND(hh, a->streams, &m->xid, sizeof m->xid, stream);
    if (stream == NULL)
        return fail(e, ERR_PROTOCOL, "STREAM %s of transaction %u, of which nothing is known",
                    prepares ? "PREPARE" : "COMMIT", m->xid);
    if (prepares && is_late(a, m))
        return fail(e, ERR_PROTOCOL, "STREAM PREPARE of transaction %u lies before the stream's beginning",
                    m->xid);
    TransactionEnd how = prepares ? TRANSACTION_PREPARES : TRANSACTION_COMMITS;
    return deliver_streamed(a, stream, ending_of(m, how, stream->began), e);
}

static bool feed_stream_abort(Assembler *a, const Message *m, Error *e) {
    if (a->current != NULL || a->in_stream != NULL)
        return out_of_place(m, "inside a transaction", e);
    Streamed *stream;
    HASH_FIND(hh, a->streams, &m->xid, sizeof m->xid, stream);
    if (stream == NULL) {
        a->aborts_ignored++; /* PostgreSQL 18 sends one although nothing was streamed (L12) */
        return true;
    }
    uint32_t subxid = m->stream_abort.subxid;
    uint64_t arrival;
    if (subxid != m->xid) {
        if (held_began(stream->held, subxid, &arrival))
            parts_cut(&stream->parts, subxid, arrival);
        return held_cut(stream->held, subxid, e);
    }
    held_free(stream->held);
    parts_abort(&stream->parts);
    stream_forget(a, stream);
    return true;
}

/* A non-transactional message is a transaction of its own. The server reports the end of its record, which may be
 * where the next commit record begins: had it been confirmed one byte farther, that commit would never be sent again.
 * Its identity is a byte inside of its own record. */
static bool feed_message_alone(Assembler *a, const Message *m, Slice frame, void *memory, size_t memory_bytes,
                               Error *e) {
    Held *held = held_new(&a->budget, m->xid);
    if (!held_add(held, m->xid, a->arrival, frame, memory, memory_bytes, e)) {
        held_free(held);
        return false;
    }
    Lsn end = m->logical.lsn, commit = {end.at - (lsn_is_none(end) ? 0 : 1)};
    return deliver(a, held, (Ending){TRANSACTION_COMMITS, commit, end, 0, LSN_NONE}, e);
}

static bool is_two_phase_kind(MessageKind kind) {
    return kind == MESSAGE_BEGIN_PREPARE || kind == MESSAGE_PREPARE || kind == MESSAGE_STREAM_PREPARE ||
           kind == MESSAGE_COMMIT_PREPARED || kind == MESSAGE_ROLLBACK_PREPARED;
}

/* Messages that say where a transaction begins, ends or goes on. */
static bool feed_boundary(Assembler *a, const Message *m, Error *e) {
    if (is_two_phase_kind(m->kind) && !a->options.two_phase) {
        fail(e, ERR_PROTOCOL, "message '%c' of a prepared transaction, which was not asked for",
             (char)m->kind);
        return fail_hint(e, "the slot must be made without two_phase");
    }
    switch (m->kind) {
    case MESSAGE_BEGIN: return feed_begin(a, m, e);
    case MESSAGE_COMMIT: return feed_commit(a, m, e);
    case MESSAGE_STREAM_START: return feed_stream_start(a, m, e);
    case MESSAGE_STREAM_STOP: return feed_stream_stop(a, m, e);
    case MESSAGE_STREAM_COMMIT:
    case MESSAGE_STREAM_PREPARE: return feed_stream_end(a, m, e);
    case MESSAGE_STREAM_ABORT: return feed_stream_abort(a, m, e);
    case MESSAGE_BEGIN_PREPARE: return feed_begin(a, m, e);
    case MESSAGE_PREPARE: return feed_prepare(a, m, e);
    case MESSAGE_COMMIT_PREPARED: return feed_commit_prepared(a, m, e);
    case MESSAGE_ROLLBACK_PREPARED: return feed_rollback_prepared(a, m, e);
    default: return out_of_place(m, "where a transaction begins or ends", e);
    }
}

static bool is_inside_kind(MessageKind kind) {
    switch (kind) {
    case MESSAGE_ORIGIN:
    case MESSAGE_RELATION:
    case MESSAGE_TYPE:
    case MESSAGE_INSERT:
    case MESSAGE_UPDATE:
    case MESSAGE_DELETE:
    case MESSAGE_TRUNCATE:
    case MESSAGE_LOGICAL: return true;
    default: return false;
    }
}

/* A frame outside of any transaction that is not a boundary: a lone message, or news about a relation. */
static bool feed_outside(Assembler *a, Slice frame, void *memory, size_t memory_bytes, Error *e) {
    Message m;
    bool ok = pgoutput_decode(frame, (DecodeOptions){false, false}, a->scratch, &m, e);
    if (ok && m.kind == MESSAGE_LOGICAL && !m.logical.transactional)
        return feed_message_alone(a, &m, frame, memory, memory_bytes, e);
    if (ok && m.kind == MESSAGE_RELATION)
        ok = relation_put(a->relations, NULL, a->arrival.number, &m, e);
    else if (ok && m.kind != MESSAGE_TYPE)
        ok = out_of_place(&m, "outside of a transaction", e);
    a->options.release(memory);
    return ok;
}

/* The spill is full: what is held of the largest transaction in parts is needed only if that is given up. */
static bool room_make(Assembler *a) {
    Streamed *stream, *next, *largest = NULL;
    HASH_ITER (hh, a->streams, stream, next)
        if (stream->parts != NULL && parts_begun(stream->parts) && !held_is_forgotten(stream->held) &&
            (largest == NULL || held_bytes(stream->held) > held_bytes(largest->held)))
            largest = stream;
    if (!a->options.early_alone || largest == NULL)
        return false;
    log_info("the spill folder is full: transaction %u, which is applied while it arrives, is not kept there",
             largest->xid);
    held_forget(largest->held);
    return true;
}

static bool hold(Assembler *a, Held *held, uint32_t xid, Slice frame, void *memory, size_t memory_bytes,
                 Error *e) {
    return held_add(held, xid, a->arrival, frame, memory, memory_bytes, e) ||
           (e->kind == ERR_LIMIT && room_make(a));
}

static bool feed_streamed(Assembler *a, MessageKind kind, uint32_t xid, Slice frame, void *memory,
                          size_t memory_bytes, Error *e) {
    Streamed *stream = a->in_stream;
    if (!parts_add(&stream->parts, xid, kind, a->arrival, frame, e) ||
        (stream->parts == NULL && !is_there(a, stream->held, e))) {
        a->options.release(memory);
        return false;
    }
    return hold(a, stream->held, xid, frame, memory, memory_bytes, e);
}

static void scratch_empty(Assembler *a) {
    if (arena_bytes(a->scratch) < SCRATCH_BYTES)
        return;
    arena_free(a->scratch);
    a->scratch = arena_new();
}

bool assembler_feed(Assembler *a, Lsn at, Slice frame, void *memory, size_t memory_bytes, Error *e) {
    assert(!assembler_full(a));
    MessageKind kind;
    uint32_t xid;
    a->arrival = (Arrival){a->arrival.number + 1, at};
    scratch_empty(a);
    if (!pgoutput_peek(frame, a->in_stream != NULL, &kind, &xid, e)) {
        a->options.release(memory);
        return false;
    }
    if (a->late != NULL && kind != MESSAGE_COMMIT_PREPARED) {
        a->options.release(memory);
        return fail(e, ERR_PROTOCOL, "message '%c' instead of the COMMIT PREPARED of transaction %u",
                    (char)kind, held_xid(a->late));
    }
    if (is_inside_kind(kind)) {
        if (a->in_stream != NULL)
            return feed_streamed(a, kind, xid, frame, memory, memory_bytes, e);
        if (a->current != NULL)
            return hold(a, a->current, held_xid(a->current), frame, memory, memory_bytes, e);
        return feed_outside(a, frame, memory, memory_bytes, e);
    }
    Message m;
    DecodeOptions decode = {a->in_stream != NULL, a->options.abort_has_lsn};
    bool ok = pgoutput_decode(frame, decode, a->scratch, &m, e) && feed_boundary(a, &m, e);
    a->options.release(memory);
    return ok;
}
