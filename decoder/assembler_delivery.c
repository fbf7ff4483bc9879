#include "decoder/assembler_delivery.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "decoder/assembler_change.h"

/* The batch being filled. */
typedef struct Filling {
    Arena *arena; /* NULL: empty */
    Transaction *transactions;
    uint32_t count, capacity;
    uint32_t changes;
} Filling;

struct Delivery {
    const AssemblerOptions *options;
    RelationCache *relations;
    Held *held;           /* the transaction on its way; NULL: none */
    RelationScope *scope; /* streamed transactions only */
    Transaction head;     /* all but the changes; `begins` while nothing of it was handed out */
    uint32_t seq;
    Filling filling;
    Batch *ready;
};

Delivery *delivery_new(const AssemblerOptions *options, RelationCache *relations) {
    Delivery *d = memory_new(sizeof *d);
    d->options = options;
    d->relations = relations;
    return d;
}

void delivery_free(Delivery *d) {
    held_free(d->held);
    relation_scope_free(d->scope);
    arena_free(d->filling.arena);
    if (d->ready != NULL)
        batch_drop(d->ready);
    free(d);
}

static void filling_open(Delivery *d) {
    if (d->filling.arena != NULL)
        return;
    d->filling = (Filling){.arena = arena_new(), .capacity = 64};
    d->filling.transactions = arena_alloc(d->filling.arena, d->filling.capacity * sizeof(Transaction));
}

static void filling_add(Delivery *d, Transaction tx) {
    Filling *f = &d->filling;
    if (f->count == f->capacity) {
        Transaction *grown = arena_alloc(f->arena, 2 * f->capacity * sizeof(Transaction));
        memcpy(grown, f->transactions, f->count * sizeof(Transaction));
        f->transactions = grown;
        f->capacity *= 2;
    }
    f->transactions[f->count++] = tx;
    f->changes += tx.count + 1; /* an empty transaction is some work, too */
}

static bool filling_is_full(const Delivery *d) {
    const Filling *f = &d->filling;
    return f->arena != NULL &&
           (f->changes >= d->options->batch_changes || arena_bytes(f->arena) >= d->options->batch_bytes);
}

static void filling_close(Delivery *d) {
    assert(d->ready == NULL && d->filling.count > 0);
    Batch *b = batch_new(d->filling.arena);
    b->transactions = d->filling.transactions;
    b->count = d->filling.count;
    b->bytes = arena_bytes(b->arena);
    d->ready = b;
    d->filling = (Filling){0};
}

/* Nothing in it is for the sinks: its memory need not wait for the first change that is. */
static void filling_drop(Delivery *d) {
    arena_free(d->filling.arena);
    d->filling = (Filling){0};
}

/* The frame becomes part of the batch: its memory is adopted, or copied when it is only a view into the
 * journal. */
static Slice frame_keep(Arena *arena, const HeldFrame *frame) {
    if (frame->memory != NULL) {
        arena_adopt(arena, frame->memory, frame->memory_bytes, frame->release);
        return frame->bytes;
    }
    return (Slice){arena_text(arena, frame->bytes), frame->bytes.len};
}

/* Decodes frames into one piece until the transaction ends or alone fills a batch: what others have left of this one does not
 * count, since a small transaction is less work in one piece than in two. */
static bool delivery_piece(Delivery *d, Transaction *piece, bool *ended, Error *e) {
    Arena *arena = d->filling.arena;
    size_t before = arena_bytes(arena);
    uint64_t left = held_count(d->held);
    uint32_t most = left < d->options->batch_changes ? (uint32_t)left : d->options->batch_changes;
    Change *changes = arena_raw(arena, (size_t)(most == 0 ? 1 : most) * sizeof(Change));
    AssemblerView view = {d->relations, d->scope, arena, d->options};
    DecodeOptions decode = {d->scope != NULL, d->options->abort_has_lsn};
    HeldFrame frame;
    *piece = d->head;
    piece->changes = changes;
    *ended = false;
    do { /* at least one frame, however small a batch may be: else there would be no end */
        if (!held_next(d->held, &frame, e)) {
            *ended = e->kind == ERR_NONE;
            return *ended;
        }
        Slice bytes = frame_keep(arena, &frame);
        Message m;
        if (!pgoutput_decode(bytes, decode, arena, &m, e))
            return false;
        bool made;
        if (!assembler_change(&view, &m, frame.arrival, &d->seq, &changes[piece->count], &made, e))
            return false;
        piece->count += made ? 1 : 0;
    } while (piece->count < d->options->batch_changes &&
             arena_bytes(arena) - before < d->options->batch_bytes);
    return true;
}

static bool delivery_pump(Delivery *d, Error *e) {
    Transaction piece;
    bool ended;
    filling_open(d);
    if (!delivery_piece(d, &piece, &ended, e))
        return false;
    piece.ends = ended;
    piece.seqs = d->seq;
    if (ended || piece.count > 0) {
        filling_add(d, piece);
        d->head.begins = false;
    }
    if (ended) {
        if (d->scope != NULL)
            relation_scope_promote(d->relations, d->scope);
        relation_scope_free(d->scope);
        held_free(d->held);
        d->held = NULL;
        d->scope = NULL;
    }
    if (d->filling.count == 0)
        filling_drop(d);
    else if (!ended || filling_is_full(d))
        filling_close(d);
    return true;
}

bool delivery_take(Delivery *d, bool flush, Batch **out, Error *e) {
    *out = NULL;
    while (d->ready == NULL && d->held != NULL)
        if (!delivery_pump(d, e))
            return false;
    if (d->ready == NULL && flush && d->filling.count > 0)
        filling_close(d);
    *out = d->ready;
    d->ready = NULL;
    return true;
}

bool delivery_full(const Delivery *d) {
    return d->held != NULL || d->ready != NULL;
}

void delivery_begin(Delivery *d, Held *held, bool streamed, const Transaction *head) {
    assert(!delivery_full(d));
    d->held = held;
    d->scope = streamed ? relation_scope_new() : NULL;
    d->head = *head;
    d->seq = 0;
}
