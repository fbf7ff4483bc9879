/* assembler: messages to whole transactions. Feeds on frames in the order of arrival, checks the protocol's state
 * machine (F64), holds every transaction until its end is read, numbers the surviving changes (trap C2), recognises our
 * own heartbeat, and gives batches of transactions in commit order. Pure: no socket, no clock, no thread of its own.
 *
 *   feed(frame) … feed(frame) ──▶ take(batch) until there is none ──▶ feed …
 * A large transaction is handed out in pieces; feed is not called while pieces of it are left (assembler_full).
 * Where early_most says so, a streamed one is handed out in parts while it arrives (core/change.h, trap A7), and held all
 * the same. Behind its BATCH_COMMIT the caller waits for the ticket and tells by assembler_decide whether the whole is
 * still wanted: by a sink that gave it up, or by one that takes no parts. When the spill is full and nobody but the first
 * would need it, what is held of such a transaction goes; if it then is needed, the session ends with ERR_RETRY, and
 * assembler_unheld names the one that the next session must hold (trap A7d).
 * A non-transactional message is a transaction of its own: it ends at its LSN, which is the end of its record
 * and may be where the next commit record begins; a start one byte farther would make the server leave that
 * commit out.
 * Two-phase messages are refused unless they were asked for. Then a prepared transaction goes out when its PREPARE is
 * read, because the server sends its rows only once, and its COMMIT PREPARED as a transaction of its own without
 * changes (trap A8). One exception: of a transaction that was prepared before the slot knew two-phase, the server sends
 * everything at COMMIT PREPARED, and would do so again after a restart: it goes out whole, as any other. It is known by
 * its PREPARE record, which lies before `late_before`; the server never sends another one from there. */
#ifndef WALFERRY_DECODER_ASSEMBLER_H
#define WALFERRY_DECODER_ASSEMBLER_H

#include "core/change.h"
#include "core/ledger.h"
#include "decoder/held.h"
#include "decoder/pgoutput.h"
#include "decoder/relation.h"

typedef struct AssemblerOptions {
    bool abort_has_lsn; /* streaming 'parallel' was asked for */
    bool two_phase;     /* was asked for */
    Lsn late_before;    /* where the server begins: the larger of what was asked for and what was confirmed */
    size_t held_bytes;  /* memory for held transactions; beyond it they spill */
    size_t batch_bytes; /* a batch is closed when it weighs this much; a piece, too, of its own weight */
    uint32_t batch_changes; /* or has this many changes */
    uint32_t early_most;    /* streamed transactions in parts at a time; 0: every one is held until its end */
    uint32_t early_changes; /* a part is closed when it has this many changes, or weighs batch_bytes */
    Lsn early_from;         /* none of them before the server has come so far (trap A7a) */
    bool early_alone;       /* no sink needs the whole behind parts that were applied */
    uint32_t early_never;   /* this transaction is held; 0: any may be in parts */
    JournalSpace *spill;
    const char *job;                      /* whose beats are ours */
    const char *beat_schema, *beat_table; /* NULL: no heartbeat table */
    void (*release)(void *memory);        /* frees an adopted frame */
} AssemblerOptions;

typedef struct Assembler Assembler;

/* The ledger hears of every begin and commit when its frame is read (trap B11); NULL in unit tests is fine. */
Assembler *assembler_new(const AssemblerOptions *options, Ledger *ledger);
void assembler_free(Assembler *a);

/* at: of the record that the frame tells of. Takes over `memory` (which contains `frame` and a byte behind it) in any case, also on failure. ERR_PROTOCOL: the
 * session must end. */
bool assembler_feed(Assembler *a, Lsn at, Slice frame, void *memory, size_t memory_bytes, Error *e);
/* The next batch that is closed: by size, or by `flush` (nothing more to read at the moment), or a piece of a large
 * transaction. *out NULL: none now. The one use of the batch goes to the caller. */
bool assembler_take(Assembler *a, bool flush, Batch **out, Error *e);
/* True while a committed transaction is being handed out: take, do not feed. */
bool assembler_full(const Assembler *a);
/* The server has sent everything that it streams below this position. */
void assembler_reached(Assembler *a, Lsn at);
/* Behind BATCH_COMMIT, before anything else is taken. */
bool assembler_decide(Assembler *a, bool whole, Error *e);
uint32_t assembler_unheld(const Assembler *a); /* 0: none */

/* `run --until`: transactions that end beyond it are not handed out. */
void assembler_until(Assembler *a, Lsn until);
Lsn assembler_committed(
    const Assembler *a);                   /* end of the last transaction that goes out, or has; none: none */
bool assembler_passed(const Assembler *a); /* a transaction that ends beyond `until` was seen */

uint64_t assembler_aborts_ignored(const Assembler *a); /* STREAM ABORT of an unknown xid (L12, F49) */
uint64_t assembler_spilled_bytes(const Assembler *a);  /* on disk now */
uint32_t assembler_held(const Assembler *a);           /* open transactions held */

#endif
