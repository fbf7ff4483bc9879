/* change: what the source did, as every sink sees it: relation versions, values, changes, transactions, batches.
 * Types only, and who still needs a batch or a relation version. Everything a batch points to lives as long as the
 * batch, the relation versions of its changes, too. */
#ifndef WALFERRY_CORE_CHANGE_H
#define WALFERRY_CORE_CHANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/bytes.h"
#include "core/lsn.h"
#include "core/ticket.h"

enum { COLUMNS_MAX = 1600 }; /* MaxHeapAttributeNumber */

typedef struct Column {
    const char *name;
    uint32_t type;    /* the source's type OID */
    int32_t modifier; /* atttypmod, -1: none */
    bool key;         /* part of the replica identity */
} Column;

/* One version of a relation: a Relation message that differs from the one before begins a new version.
 * `number` counts versions from 0 within a session, so that a sink can keep its plans in an array. */
typedef struct Relation {
    uint32_t number;
    uint32_t oid; /* at the source */
    const char *schema, *name;
    char identity; /* pg_class.relreplident: d default, n nothing, f full, i index */
    uint16_t column_count;
    const Column *columns;
    bool counted; /* else it lives for ever, as in unit tests */
    atomic_uint users, rememberers;
    atomic_uint
        repeats; /* how often the server has announced it again: what it does not say may be other by now */
    uint64_t arena; /* decoder/relation: the last one that was given a use */
} Relation;

/* In use: it is in force, or a batch has changes of it. Any thread. */
void relation_use(const Relation *rel);
void relation_drop(const Relation *rel);
void relation_repeat(const Relation *rel);
unsigned relation_repeats(const Relation *rel);
/* For whoever has made something of it, and asks now and then whether that is still good for something: the memory
 * stays, which keeps no version in use. */
void relation_remember(const Relation *rel);
void relation_forget(const Relation *rel);
bool relation_is_over(const Relation *rel); /* nobody uses it, and nobody will */

typedef enum ValueKind {
    VALUE_ABSENT = 0, /* not sent: outside the key in a key tuple */
    VALUE_NULL,
    VALUE_UNCHANGED, /* a TOAST value that the statement did not touch and the WAL does not carry */
    VALUE_TEXT,
    VALUE_BINARY
} ValueKind;

typedef struct Value {
    ValueKind kind;
    Slice bytes; /* TEXT and BINARY: a view into the batch's arena; behind a TEXT stands a NUL */
} Value;

/* The source sent it: NULL is known, an absent or unchanged value is not. */
static inline bool value_is_known(const Value *value) {
    return value->kind == VALUE_TEXT || value->kind == VALUE_BINARY || value->kind == VALUE_NULL;
}

typedef enum ChangeKind {
    CHANGE_INSERT,
    CHANGE_UPDATE,
    CHANGE_DELETE,
    CHANGE_TRUNCATE,
    CHANGE_MESSAGE,
    CHANGE_BEAT /* our own heartbeat, by row or by message: never data */
} ChangeKind;

typedef struct Change {
    ChangeKind kind;
    uint32_t seq;        /* place among the surviving changes of its transaction, from 0 */
    Lsn at;              /* of its own record: for people and envelopes, never compared */
    const Relation *rel; /* the version in force; NULL in TRUNCATE, MESSAGE and BEAT */
    union {
        struct {
            /* rel->column_count values each. NULL: none sent; what was there before is a key tuple or, under
             * FULL, the row; what is there after it is NULL in a DELETE. */
            const Value *before, *after;
        } row;
        struct {
            const Relation *const *rels;
            uint32_t count;
            bool cascade, restart_identity;
        } truncate;
        struct {
            Slice prefix, content;
            bool transactional;
        } message;
        struct {
            int64_t number;
        } beat;
    };
} Change;

/* What the end of a transaction does to it. Only a job with two_phase sees others than the first. */
typedef enum TransactionEnd {
    TRANSACTION_COMMITS,
    TRANSACTION_PREPARES,           /* its rows are known, its outcome is not: PREPARE TRANSACTION */
    TRANSACTION_COMMITS_PREPARED,   /* one without changes that decides over the prepared one of this xid */
    TRANSACTION_ROLLS_BACK_PREPARED /* likewise */
} TransactionEnd;

/* A transaction, or one piece of a large one. Pieces of one transaction follow each other with nothing between;
 * nothing of it may become visible before the piece that `ends` it. (commit LSN, seq) is the identity of a change;
 * only `end` is compared, stored and confirmed. A non-transactional message is a transaction of its own. */
typedef struct Transaction {
    uint32_t xid;
    uint32_t subxid; /* BATCH_PART and BATCH_CUT only: whose changes these are, or what is undone */
    TransactionEnd ending;
    Lsn commit; /* of the record that ends it (commit, prepare, ...), or a byte inside of that record */
    Lsn end;    /* first byte behind it */
    Lsn began;  /* as the server says where it began: none of a part, and of what was prepared */
    int64_t committed_us; /* source's clock, microseconds since 1970 */
    uint32_t seqs;  /* up to here: rows, truncates and messages, also those that are this program's own */
    uint32_t count; /* changes in this piece; 0: nothing captured */
    const Change *changes;
    bool begins, ends; /* the first piece, the last piece; a whole transaction is both */
} Transaction;

/* False: the snapshot of a table that was loaded up to `start` has it already (trap A2). What comes in parts ends behind all
 * snapshots (trap A7a). What is prepared only now was open at every snapshot, wherever its PREPARE lies: prepared
 * transactions are asked for when all that was committed before the last snapshot is here. */
static inline bool change_is_due(Lsn start, const Transaction *tx) {
    return tx->ending == TRANSACTION_PREPARES || lsn_is_none(tx->end) || lsn_before(start, tx->end);
}

/* Sinks that take no parts see only the first. Of a transaction that they are handed in parts, the others get the
 * parts while it arrives, then its commit or abort; and behind a commit, when its ticket says that it was given up, the
 * whole as well. In all but the first stand `xid` and `ticket`, and `commit` and `end` only in BATCH_COMMIT. */
typedef enum BatchKind {
    BATCH_WHOLE,
    BATCH_PART,   /* more of it: one Transaction for each run of changes of the same subtransaction */
    BATCH_CUT,    /* a subtransaction was rolled back: everything since its first change is undone */
    BATCH_COMMIT, /* that was all */
    BATCH_ABORT   /* nothing of it counts; or it goes on unseen, and the whole comes at its commit */
} BatchKind;

/* A run of pieces in commit order, in one arena. Shared by the sinks: each holds one use. */
typedef struct Batch {
    BatchKind kind;
    Ticket *ticket; /* the batch's use of it; NULL in BATCH_WHOLE */
    Arena *arena;
    uint32_t count;
    const Transaction *transactions;
    size_t bytes;        /* what it weighs in a queue */
    int64_t received_us; /* monotonic clock: when its last frame was read */
    int64_t decoded_us;  /* monotonic clock: when it was assembled */
    atomic_uint users;
} Batch;

Batch *batch_new(Arena *arena); /* adopts the arena, lives in it; one use */
void batch_use(Batch *b);
void batch_drop(Batch *b); /* the last drop frees it and its arena */

#endif
