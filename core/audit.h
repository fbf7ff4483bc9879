/* audit: how many changes of each table came and what became of them, kept with the progress in the same transaction of
 * the destination. Three sums a table:
 *   received  what the stream brought for it and its snapshot does not have (trap A2), counted as transactions are
 *             taken in, piece by piece
 *   applied   what was sent to the destination as part of a transaction that committed, counted as changes are sent
 *   left_out  what the job's choice kept from it (dml, dead letters); a TRUNCATE of several tables of which one is left
 *             out counts here for all of them
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
 * Kept: the row of progress holds what its group adds (audit_write), with the position at which it ends; now and then the sums
 * are written to the table "audit" and their position to "audit_position" (trap B1: no row is written at every commit).
 * Read again, the rows of progress must follow each other without a gap from there to the newest; else somebody
 * moved the progress by hand, and the sums are broken from then on, with the reason. Progress that was taken back
 * behind the position of the sums is seen, too; what was taken back since they were last written is not.
 * One thread at a time. */
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
    char *schema, *name;
    uint64_t id; /* of the name */
    Lsn start;   /* as in table_state */
    AuditThree sums;
    uint32_t row;          /* where it stands in the delta that had it last */
    bool unwritten;        /* changed since the sums were written */
    TableMetrics *metrics; /* NULL: not shown */
} AuditTable;

/* What one group adds. */
typedef struct AuditRow {
    AuditTable *table;
    AuditThree sums;
} AuditRow;
typedef struct AuditDelta {
    AuditRow *rows; /* a table may have several */
    uint32_t count, capacity;
    uint32_t marked; /* rows below it stay as they are */
} AuditDelta;

typedef struct Audit {
    const TableRecords *records;
    Metrics *metrics;
    AuditTable **tables;
    uint32_t count;
    AuditTable **by_relation; /* by Relation.number; NULL: not looked for yet */
    uint32_t relation_capacity;
    Lsn since;                      /* where the sums begin */
    Lsn written;                    /* what is in the table "audit" counts up to here */
    Lsn end;                        /* what is here counts up to here */
    char broken[AUDIT_REASON_SIZE]; /* "": no */
} Audit;

/* records and metrics (NULL: nothing is shown) stay the caller's. */
void audit_begin(Audit *a, const TableRecords *records, Metrics *metrics);
void audit_end(Audit *a);
/* Tables or their start LSNs have changed in the records. */
void audit_tables_changed(Audit *a);
/* The sums of this table, new when there are none; for the caller to fill in. */
AuditTable *audit_table(Audit *a, const char *schema, const char *name);

/* ---- while changes pass ---- */

/* A transaction, or a piece of one, was taken in. */
void audit_receive(Audit *a, AuditDelta *d, const Transaction *tx);
/* One of its changes was sent to the destination, or left out. Changes that are not due, and what is no change of a table,
 * count nowhere. */
void audit_apply(Audit *a, AuditDelta *d, const Transaction *tx, const Change *change, bool left_out);
/* A savepoint: d->count now and audit_cut to it later takes back all that was counted in between, and what was received, too. */
void audit_mark(AuditDelta *d);
void audit_cut(AuditDelta *d, uint32_t count);
/* A mark that there is only one of: earlier ones are gone. A return to it takes back what was applied, and what was received
 * stays. */
void audit_mark_alone(AuditDelta *d);
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
