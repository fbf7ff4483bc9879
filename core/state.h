/* state: the job's record at the destination: who runs it, where it stands, which tables are loaded. It lives where
 * the data lives, so that rows and position commit together and no file is needed to restart. Schema `walferry` (or
 * target.state_schema), made on first use:
 *   job            one row a job: slot, system identifier, timeline, bound, phase, birth, instance
 *   progress       insert-only (trap B1): (job, prev_lsn, lsn, ...); the newest row counts, prev_lsn is compare-and-set
 *   audit          one row a captured table: the sums of core/audit.h, as they were at audit_position
 *   table_state    one row a captured table, by the name that it began with: loaded or not, the LSN from which its
 *                  changes count (trap A2), which relation it is on either side (names may change), and the definition
 *                  that the destination has followed
 *   object_state   indexes, constraints and triggers that are already made
 *   existing       relations that the destination had before the job, as the source names them, and `existing:`
 *   dead_letter    changes that `conflicts: skip` left out (core/dead_letter.h)
 *   identity_state replica identities that walferry set on the source, so that cleanup can take them back
 * The functions run statements on the caller's connection; those named "in the caller's transaction" neither begin nor
 * commit. The job's advisory lock (trap A6): every connection that writes holds it shared; whoever begins a session
 * takes it exclusively first. */
#ifndef WALFERRY_CORE_STATE_H
#define WALFERRY_CORE_STATE_H

#include "core/config.h"
#include "core/metrics.h"
#include "core/pg.h"
#include "core/selection.h"

enum { STATE_FORMAT = 1 };

/* The three steps of a slot's birth (trap A17). */
typedef enum Birth {
    BIRTH_INTENT, /* the slot may or may not exist */
    BIRTH_SLOT,   /* it exists and its consistent point is the first progress row; nothing is copied yet */
    BIRTH_DONE    /* the destination's tables are made: the slot must never be made again */
} Birth;

typedef struct JobRecord {
    bool exists;
    int format;
    char slot[64];
    uint64_t system_id;
    uint32_t timeline;
    Birth birth;
    Lsn bound;   /* highest position that may have been confirmed; used only to detect a foreign slot (A9) */
    Lsn applied; /* newest progress row */
    Phase phase;
    char instance[200]; /* host, pid and start of the process that runs or ran it: for messages */
} JobRecord;

typedef struct TableRecord {
    char *schema, *name;
    bool loaded;
    bool kept;       /* the destination had it, and `existing: keep`; by state_tables_kept */
    bool was_loaded; /* it is loaded, or was before it was set aside */
    Lsn start;       /* valid when loaded: transactions with end <= start are skipped for this table */
    int64_t rows, bytes;
    uint32_t source_oid, target_oid; /* 0: not known, as in a record of an older version */
    char *definition;                /* core/definition, as text; NULL: not known */
    char *target_columns; /* the destination's columns by then: {"name": attnum}; NULL: not known */
} TableRecord;
typedef struct TableRecords {
    int count;
    TableRecord *rows;
    Lsn highest_start; /* over the loaded ones */
    bool all_loaded;
} TableRecords;

/* Makes schema and tables where missing; refuses (ERR_CONFIG) a format newer than ours. */
bool state_open(Pg *pg, const Config *cfg, Error *e);
/* True when the schema is there (for commands that must not make it). */
bool state_exists(Pg *pg, const Config *cfg, bool *exists, Error *e);
bool state_read(Pg *pg, const Config *cfg, JobRecord *out, Error *e); /* exists = false: no such job */

/* The lock (state_lock.c). The exclusive lock, then shared on the same connection. Waits wait_ms for other
 * holders; `end_holders` ends them by pg_terminate_backend (only for the owner of the slot). Else ERR_CONFIG
 * that names the holder. */
bool state_take(Pg *pg, const Config *cfg, int64_t wait_ms, bool end_holders, Error *e);
/* The shared lock, for every further connection that writes; refused (ERR_RETRY) when it would have to wait.
 */
bool state_share(Pg *pg, const Config *cfg, Error *e);

/* Birth. The intent row, in a transaction of its own; takes over one that was broken off, refuses (ERR_RETRY) one
 * that is done. */
bool state_intend(Pg *pg, const Config *cfg, uint64_t system_id, uint32_t timeline, const char *instance,
                  Error *e);
/* applied := bound := point, and one pending row for each table; own transaction. */
bool state_born(Pg *pg, const Config *cfg, Lsn point, const Selection *selection, Error *e);
/* The tables exist now: in the caller's transaction, with them. */
bool state_schema_made(Pg *pg, const Config *cfg, Error *e);
bool state_instance(Pg *pg, const Config *cfg, const char *instance, Error *e);
bool state_phase(Pg *pg, const Config *cfg, Phase phase, Error *e);
/* Bound begins anew at `bound`, which may be lower (trap A9: job/position.h). Durable when it returns. */
bool state_timeline(Pg *pg, const Config *cfg, uint32_t timeline, Lsn bound, Error *e);
/* Durable when it returns: synchronous_commit = on for this transaction. */
bool state_bound(Pg *pg, const Config *cfg, Lsn bound, Error *e);

/* All that was committed before, on whatever connection, is durable when it returns. */
bool state_flush(Pg *pg, const Config *cfg, Error *e);

/* One pending row for each table of the selection that has no record yet; in the caller's transaction. */
bool state_tables_join(Pg *pg, const Config *cfg, const Selection *selection, Error *e);

bool state_tables(Pg *pg, const Config *cfg, TableRecords *out, Error *e);
/* Fills in `kept`. */
bool state_tables_kept(Pg *pg, const Config *cfg, TableRecords *tables, Error *e);
/* Takes over the definitions, as they are now, into records of before. */
bool state_tables_again(Pg *pg, const Config *cfg, TableRecords *records, Error *e);
void state_tables_free(TableRecords *records);
/* The record's table in the selection, under whatever name it goes now (state_follow.c); NULL: none. */
const Table *state_table_selected(const Selection *selection, const TableRecord *record);
/* Leaves only the tables that the records have, under whatever name they go now (state_follow.c), and those others that
 * `joins` is true for (NULL: none): they have no record_name, and no record has their name. */
typedef bool StateJoins(const void *context, const Table *table);
void state_tables_follow(const TableRecords *records, Selection *selection, StateJoins *joins,
                         const void *context);
/* The record of a relation of the source: by OID, else by name where the OID is not known; NULL: none. A relation of
 * the name of one that the record knows by another OID is not it. */
TableRecord *state_table_find(const TableRecords *records, uint32_t oid, const char *schema,
                              const char *name);
/* The destination's table, named here, has followed this definition; in the caller's transaction, with what it did for
 * it. Into the given record, too. */
bool state_table_defined(Pg *pg, const Config *cfg, TableRecord *record, uint32_t oid, const char *definition,
                         const char *target_schema, const char *target_name, Error *e);
/* Sets a loaded table aside: its rows do not count any more until it is loaded again. Durable when it returns. */
bool state_table_aside(Pg *pg, const Config *cfg, TableRecord *record, Error *e);
/* Its table is gone from the source: nothing up to `upto`, and nothing of it will come after, is for it. */
bool state_table_gone(Pg *pg, const Config *cfg, const TableRecord *record, Lsn upto, Error *e);
/* In the caller's transaction, with the rows; exactly one pending row must change. */
bool state_table_loaded(Pg *pg, const Config *cfg, const Table *table, Lsn start, int64_t rows, int64_t bytes,
                        Error *e);
/* The names that the job was begun with (mapping_print), noted behind state_born; ERR_CONFIG when the job file says
 * others now: the rows of a table would go to another place, or other rows would come. */
bool state_names_note(Pg *pg, const Config *cfg, const Mapping *mapping, Error *e);
bool state_names_keep(Pg *pg, const Config *cfg, const Mapping *mapping, Error *e);
/* object_state: `made` says whether this statement (by its hash) was done by an earlier run; the second is in
 * the caller's transaction, with the statement. */
#define STATE_INDEX_NOTE                                                                                     \
    "index " /* of an index that is to be made (job/indexer): "schema\nname\nstatement" */
bool state_object_made(Pg *pg, const Config *cfg, const char *hash, bool *made, Error *e);
bool state_object_note(Pg *pg, const Config *cfg, const char *hash, const char *what, Error *e);
/* What the destination had before the job began; both in the caller's transaction. */
typedef struct StateName {
    const char *schema, *name;
} StateName;
bool state_existing_note(Pg *pg, const Config *cfg, const StateName *names, int count, Error *e);
/* Rows of schema, name and policy, ordered (pg_row_of_name). */
PGresult *state_existing(Pg *pg, const Config *cfg, Error *e);
/* Takes the notes back whose hash begins with `prefix`, in the caller's transaction; *count: how many. */
bool state_object_forget(Pg *pg, const Config *cfg, const char *prefix, int64_t *count, Error *e);
/* Rows of hash and what of the notes whose hash begins with `prefix`; NULL and e on failure. */
PGresult *state_objects(Pg *pg, const Config *cfg, const char *prefix, Error *e);
/* Every pending table begins again: a load without a slot reads everything from one snapshot or not at all.
 */
bool state_tables_reset(Pg *pg, const Config *cfg, Error *e);
/* What a source table's identity was before walferry set another; committed before it is set. */
bool state_identity_note(Pg *pg, const Config *cfg, const Table *table, Error *e);
/* Calls visit for each; stops at the first false. */
bool state_identities(Pg *pg, const Config *cfg,
                      bool (*visit)(void *context, const char *schema, const char *name, char setting,
                                    Error *e),
                      void *context, Error *e);

/* A constant with every "@" replaced by the quoted state schema; of malloc, the caller frees it. */
char *state_sql(Pg *pg, const Config *cfg, const char *sql);
/* The same as a statement with text parameters; the caller clears the result. NULL and e on failure. */
PGresult *state_query(Pg *pg, const Config *cfg, const char *sql, int count, const char *const *params,
                      Error *e);

/* Removes the job's rows, and the schema with the last job. Own transaction. */
bool state_remove(Pg *pg, const Config *cfg, Error *e);

#endif
