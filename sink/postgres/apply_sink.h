/* apply_sink: the sink that applies to a PostgreSQL destination: what its files share. From the top down: apply.c is the
 * sink's interface, in_the_way.c looks who of ours keeps whom waiting, early.c are the transactions that are applied while
 * they arrive, apply_group.c which source transactions make one at the destination, runs.c several on their way, alone.c
 * one by itself, apply_changes.c the changes of one, apply_commit.c its progress and its end, apply_prepared.c the
 * transactions that are prepared there. Below them, and without a Sink: apply_answer.c what the destination says,
 * catchup_change.c a change in either gear, conflict.c one that does not fit, apply_row.c one to one statement, apply_plan.c
 * what is known of its table, catchup.c what was collected, apply_session.c a connection with its open transaction.
 *
 * Source transactions are put into one destination transaction (a group) while more of them wait, and
 * committed at once when nothing more is there. COMMIT is sent only after every result before it was read and
 * every row count was right (trap A6); the progress row is in the same transaction and is compare-and-set. A
 * group that is refused is rolled back and done again transaction by transaction, so that a conflict stops
 * exactly before the one it is in, or is settled there, statement by statement (conflict.h). */
#ifndef WALFERRY_SINK_APPLY_SINK_H
#define WALFERRY_SINK_APPLY_SINK_H

#include "sink/postgres/apply_session.h"
#include "sink/postgres/group.h"

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

struct Sink {
    SinkOptions options;
    ApplySession session; /* in order */
    bool settles;     /* a policy of the job may settle conflicts: what is refused singly is done once more */
    Lsn applied;      /* end of the last committed transaction */
    Group group;      /* being collected or applied */
    ApplySession *at; /* on this session: the in-order one, or a lane's */
    struct Runs *runs;    /* runs.h: those that are on their way, before `group` */
    uint32_t run_changes; /* a run is closed at so many changes */
    LiveLook *look;       /* in_the_way.h, of each of its sessions that waits, which is the context */
    Pg *eye;              /* with this; NULL: nobody has waited yet */
    bool looking;
    bool broken;  /* a transaction was refused by itself: nothing behind it may be tried */
    int pressure; /* how much more came lately than one group holds: chooses the gear */
    TableRecords tables;
    Audit audit;         /* up to `applied` */
    Writer audit_bytes;  /* for the row of progress */
    struct Early *early; /* early.h */
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

#endif
