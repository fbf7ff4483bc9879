/* held: the frames of one transaction whose end has not been read yet, in order of arrival: in memory up to the
 * common budget, then in a journal. A subtransaction's abort cuts at its first frame (L11; PostgreSQL's worker.c does
 * the same), which is exact because a child's frames lie inside its parent's, and because the server sends the
 * Relation messages again after an abort. Nothing is decoded here. The source's thread only. */
#ifndef WALFERRY_DECODER_HELD_H
#define WALFERRY_DECODER_HELD_H

#include "core/bytes.h"
#include "core/error.h"
#include "core/journal.h"
#include "core/lsn.h"

typedef struct Held Held;

/* What all held transactions of a session share. When memory is used up, the one that holds most of it spills. */
typedef struct HeldBudget {
    size_t limit_bytes, used_bytes; /* memory */
    JournalSpace *spill;
    void (*release)(void *memory); /* frees an adopted frame */
    Held *all;                     /* every held transaction of the session */
} HeldBudget;

typedef struct Arrival {
    uint64_t number; /* running number of the frame in the session */
    Lsn at;          /* of the record that it tells of, as its CopyData header says */
} Arrival;

typedef struct HeldFrame {
    Arrival arrival;
    Slice bytes;  /* the pgoutput message, without its CopyData header */
    void *memory; /* not NULL: the caller adopts it; NULL: a view that lasts until the next call */
    size_t memory_bytes;
    void (*release)(void *memory);
} HeldFrame;

Held *held_new(HeldBudget *budget, uint32_t xid);
void held_free(Held *h); /* NULL is fine */
/* Adopts `memory`, which contains `bytes` and a byte behind them, in any case. subxid: who did it (the top xid
 * outside of streams). */
bool held_add(Held *h, uint32_t subxid, Arrival arrival, Slice bytes, void *memory, size_t memory_bytes,
              Error *e);
/* Cuts at the first frame of subxid; an unknown one (it did nothing, or is cut already) is no error. */
bool held_cut(Held *h, uint32_t subxid, Error *e);
/* False: it did nothing, or is cut already; else the number of its first frame. */
bool held_began(const Held *h, uint32_t subxid, uint64_t *arrival);
/* Its frames go, those to come at once: only where its subtransactions begin is still known. It cannot be read. */
void held_forget(Held *h);
bool held_is_forgotten(const Held *h);
size_t held_bytes(const Held *h); /* in memory and on disk */
uint32_t held_xid(const Held *h);
uint64_t held_count(const Held *h);      /* frames inside */
uint64_t held_disk_bytes(const Held *h); /* in its journal */

/* Reading, once, after the last add: false with ERR_NONE at the end. */
bool held_next(Held *h, HeldFrame *out, Error *e);

#endif
