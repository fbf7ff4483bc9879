/* ranges: a table that several workers copy at the same time, each some ranges of its rows. Not where it is cut
 * (cuts) and into what (load_plan), nor the copy of one range (copy).
 *
 * The destination's record makes it exact. The table is truncated with a note that it was, each range commits its rows
 * with a note of its own; all of them are in object_state and name the snapshot. The table counts as loaded in one
 * transaction that takes back all of these notes, one more than there are ranges, writes table_state, and leaves a note
 * that the table has yet to be vacuumed. So a commit whose answer was lost is neither repeated nor missed, and a
 * destination that forgot commits (synchronous_commit = off, or a failover), the emptying included, is found out. A
 * killed run leaves the table pending: all of it is copied again under the next snapshot (trap A2).
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
    const char *snapshot;
    int ranges;
    atomic_int left; /* ranges that are not over */
    atomic_bool
        given_up; /* its rows cannot be had under this snapshot: ranges that have not begun are left out */
    atomic_llong rows, bytes;
} SplitTable;

enum { RANGES_NOTE_SIZE = 128 };

/* The notes of ranges are good for one snapshot: those of all earlier ones go, also of tables that are whole now. */
bool ranges_forget(Pg *target, const Config *cfg, Error *e);
/* Makes the table empty for its ranges; own transaction. *begun = false, and says why: it cannot be emptied at once,
 * because somebody reads it or others refer to it; the copy of the whole table waits longer, and can do without. */
bool ranges_begin(Pg *target, const Load *load, const Table *table, const char *snapshot, bool *begun,
                  Error *e);
/* The note of one range; `out` has room for RANGES_NOTE_SIZE. */
void ranges_note(const SplitTable *split, int range, char *out);
/* All ranges are over: counts the table as loaded, or sets *loaded to false when the destination does not hold all of
 * them any more. Own transaction. */
bool ranges_end(Pg *target, const Config *cfg, const SplitTable *split, Lsn point, bool *loaded, Error *e);
/* Vacuums a split table by its note, which is taken back afterwards. */
bool ranges_vacuum(Pg *target, const Load *load, const char *note, const char *quoted_name,
                   const atomic_bool *stop, Error *e);
void ranges_vacuum_note(const Table *table, char *out);
/* Rows of note and quoted name of the tables that have yet to be vacuumed. */
PGresult *ranges_unvacuumed(Pg *target, const Config *cfg, Error *e);

#endif
