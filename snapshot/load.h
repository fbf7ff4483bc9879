/* load: the full load: which tables, in what order, on how many connections, then everything that is built after the
 * data. Largest first; a table that would keep one worker busy when the others are done is cut into ranges that all of
 * them copy (ranges.h). It opens its own connections; the exporter's belongs to the caller and stays idle until
 * load_tables returns. */
#ifndef WALFERRY_SNAPSHOT_LOAD_H
#define WALFERRY_SNAPSHOT_LOAD_H

#include <stdatomic.h>

#include "core/config.h"
#include "core/metrics.h"
#include "core/selection.h"
#include "core/state.h"
#include "core/throttle.h"
#include "snapshot/dump.h"

typedef struct Load {
    const Config *cfg;
    const Selection *selection;
    Metrics *metrics; /* its tables are the selection's, in the same order */
    Throttle *throttle;
    const PGresult *existing; /* of state_existing; only load_tables needs it */
    const atomic_bool *stop;
    bool
        again; /* of tables that were loaded before: one whose form changes meanwhile has its form given anew */
} Load;

/* Copies every table that `records` does not call loaded. Tables that were rewritten since the snapshot (A10) or are
 * locked stay pending and are counted in *left: the caller comes again with a new snapshot. */
bool load_tables(const Load *load, const TableRecords *records, const char *snapshot, Lsn point, int *left,
                 Error *e);
/* Runs the entries of the kinds whose bit (1 << DumpKind) is in `kinds` one after the other, each with its object_state
 * row. Entries that an earlier run made are left out. Foreign keys are made NOT VALID where they can be. */
bool load_entries(const Load *load, const Dump *dump, unsigned kinds, Error *e);
/* Vacuums the tables that were copied in ranges and builds the indexes, constraints over them and statistics of the
 * dump, on load.workers connections: primary keys first, then constraints, then the others, large tables first, and no
 * index of a table before its vacuum. Memory and processes: build_plan.h. The source is asked what belongs together. */
bool load_indexes(const Load *load, Pg *source, const Dump *dump, Error *e);
/* Validates the foreign keys that load_entries made NOT VALID, on several connections, one a table at a time. */
bool load_validate(const Load *load, Pg *source, const Dump *dump, Error *e);
/* ANALYZE of every loaded table, and of the partitioned ones above them, on several connections. */
bool load_analyze(const Load *load, Error *e);
/* Refreshes the materialized views that hold rows at the source, in dependency order, each with its statistics. */
bool load_refresh(const Load *load, Pg *source, Pg *target, Error *e);

#endif
