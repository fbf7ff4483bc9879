/* apply: the sink that applies to a PostgreSQL destination: what its files share. apply.c is the sink's
 * interface, apply_session.c a connection with its statements, apply_group.c which source transactions make one at the
 * destination, apply_commit.c its progress and its end, runs.c several on their way, apply_row.c one change to one
 * statement, apply_prepared.c the transactions that are prepared there, early.c those that are applied while they arrive.
 *
 * Source transactions are put into one destination transaction (a group) while more of them wait, and
 * committed at once when nothing more is there. COMMIT is sent only after every result before it was read and
 * every row count was right (trap A6); the progress row is in the same transaction and is compare-and-set. A
 * group that is refused is rolled back and done again transaction by transaction, so that a conflict stops
 * exactly before the one it is in, or is settled there, statement by statement (sink/conflict.h). */
#ifndef WALFERRY_SINK_APPLY_H
#define WALFERRY_SINK_APPLY_H

#include "core/audit.h"
#include "sink/postgres/apply_session.h"

/* What a pipelined statement of the sink itself is for. */
typedef enum SinkNote {
    NOTE_PREPARED = NOTE_OWNERS, /* of: Transaction; exactly one row */
    NOTE_PROGRESS,
    NOTE_COMMIT,
    NOTE_WHERE /* the destination's own WAL positions */
} SinkNote;

/* A committed group whose commit record is not known to be flushed. */
typedef struct Unflushed {
    Lsn source_end, target_at;
} Unflushed;
enum { UNFLUSHED_MAX = 1024 };

/* A transaction that waits at the destination for its outcome; as in the table "prepared". */
typedef struct Prepared {
    uint32_t xid; /* of the source */
    Lsn end;      /* of its PREPARE */
} Prepared;

typedef struct Group {
    Batch **batches; /* one use each */
    uint32_t batch_count, batch_capacity;
    size_t bytes;
    bool inside;               /* in the middle of a transaction that comes in pieces */
    const Transaction *marked; /* the pieces from this one on can be taken back, NULL: none; */
    uint64_t changes_marked;   /* to this many changes */
    Lsn end;                   /* of the last whole transaction in it; none: empty */
    int64_t end_us;            /* its commit time */
    uint32_t transactions;     /* whole ones in it */
    uint32_t counted; /* those that changed something: beats and empty ones are no work of the users */
    bool touched;     /* the one in work has changed something */
    uint64_t changes;
    uint64_t left_out; /* of them, once it is sent; before, the session counts */
    int64_t since_ms;  /* when its first transaction came */
    int64_t beat;      /* newest beat in it; 0: none */
    int64_t beat_received_us, beat_decoded_us, beat_queued_us;
    AuditDelta audit;
} Group;

typedef struct Runs Runs;

/* sink/in_the_way: a session that looks who is in its way. */
typedef struct Waiter {
    Sink *sink;
    ApplySession *session;
} Waiter;

struct Sink {
    SinkOptions options;
    ApplySession session; /* in order */
    bool settles;     /* a policy of the job may settle conflicts: what is refused singly is done once more */
    Lsn applied;      /* end of the last committed transaction */
    Group group;      /* being collected or applied */
    ApplySession *at; /* on this session: the in-order one, or a lane's */
    Runs *runs;       /* sink/runs: those that are on their way, before `group` */
    uint32_t run_changes; /* a run is closed at so many changes */
    Waiter in_order;
    Pg *eye; /* sink/in_the_way; NULL: nobody has waited yet */
    bool looking;
    bool broken;  /* a transaction was refused by itself: nothing behind it may be tried */
    int pressure; /* how much more came lately than one group holds: chooses the gear */
    TableRecords tables;
    Audit audit;         /* up to `applied` */
    Writer audit_bytes;  /* for the row of progress */
    struct Early *early; /* sink/early */
    Prepared *prepared;
    uint32_t prepared_count;
    Unflushed unflushed[UNFLUSHED_MAX];
    uint32_t unflushed_first, unflushed_count;
    Lsn target_inserted, target_flushed; /* the destination's own positions */
    Lsn durable, durable_before;         /* of the source: now, and when settle was last asked */
    int64_t flush_asked_ms, unflushed_since_ms;
    uint32_t commits_since_trim;
    char *progress_sql, *trim_sql;
};

/* apply_group */
bool group_prepare(Sink *s, Error *e);       /* the sink's own statements */
bool group_add(Sink *s, Batch *b, Error *e); /* a batch's transactions, committing in between where it must */
/* Commits when there is something to commit: whole transactions, or (lazily, unless `now`) only empty ones.
 */
bool group_flush(Sink *s, bool now, Error *e);
/* Another connection that applies for this sink: its session, started, with the job's lock. ApplySession.pg may be left
 * behind a failure. */
bool apply_open_beside(Sink *s, ApplySession *session, Error *e);
void group_forget(Sink *s); /* drops its batches, commits nothing */
/* On a connection of the sink's choice, whose transaction `group` only counts: its own statements, after a reset, too; the
 * changes of one piece, which audit_receive has counted before; the end of their transaction; and its commit with the
 * progress from s->applied to group->end, which leaves its numbers in the group. Whoever commits knows that nothing older
 * is open. */
bool group_prepare_on(Sink *s, ApplySession *session, Error *e);
bool group_apply_on(Sink *s, ApplySession *session, Group *group, const Batch *b, const Transaction *tx,
                    Error *e);
void group_note_end(Group *group, const Transaction *tx);
bool group_commit_on(Sink *s, ApplySession *session, Group *group, Error *e);
/* The two steps of that: the progress, behind everything else; all answers read and found right, and COMMIT (A6). */
bool group_send_progress(Sink *s, ApplySession *session, const Group *group, Error *e);
bool group_commit_sent(Sink *s, ApplySession *session, Group *group, Error *e);
bool group_trim(Sink *s, Error *e); /* now and then, between commits: old rows of the progress */
/* What was refused as a run is applied transaction by transaction, on the in-order session; nothing else is on its way.
 * e says why. */
bool group_run_refused(Sink *s, const Group *run, Error *e);
uint32_t group_run_changes(void);
void group_clear(Group *group); /* empty again */
void group_free(Group *group);
bool group_ask_flushed(Sink *s, Error *e); /* the destination's WAL positions, and what is durable by them */
void group_check(void *sink, const LiveNote *note, const PGresult *result, Error *e); /* the SinkNotes */

#endif
