/* ranges: a table that several workers copy at the same time, each some ranges of its heap's blocks. Not how it is cut
 * (load_plan), nor the copy of one range (copy).
 *
 * The destination's record makes it exact. The table is truncated and its old notes are taken back in one transaction.
 * Each range commits its rows with a note of its own in object_state. The table counts as loaded in one transaction
 * that takes back all of these notes, as many as there are ranges, writes table_state, and leaves a note that the table
 * has yet to be vacuumed. So a commit whose answer was lost is neither repeated nor missed, and a destination that
 * forgot commits (synchronous_commit = off, or a failover) is found out. A killed run leaves the table pending: it is
 * truncated and copied whole under the next snapshot (trap A2).
 *
 * A source table is read by ranges when it is a heap and the server is 14 or newer: older ones read the whole table for
 * each. Others stay whole.
 *
 * VACUUM (FREEZE) waits until all tables are copied: rows of a range become visible to all only when every transaction
 * is over that was open at its commit, and those that copy the other tables are open for long. */
#ifndef WALFERRY_SNAPSHOT_RANGES_H
#define WALFERRY_SNAPSHOT_RANGES_H

#include "snapshot/copy.h"
#include "snapshot/load.h"
#include "snapshot/load_plan.h"

/* One table; shared by the workers. */
typedef struct SplitTable {
    const Table *table;
    int ranges;
    atomic_int left; /* ranges that are not over */
    atomic_bool
        given_up; /* its rows cannot be had under this snapshot: ranges that have not begun are left out */
    atomic_llong rows, bytes;
} SplitTable;

/* The number of blocks of a table that can be read by ranges; 0: it cannot. */
bool ranges_blocks(Pg *source, const Table *table, int64_t *blocks, Error *e);
/* Makes the table empty for its ranges; own transaction. */
bool ranges_begin(Pg *target, const Config *cfg, const Table *table, const atomic_bool *stop, Error *e);
/* The note of one range. */
void ranges_note(const Table *table, int range, char *out, size_t size);
/* All ranges are over: counts the table as loaded, or sets *loaded to false when the destination does not hold all of
 * them any more. Own transaction. */
bool ranges_end(Pg *target, const Config *cfg, const SplitTable *split, Lsn point, bool *loaded, Error *e);
/* Vacuums a split table by its note, which is taken back afterwards. */
bool ranges_vacuum(Pg *target, const Load *load, const char *note, const char *quoted_name,
                   const atomic_bool *stop, Error *e);
void ranges_vacuum_note(const Table *table, char *out, size_t size);
/* Rows of note and quoted name of the tables that have yet to be vacuumed. */
PGresult *ranges_unvacuumed(Pg *target, const Config *cfg, Error *e);

#endif
