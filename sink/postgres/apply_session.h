/* apply_session: one connection that applies changes at the destination: its pipeline, what it knows of the relations
 * that came by, its prepared statements, its open transaction. Not which changes belong into one transaction, nor
 * progress, nor durability: those are its owner's, who may have several. One thread at a time. */
#ifndef WALFERRY_SINK_APPLY_SESSION_H
#define WALFERRY_SINK_APPLY_SESSION_H

#include "core/state.h"
#include "sink/postgres/live.h"
#include "sink/postgres/plan.h"
#include "sink/sink.h"

/* What a pipelined statement is for. */
typedef enum SessionNote {
    NOTE_BEGIN,
    NOTE_PREPARE,
    NOTE_PLAN,        /* of: Transaction, about: Change; for ApplySession.planned */
    NOTE_ROW,         /* of: Transaction, about: Change; exactly one row */
    NOTE_TRUNCATE,    /* of: Transaction, about: Change */
    NOTE_DEAD_LETTER, /* of: Transaction, about: Change */
    NOTE_SET,         /* about: the catch-up gear's */
    NOTE_SET_PREPARED,
    NOTE_OWNERS /* this and all beyond: the owner's */
} SessionNote;

enum {
    SETS_SENT_BYTES_MAX = 4 << 20
}; /* a run's worth: the server works on it while the next one is collected */

/* Told to the metrics, and zeroed, by whoever commits. What is left out is counted as it comes by, so it may be of the run
 * that is being collected while an earlier one is under way: it is the owner's to take back. Conflicts are counted as they
 * are answered, and taken back by a reset; a return to the mark takes back all. */
typedef struct ApplyCounts {
    uint64_t left_out, conflicts, dead_letters;
} ApplyCounts;

/* Of the last row that was refused: why, in the server's words or ours, without its place. */
typedef struct Refusal {
    bool happened;
    int64_t rows; /* that the statement found; -1: the server refused it */
    char reason[600];
} Refusal;

typedef struct ApplySession {
    const SinkOptions *options;
    TableRecords *tables; /* what is loaded, from where it counts, and what it looks like */
    Pg *pg;
    Live *live;
    bool open;      /* BEGIN was sent; whoever ends the transaction resets it */
    bool marked;    /* it has a savepoint */
    uint32_t locks; /* another number for each transaction, and when locks of the open one may have gone */
    ApplyCounts counts, counts_marked; /* now; at the mark */
    Refusal refusal;
    int64_t told_second; /* conflicts are logged a few a second (conflict.h) */
    uint32_t told, untold;
    void *context;
    bool (*end_other)(void *context, Error *e); /* ends the owner's earlier transactions; NULL: it has none */
    bool (*end_form)(void *context,
                     Error *e); /* those of them that are on this connection, or may change a form */
    Plan **plans;               /* by Relation.number */
    TableRecord **records;      /* likewise; NULL: not looked for yet */
    const Relation *planned;    /* whom the one NOTE_PLAN under way is about */
    Arena *planned_arena;       /* and where its plan will live */
    bool parts;                 /* of a transaction whose outcome is not known: it moves no definition */
    bool redefined;             /* a definition of `tables` has moved in some transaction of this session */
    TableRecord *altered;       /* whose change is why a transaction was refused (apply_alter) */
    uint32_t plan_capacity, plan_count, plans_since_look, next_statement;
    bool left_out;   /* set where the job's choice keeps a row's change from the destination (core/audit) */
    bool collecting; /* changes are collected into sets (catchup.h); else each goes as it comes */
    struct Collected *collected; /* NULL until it is needed */
    size_t sent_bytes_max;       /* of sets, unanswered; the owner may change it */
    /* Something of the open transaction was sent before its turn: a set that is refused need not be wrong. Its plan. */
    bool hurried;
    Plan *doubted;
    /* parameters of the statement being built */
    const char *values[2 * COLUMNS_MAX];
    int lengths[2 * COLUMNS_MAX], formats[2 * COLUMNS_MAX];
} ApplySession;

/* Connects; plain statements until apply_session_start. options and tables stay the caller's and must outlive it. */
bool apply_session_open(ApplySession *s, const SinkOptions *options, TableRecords *tables, Error *e);
/* Begins with the pipeline and prepares the session's own statements. `check` gets every result, with the session:
 * apply_answer knows those of the SessionNotes. `context` is the owner's. */
bool apply_session_start(ApplySession *s, LiveCheck *check, void *context, Error *e);
bool apply_session_is_lost(const ApplySession *s, const Error *e); /* that is why e */
/* Whom the job's eye on the target looks at while the sink waits there. */
void apply_tell_who_works(const ApplySession *s);
void apply_session_close(ApplySession *s); /* rolls back what is open; one that was never opened is fine */

bool apply_session_idle(ApplySession *s, Error *e);  /* no earlier transaction is under way */
bool apply_session_begin(ApplySession *s, Error *e); /* idle, and BEGIN, unless it was sent */
/* After a failure, or before it: rolled back, usable again, all statements prepared anew. What is collected stays, and
 * apply_session_roll_back keeps what was sent, too. */
bool apply_session_roll_back(ApplySession *s, Error *e);
bool apply_session_reset(ApplySession *s, Error *e);

/* SAVEPOINT in the open transaction; another one takes the place of the first. */
bool apply_session_mark(ApplySession *s, Error *e);
/* After a failure: back to the mark, usable again, all statements prepared anew. */
bool apply_session_return(ApplySession *s, Error *e);
/* The owner goes back to a savepoint of its own: with the locks that were taken behind it. */
void apply_session_locks_gone(ApplySession *s);
/* Changes are collected from now on, or not. Nothing may be collected at the moment. */
void apply_session_collect(ApplySession *s, bool collecting);

bool apply_in_binary(const ApplySession *s);               /* the stream's values */
void apply_session_drop(ApplySession *s, uint32_t number); /* the plan of that relation, where there is one */

#endif
