/* audit: how many changes of each table came and what became of them, kept with the progress in the same transaction of
 * the destination. Three sums a table:
 *   received  what the stream brought for it and its snapshot does not have (trap A2), counted as transactions are
 *             taken in, piece by piece
 *   applied   what was sent to the destination as part of a transaction that committed, counted as changes are sent; what
 *             a policy settled by putting the source's row in its place, too
 *   left_out  what the job's choice kept from it: dml, and what became a dead letter
 * Each has a count for insert, update, delete and truncate, and a hash: the sum, modulo 2^64, of one number for each change,
 * made of (commit LSN, table, kind). So it is the same in either gear, in whatever groups and pieces, applied while it
 * arrived or not, in text or in binary, and a change of another transaction does not make up for one that is missing.
 *
 * received = applied + left_out, and the record unbroken: every change of every transaction up to the progress was sent
 * to the destination exactly once, whatever was rolled back, done again, killed and begun anew. It does not prove that the
 * rows are right (row counts do while they are applied, trap A6; "verify" does afterwards), nor that changes of one
 * kind, table and transaction are not taken for each other, nor anything of what the destination's other users do.
 * What is prepared (two_phase) counts at its PREPARE, whatever its outcome.
 *
 * A table is one row of table_state: renamed or moved to another schema, it keeps its sums. Set aside and loaded again (ddl)
 * it keeps them as well: what its new snapshot has counts nowhere, just as before its first one, so between the change
 * of its form and that snapshot its counts stand still, and stay equal. One that was dropped is counted no more, and another
 * one of its name is not this job's.
 *
 * Kept: the row of progress holds what its group adds (audit_write), with the position at which it ends; now and then the sums
 * are written to the table "audit" and their position to "audit_position" (trap B1: no row is written at every commit).
 * Read again, the rows of progress must follow each other without a gap from there to the newest; else somebody
 * moved the progress by hand, and the sums are broken from then on, with the reason. Progress that was taken back
 * behind the position of the sums is seen, too; what was taken back since they were last written is not.
 *
 * Whoever applies a transaction, on whatever connection, counts into a delta of its own; whoever commits the progress, in
 * the stream's order, writes that delta beside it and then adds it to the sums. Deltas share nothing. One thread at a
 * time for an Audit and its deltas. */
#ifndef WALFERRY_CORE_AUDIT_H
#define WALFERRY_CORE_AUDIT_H

#include "core/change.h"
#include "core/metrics.h"
#include "core/state.h"

enum { AUDIT_KINDS = CHANGE_TRUNCATE + 1, AUDIT_REASON_SIZE = 200 };

typedef struct AuditSums {
    uint64_t counts[AUDIT_KINDS]; /* by ChangeKind; a TRUNCATE of several tables is one for each */
    uint64_t hash;
} AuditSums;
typedef struct AuditThree {
    AuditSums received, applied, left_out;
} AuditThree;

/* Of what is committed. */
typedef struct AuditTable {
    const TableRecord *record;
    uint64_t id;     /* of the record's name, which stays */
    uint32_t number; /* place in Audit.tables */
    bool unwritten;  /* changed since the sums were written */
    AuditThree sums;
    TableMetrics *metrics; /* NULL: not shown */
} AuditTable;

/* What one group adds. */
typedef struct AuditRow {
    AuditTable *table;
    AuditThree sums;
} AuditRow;
typedef struct AuditDelta {
    AuditRow *rows; /* a table may have several, one between two marks */
    uint32_t count, capacity;
    uint32_t marked;  /* rows below it stay as they are */
    uint32_t *places; /* by AuditTable.number: where its row was last */
    uint32_t place_count;
} AuditDelta;

typedef struct AuditPlace {
    uint32_t oid;
    AuditTable *table; /* NULL: free */
} AuditPlace;
typedef struct Audit {
    const TableRecords *records;
    Metrics *metrics;
    AuditTable *tables; /* by id */
    uint32_t count;
    AuditPlace *by_oid; /* those that came by; open addressing, at most half full */
    uint32_t by_oid_mask, known;
    Lsn since;                      /* where the sums begin */
    Lsn written;                    /* what is in the table "audit" counts up to here */
    Lsn end;                        /* what is here counts up to here */
    char broken[AUDIT_REASON_SIZE]; /* "": no */
} Audit;

/* records and metrics (NULL: nothing is shown) stay the caller's. The records' tables and start LSNs stay as they are; what
 * else is known of them may change. */
void audit_begin(Audit *a, const TableRecords *records, Metrics *metrics);
void audit_end(Audit *a);
/* By the record's name; NULL: the job has no such table. */
AuditTable *audit_table(const Audit *a, const char *schema, const char *name);

/* ---- while changes pass ---- */

/* A transaction, or a piece of one, was taken in, to be applied. Changes that are not due, and what is no change of a
 * table, count nowhere. */
void audit_receive(Audit *a, AuditDelta *d, const Transaction *tx);
/* One of its changes was sent to the destination, or left out; a TRUNCATE is one for each of its tables. */
void audit_apply(Audit *a, AuditDelta *d, const Transaction *tx, const Relation *rel, ChangeKind kind,
                 bool left_out);
/* A savepoint: d->count now and audit_cut to it later takes back all that was counted in between, and what was received, too. */
void audit_mark(AuditDelta *d);
void audit_cut(AuditDelta *d, uint32_t count);
/* As audit_mark; marks behind the one of `count` rows (0: all) are gone, and their rows are one for each table again. */
void audit_mark_behind(AuditDelta *d, uint32_t count);
/* To the newest mark, to apply again what was received since: takes back what was applied and left out. */
void audit_return(AuditDelta *d);
/* The transaction came in parts (early), and only now is it known where it ends: d holds nothing else. */
void audit_known(AuditDelta *d, const Transaction *tx);
/* The group was committed, up to `end`: d becomes part of the sums, and is empty. */
void audit_commit(Audit *a, AuditDelta *d, Lsn end);
void audit_delta_free(AuditDelta *d);

/* ---- what is kept ---- */

/* For the group's row of progress, which ends at `end`. */
void audit_write(const AuditDelta *d, Lsn end, Writer *out);
/* The same read back: adds it to the sums. A reason in a->broken when it is not what audit_write wrote for `end`. */
void audit_read(Audit *a, Slice kept, Lsn from, Lsn end);
void audit_break(Audit *a, const char *reason, Lsn at); /* the first reason stays */

/* Shows everything in the metrics. */
void audit_tell(const Audit *a);
/* received = applied + left_out */
bool audit_even(const AuditThree *sums);
uint64_t audit_total(const AuditSums *sums);

/* ---- core/audit_state.c: at the destination ---- */

/* Reads the sums up to `applied`, into one that has just begun. A record that has none begins there. Writes nothing. */
bool audit_load(Audit *a, Pg *pg, const Config *cfg, Lsn applied, Error *e);
/* The statements that write the sums, for one transaction: calls `send` for each. They count as written. */
typedef bool AuditSend(void *context, const char *sql, int count, const char *const *params, Error *e);
bool audit_store(Audit *a, Pg *pg, const Config *cfg, AuditSend *send, void *context, Error *e);

#endif
