#include "decoder/assembler_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "decoder/assembler_change.h"

/* Two may come of one frame: the rest that was collected, and what ends it. */
enum { WAITING_MAX = 4, CHANGES_LEAST = 64, RUNS_LEAST = 4 };

struct PartsDesk {
    const AssemblerOptions *options;
    RelationCache *relations;
    bool reached;  /* early_from */
    uint32_t open; /* transactions in parts */
    Batch *waiting[WAITING_MAX];
    uint32_t waiting_count;
};

struct Parts {
    PartsDesk *desk;
    RelationScope *scope;
    Ticket *ticket;
    uint32_t xid, seq;
    bool begun; /* something was handed out */
    /* the part being collected */
    Arena *arena; /* NULL: none */
    Change *changes;
    uint32_t change_count, change_capacity;
    Transaction *runs; /* their changes are set when the part is closed */
    uint32_t run_count, run_capacity;
};

PartsDesk *parts_desk_new(const AssemblerOptions *options, RelationCache *relations) {
    PartsDesk *d = memory_new(sizeof *d);
    d->options = options;
    d->relations = relations;
    return d;
}

void parts_desk_free(PartsDesk *d) {
    assert(d->open == 0);
    for (uint32_t at = 0; at < d->waiting_count; at++)
        batch_drop(d->waiting[at]);
    free(d);
}

void parts_desk_reached(PartsDesk *d, Lsn at) {
    d->reached = d->reached || !lsn_before(at, d->options->early_from);
}

bool parts_desk_full(const PartsDesk *d) {
    return d->waiting_count > 0;
}

Batch *parts_desk_take(PartsDesk *d) {
    if (d->waiting_count == 0)
        return NULL;
    Batch *b = d->waiting[0];
    memmove(d->waiting, d->waiting + 1, --d->waiting_count * sizeof(Batch *));
    return b;
}

Parts *parts_begin(PartsDesk *d, uint32_t xid) {
    if (!d->reached || d->open == d->options->early_most)
        return NULL;
    Parts *p = memory_new(sizeof *p);
    p->desk = d;
    p->scope = relation_scope_new();
    p->ticket = ticket_new();
    p->xid = xid;
    d->open++;
    return p;
}

static void collected_drop(Parts *p) {
    arena_free(p->arena);
    p->arena = NULL;
    p->change_count = p->run_count = 0;
}

void parts_close(Parts **parts, bool promote) {
    Parts *p = *parts;
    if (p == NULL)
        return;
    collected_drop(p);
    if (promote)
        relation_scope_promote(p->desk->relations, p->scope);
    relation_scope_free(p->scope);
    ticket_drop(p->ticket);
    p->desk->open--;
    free(p);
    *parts = NULL;
}

/* ---- batches ---- */

static void batch_wait(Parts *p, BatchKind kind, Arena *arena, const Transaction *list, uint32_t count) {
    PartsDesk *d = p->desk;
    assert(d->waiting_count < WAITING_MAX);
    Batch *b = batch_new(arena);
    b->kind = kind;
    b->ticket = p->ticket;
    ticket_use(p->ticket);
    b->transactions = list;
    b->count = count;
    b->bytes = arena_bytes(arena);
    d->waiting[d->waiting_count++] = b;
}

/* A batch that says one thing. */
static void word_wait(Parts *p, BatchKind kind, Transaction said) {
    Arena *arena = arena_new();
    Transaction *list = arena_alloc(arena, sizeof *list);
    said.xid = p->xid;
    *list = said;
    batch_wait(p, kind, arena, list, 1);
}

static void collected_wait(Parts *p) {
    if (p->arena == NULL)
        return;
    uint32_t first = 0;
    for (uint32_t run = 0; run < p->run_count; run++) {
        p->runs[run].changes = p->changes + first;
        first += p->runs[run].count;
    }
    p->runs[0].begins = !p->begun;
    p->begun = true;
    Arena *arena = p->arena;
    p->arena = NULL;
    batch_wait(p, BATCH_PART, arena, p->runs, p->run_count);
    p->change_count = p->run_count = 0;
}

/* ---- collecting ---- */

static void *list_grow(Arena *arena, void *list, uint32_t count, uint32_t *capacity, uint32_t least,
                       size_t size) {
    if (count < *capacity)
        return list;
    *capacity = count == 0 ? least : count * 2;
    void *grown = arena_alloc(arena, *capacity * size);
    if (count > 0)
        memcpy(grown, list, count * size);
    return grown;
}

static void collected_open(Parts *p) {
    if (p->arena != NULL)
        return;
    p->arena = arena_new();
    p->change_capacity = p->run_capacity = 0;
}

static void run_count_change(Parts *p, uint32_t subxid) {
    bool same = p->run_count > 0 && p->runs[p->run_count - 1].subxid == subxid;
    if (!same) {
        p->runs = list_grow(p->arena, p->runs, p->run_count, &p->run_capacity, RUNS_LEAST, sizeof *p->runs);
        p->runs[p->run_count++] = (Transaction){.xid = p->xid, .subxid = subxid};
    }
    p->runs[p->run_count - 1].count++;
    p->change_count++;
}

static bool change_collect(Parts *p, uint32_t subxid, Arrival arrival, Slice frame, Error *e) {
    const AssemblerOptions *options = p->desk->options;
    Message m;
    bool made;
    collected_open(p);
    p->changes = list_grow(p->arena, p->changes, p->change_count, &p->change_capacity, CHANGES_LEAST,
                           sizeof *p->changes);
    AssemblerView view = {p->desk->relations, p->scope, p->arena, options};
    Slice copy = {arena_text(p->arena, frame), frame.len};
    if (!pgoutput_decode(copy, (DecodeOptions){true, options->abort_has_lsn}, p->arena, &m, e) ||
        !assembler_change(&view, &m, arrival, &p->seq, &p->changes[p->change_count], &made, e))
        return false;
    if (made)
        run_count_change(p, subxid);
    if (p->change_count == 0)
        collected_drop(p);
    return true;
}

static bool is_full(const Parts *p) {
    const AssemblerOptions *options = p->desk->options;
    return p->arena != NULL &&
           (p->change_count >= options->early_changes || arena_bytes(p->arena) >= options->batch_bytes);
}

bool parts_add(Parts **parts, uint32_t subxid, MessageKind kind, Arrival arrival, Slice frame, Error *e) {
    Parts *p = *parts;
    if (p == NULL)
        return true;
    if (kind == MESSAGE_TRUNCATE || kind == MESSAGE_LOGICAL || frame.len > p->desk->options->batch_bytes) {
        parts_abort(parts);
        return true;
    }
    if (!change_collect(p, subxid, arrival, frame, e))
        return false;
    if (!is_full(p))
        return true;
    if (ticket_outcome(p->ticket) == TICKET_GIVEN_UP)
        parts_close(parts, false);
    else
        collected_wait(p);
    return true;
}

bool parts_begun(const Parts *p) {
    return p->begun;
}

void parts_cut(Parts **parts, uint32_t subxid, uint64_t arrival) {
    Parts *p = *parts;
    if (p == NULL)
        return;
    relation_scope_cut(p->scope, arrival);
    collected_wait(p);
    if (p->begun)
        word_wait(p, BATCH_CUT, (Transaction){.subxid = subxid});
}

void parts_abort(Parts **parts) {
    if (*parts != NULL && (*parts)->begun)
        word_wait(*parts, BATCH_ABORT, (Transaction){.count = 0});
    parts_close(parts, false);
}

bool parts_commit(Parts **parts, const Transaction *head) {
    Parts *p = *parts;
    if (p == NULL || !p->begun || ticket_outcome(p->ticket) == TICKET_GIVEN_UP) {
        parts_close(parts, false);
        return false;
    }
    collected_wait(p);
    Transaction said = *head;
    said.ends = true;
    word_wait(p, BATCH_COMMIT, said);
    return true;
}
