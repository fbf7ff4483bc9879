/* check_item: what the files of the check share. For them and their tests; everybody else uses job/check.h.
 *
 *   check.c         the list of items, their order, when each applies; report and JSON
 *   check_item.c    a finding, and the session of a check
 *   check_source.c  the source server: versions, settings, roles, what is free, what stands in the way
 *   check_names.c   the job's own words: patterns, names at the target, row filters, column lists (trap A1)
 *   check_choice.c  the kinds of change that the job does not apply, and what follows from that
 *   check_tables.c  the selected tables on the source: identities, rights, publication, heartbeat
 *   check_target.c  the target: connection, rights, existing tables, extensions; and both sides compared
 *   check_objects.c what the definitions need at the target: locks, roles, rights, triggers that keep still
 *   check_code.c    definitions of a job that chooses or renames: what goes with what is left out, old names in code
 *   check_database.c what the database itself has: its settings and its locale
 *   check_kafka.c   the brokers, the schema registry, the topics, and tables without a key
 *   check_existing.c the tables that are at the target already, when they stay or go
 *   check_text.c    the pure parts: name lists, settings that are lists, versions, hosts */
#ifndef WALFERRY_JOB_CHECK_ITEM_H
#define WALFERRY_JOB_CHECK_ITEM_H

#include "core/bytes.h"
#include "core/pg.h"
#include "core/selection.h"
#include "core/state.h"
#include "job/check.h"
#include "snapshot/choice.h"

/* What looking at one item gave. Nothing said: passed. */
typedef struct Finding {
    CheckState state;
    bool left_out; /* there is nothing to look at on this server */
    bool lost;     /* failed in a way for which `run` has exit code 3 */
    Writer seen, fix;
} Finding;

typedef struct Check {
    const Config *cfg;
    int64_t wait_ms;
    Pg *source, *target;                   /* NULL: not reached; the connection's item says why */
    PGresult *source_facts, *target_facts; /* one row each */
    Selection *selection; /* there when the source is; of a resumed job only its own tables */
    JobRecord record;     /* exists = false also when the target was not reached */
    bool state_schema;    /* the state schema exists at the target */
    bool resumed;         /* the job was born: its tables and its slot are expected */
    bool loaded;          /* and every row of the load is there */
    bool same_database;
    int brokers;      /* of Kafka; 0: they do not answer */
    bool interrupted; /* a server that had answered broke off: what was found is worth nothing */
} Check;

enum SourceFact {
    SOURCE_USER,
    SOURCE_DATABASE,
    SOURCE_STARTED,
    SOURCE_ENCODING,
    SOURCE_RECOVERY,
    SOURCE_WAL_LEVEL,
    SOURCE_PLUGIN_LIBRARIES,
    SOURCE_REPLICATION,
    SOURCE_SLOTS_MAX,
    SOURCE_SLOTS_USED, /* not counting ours */
    SOURCE_SLOT_OURS,
    SOURCE_SENDERS_MAX,
    SOURCE_SENDERS_USED, /* not counting those that read a slot of ours */
    SOURCE_STANDBY_NAMES,
    SOURCE_CREATE,
    SOURCE_LARGE_OBJECTS
};
enum TargetFact {
    TARGET_USER,
    TARGET_DATABASE,
    TARGET_STARTED,
    TARGET_ENCODING,
    TARGET_RECOVERY,
    TARGET_CREATE
};
/* Large objects are counted up to here. */
enum { CHECK_COUNT_MAX = 10000 };

/* False and e when it could not be looked at: the item is Failed with that sentence. */
typedef bool CheckLook(Check *c, Finding *out, Error *e);

/* One session of the check: reads only, and never queues for long behind anybody's lock. */
Pg *check_open(const Check *c, const char *dsn, const char *side, Error *e);

/* What was seen, as state says; returns true, so that a look can end with it. */
bool finding_pass(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool finding_alert(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool finding_fail(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of what mends it. */
void finding_fix(Finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- check_text.c: pure ---- */

/* Up to 20 names and the count: "a, b, c" or "a, b, … and 7 more". */
enum { CHECK_NAMES_MAX = 20 };
typedef struct Names {
    int count;
    Writer text;
} Names;
Names names_new(void);
void names_free(Names *n);
void names_add(Names *n, const char *name); /* what is beyond the 20 is only counted */
bool names_full(const Names *n);            /* the next one is only counted */
const char *names_text(Names *n);           /* once, at the end; lives as long as the names */

/* One element of a setting that is a list ("a, \"b c\", FIRST 2 (d)"), unquoted; false at the end. */
bool setting_next(const char **at, char *out, size_t size);
bool setting_has(const char *setting, const char *name);
/* Trap A14: whether the names of synchronous standbys take in `application`, by itself or by "*". */
bool standbys_match(const char *names, const char *application);
/* The same setting without `application`, and "*" replaced by the standbys that are there. */
void standbys_write(Writer *out, const char *names, const char *application, const char *const *standbys,
                    int count);

/* "localhost", a loopback address, or a unix socket's folder. */
bool host_is_local(const char *host);

/* "15.20" of 150020. */
const char *version_text(int version, char out[16]);
/* Passed; Failed: too old; Alert: newer than we know, or with a known decoding bug (lesson L20): `why` says it. */
CheckState source_version_judge(int version, const char **why);

/* A JSON string, also of bytes that are not UTF-8 (an SQL_ASCII database may hold such names). */
json_t *text_json(const char *text);

/* check_existing.c: the tables that are there, when `existing` is another way than fail. */
bool existing_look(Check *c, Finding *out, Error *e);
/* check_keep.c: their unique keys, under `existing: keep`. */
bool keep_look(Check *c, Finding *out, Error *e);

/* ---- the looks, by file ---- */

CheckLook check_source_connection, check_source_version, check_source_primary, check_wal_level,
    check_plugin_libraries, check_replication_role, check_replication_slots, check_wal_senders,
    check_synchronous_standby, check_large_objects, check_long_transactions, check_prepared_transactions,
    check_two_phase, check_slot_name, check_slot, check_slot_timeout, check_pg_dump;
CheckLook check_objects, check_row_filters, check_dml;
CheckLook check_left_out, check_renamed_in_code, check_rename_rights;
/* What the job leaves out; NULL when it chooses nothing. The caller frees it. */
bool check_choice(Check *c, Choice **out, Error *e);
CheckLook check_publication_rights, check_replica_identity, check_select_rights, check_row_security,
    check_unlogged_tables, check_heartbeat, check_ddl_trigger;
CheckLook check_target_connection, check_target_version, check_same_database, check_encryption,
    check_database_encoding, check_target_rights, check_existing_tables, check_extensions, check_replica_role;
CheckLook check_kafka, check_kafka_registry, check_kafka_topics, check_kafka_keys, check_kafka_toast;
CheckLook check_database_settings, check_database_locale;
CheckLook check_lock_places, check_roles, check_event_triggers, check_always_triggers,
    check_target_row_security, check_extension_rows;

#endif
