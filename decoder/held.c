#include "decoder/held.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/fault.h"
#include "core/hash.h"
#include "core/memory.h"

/* A frame in memory; its number in the transaction is journal_count + its index. */
typedef struct Kept {
    Arrival arrival;
    Slice bytes;
    void *memory;
    size_t memory_bytes;
} Kept;

typedef struct Subxact {
    uint32_t xid;
    uint64_t first;   /* number of its first frame */
    uint64_t arrival; /* the number of that in the session */
    UT_hash_handle hh;
} Subxact;

struct Held {
    HeldBudget *budget;
    Held *next, *previous; /* in budget->all */
    uint32_t xid;
    Kept *kept;
    size_t kept_count, kept_capacity;
    size_t kept_read; /* by held_next */
    size_t kept_bytes;
    Journal *journal; /* everything older than `kept`; NULL: nothing spilled */
    bool journal_read;
    bool forgotten;
    Subxact **subxacts; /* in order of their first frames */
    size_t subxact_count, subxact_capacity;
    Subxact *by_xid;
};

enum { KEPT_OVERHEAD = sizeof(Kept) + 16 }; /* what a frame costs beside its bytes */

Held *held_new(HeldBudget *budget, uint32_t xid) {
    Held *h = memory_new(sizeof *h);
    h->budget = budget;
    h->xid = xid;
    h->next = budget->all;
    if (h->next != NULL)
        h->next->previous = h;
    budget->all = h;
    return h;
}

/* The frame's memory goes to somebody else, or away: no longer ours to count. */
static void kept_uncount(Held *h, const Kept *kept) {
    size_t weight = kept->memory_bytes + KEPT_OVERHEAD;
    assert(h->kept_bytes >= weight && h->budget->used_bytes >= weight);
    h->kept_bytes -= weight;
    h->budget->used_bytes -= weight;
}

static void kept_release(Held *h, Kept *kept) {
    kept_uncount(h, kept);
    h->budget->release(kept->memory);
    kept->memory = NULL;
}

static bool is_being_read(const Held *h) {
    return h->kept_read > 0 || h->journal_read;
}

static void subxacts_drop_from(Held *h, size_t index) {
    while (h->subxact_count > index) {
        Subxact *subxact = h->subxacts[--h->subxact_count];
        HASH_DEL(h->by_xid, subxact);
        free(subxact);
    }
}

void held_free(Held *h) {
    if (h == NULL)
        return;
    for (size_t index = h->kept_read; index < h->kept_count; index++)
        kept_release(h, &h->kept[index]);
    subxacts_drop_from(h, 0);
    free(h->subxacts);
    free(h->kept);
    journal_free(h->journal);
    if (h->previous != NULL)
        h->previous->next = h->next;
    else
        h->budget->all = h->next;
    if (h->next != NULL)
        h->next->previous = h->previous;
    free(h);
}

void held_forget(Held *h) {
    assert(!is_being_read(h));
    while (h->kept_count > 0)
        kept_release(h, &h->kept[--h->kept_count]);
    journal_free(h->journal);
    h->journal = NULL;
    h->forgotten = true;
}

bool held_is_forgotten(const Held *h) {
    return h->forgotten;
}

size_t held_bytes(const Held *h) {
    return h->kept_bytes + (size_t)held_disk_bytes(h);
}

uint32_t held_xid(const Held *h) {
    return h->xid;
}

uint64_t held_count(const Held *h) {
    return (h->journal == NULL ? 0 : journal_count(h->journal)) + h->kept_count;
}

uint64_t held_disk_bytes(const Held *h) {
    return h->journal == NULL ? 0 : journal_disk_bytes(h->journal);
}

static void subxact_note(Held *h, uint32_t subxid, uint64_t arrival) {
    Subxact *known;
    if (subxid == h->xid)
        return;
    HASH_FIND(hh, h->by_xid, &subxid, sizeof subxid, known);
    if (known != NULL)
        return;
    if (h->subxact_count == h->subxact_capacity) {
        h->subxact_capacity = h->subxact_capacity == 0 ? 8 : h->subxact_capacity * 2;
        h->subxacts = memory_grow(h->subxacts, h->subxact_capacity * sizeof(Subxact *));
    }
    known = memory_new(sizeof *known);
    known->xid = subxid;
    known->first = held_count(h);
    known->arrival = arrival;
    HASH_ADD(hh, h->by_xid, xid, sizeof known->xid, known);
    h->subxacts[h->subxact_count++] = known;
}

/* Journal record: its arrival, then the frame. A frame may be as large as all other memory together, so it is
 * never copied only to stand behind that. */
static bool spill_one(Held *h, const Kept *kept, Error *e) {
    Slice arrival = {(const char *)&kept->arrival, sizeof kept->arrival};
    return journal_append_two(h->journal, arrival, kept->bytes, e);
}

static bool spill(Held *h, Error *e) {
    if (!FAULT("assembler.spill_write", e))
        return false;
    if (h->journal == NULL)
        h->journal = journal_new(h->budget->spill, e);
    if (h->journal == NULL)
        return false;
    bool ok = true;
    size_t written = 0;
    while (written < h->kept_count && (ok = spill_one(h, &h->kept[written], e)))
        kept_release(h, &h->kept[written++]);
    memmove(h->kept, h->kept + written, (h->kept_count - written) * sizeof(Kept));
    h->kept_count -= written;
    if (h->kept_count == 0) { /* counted as the frames' overhead, so it goes with them */
        free(h->kept);
        h->kept = NULL;
        h->kept_capacity = 0;
    }
    /* Hundreds of transactions may be open at once: none keeps buffers until its next turn. */
    return ok && journal_rest(h->journal, e);
}

/* The budget is used up: the transaction that holds most of it goes to disk. */
static bool budget_make_room(HeldBudget *budget, Error *e) {
    Held *largest = NULL;
    for (Held *h = budget->all; h != NULL; h = h->next)
        if (!is_being_read(h) && (largest == NULL || h->kept_bytes > largest->kept_bytes))
            largest = h;
    return largest == NULL || largest->kept_count == 0 || spill(largest, e);
}

bool held_add(Held *h, uint32_t subxid, Arrival arrival, Slice bytes, void *memory, size_t memory_bytes,
              Error *e) {
    assert(!is_being_read(h));
    subxact_note(h, subxid, arrival.number);
    if (h->forgotten) {
        h->budget->release(memory);
        return true;
    }
    if (h->kept_count == h->kept_capacity) {
        h->kept_capacity = h->kept_capacity == 0 ? 16 : h->kept_capacity * 2;
        h->kept = memory_grow(h->kept, h->kept_capacity * sizeof(Kept));
    }
    h->kept[h->kept_count++] = (Kept){arrival, bytes, memory, memory_bytes};
    h->kept_bytes += memory_bytes + KEPT_OVERHEAD;
    h->budget->used_bytes += memory_bytes + KEPT_OVERHEAD;
    return h->budget->used_bytes <= h->budget->limit_bytes || budget_make_room(h->budget, e);
}

bool held_began(const Held *h, uint32_t subxid, uint64_t *arrival) {
    Subxact *known;
    HASH_FIND(hh, h->by_xid, &subxid, sizeof subxid, known);
    if (known != NULL)
        *arrival = known->arrival;
    return known != NULL;
}

bool held_cut(Held *h, uint32_t subxid, Error *e) {
    Subxact *subxact;
    HASH_FIND(hh, h->by_xid, &subxid, sizeof subxid, subxact);
    if (subxact == NULL)
        return true;
    uint64_t first = subxact->first;
    size_t index = h->subxact_count;
    while (h->subxacts[index - 1] != subxact)
        index--;
    subxacts_drop_from(h, index - 1);
    if (h->forgotten)
        return true;
    uint64_t on_disk = h->journal == NULL ? 0 : journal_count(h->journal);
    size_t keep = first > on_disk ? (size_t)(first - on_disk) : 0;
    while (h->kept_count > keep)
        kept_release(h, &h->kept[--h->kept_count]);
    return first >= on_disk || journal_cut(h->journal, first, e);
}

static bool next_from_journal(Held *h, HeldFrame *out, Error *e) {
    Slice record;
    if (!journal_next(h->journal, &record, e))
        return false;
    Arrival arrival;
    if (record.len < sizeof arrival)
        return fail(e, ERR_LIMIT, "a spilled record is too short");
    memcpy(&arrival, record.at, sizeof arrival);
    *out = (HeldFrame){.arrival = arrival,
                       .bytes = {record.at + sizeof arrival, record.len - sizeof arrival},
                       .release = free};
    out->memory = journal_adopt(h->journal, &out->memory_bytes);
    return true;
}

bool held_next(Held *h, HeldFrame *out, Error *e) {
    assert(!h->forgotten);
    error_clear(e);
    if (h->journal != NULL) {
        if (!h->journal_read && !journal_rewind(h->journal, e))
            return false;
        h->journal_read = true;
        if (next_from_journal(h, out, e))
            return true;
        if (e->kind != ERR_NONE)
            return false;
        journal_free(h->journal);
        h->journal = NULL;
    }
    if (h->kept_read == h->kept_count)
        return false;
    Kept *kept = &h->kept[h->kept_read++];
    kept_uncount(h, kept);
    *out = (HeldFrame){kept->arrival, kept->bytes, kept->memory, kept->memory_bytes, h->budget->release};
    return true;
}
