/* dump: the definitions, by pg_dump and pg_restore. Chooses a pg_dump that can read the source, runs it under the
 * exported snapshot, and hands out two things: the pre-data script as one text, and the post-data entries one by one
 * (index, constraint, foreign key, trigger, rule, policy, …) in pg_restore's order. It runs nothing at the destination.
 * Child processes get the password by PGPASSWORD, never on their command line; they are ended with us.
 * Entries are cut at pg_restore's own headers and checked one by one against `pg_restore --list`: a text that does not
 * agree with the list is refused, never guessed. */
#ifndef WALFERRY_SNAPSHOT_DUMP_H
#define WALFERRY_SNAPSHOT_DUMP_H

#include <stdatomic.h>

#include "core/config.h"
#include "core/error.h"
#include "core/pg.h"
#include "snapshot/choice.h"

typedef struct DumpTool {
    char pg_dump[512], pg_restore[512];
    int version; /* major */
} DumpTool;

/* What is taken beside the definitions themselves. */
typedef struct DumpParts {
    bool owners, privileges, event_triggers;
    bool public_schema; /* comment, grants and owner of the schema `public`, which is the destination's own */
    const Choice *choice; /* NULL: everything */
    const PGresult
        *unreadable; /* tables that the choice leaves out and pg_dump must not try to lock; or NULL */
    /* What the destination has already; NULL: nothing. Relations (schema, name) are left out with all that belongs to
     * them, other objects (catalog, OID, ordered) alone. */
    const PGresult *relations_there, *objects_there;
} DumpParts;

/* Which database, and as of when. */
typedef struct DumpFrom {
    const char *dsn, *snapshot; /* NULL: as of now */
} DumpFrom;

typedef enum DumpKind {
    DUMP_INDEX, /* indexes, primary keys, unique and exclusion constraints, statistics, index attachments */
    DUMP_DEFINITION, /* views and functions that stand on a primary key; indexes that follow may be on them */
    DUMP_FOREIGN_KEY,
    DUMP_TRIGGER, /* and rules */
    DUMP_OTHER,   /* policies, check constraints not valid, comments … */
    DUMP_LAST     /* event triggers: they would act on the others */
} DumpKind;

typedef struct DumpEntry {
    DumpKind kind;
    char *type, *schema, *name; /* as pg_restore prints them: "FK CONSTRAINT", "public", "orders orders_fk" */
    char *sql;                  /* one or more statements */
    char hash[33];              /* of the sql: identifies the entry in walferry.object_state */
} DumpEntry;

typedef struct Dump {
    char *pre_data; /* SQL script without psql meta commands */
    char *preamble; /* the SET statements that every post-data entry needs first */
    int entry_count;
    DumpEntry *entries;
} Dump;

/* cfg->schema.pg_dump, or of PATH and /usr/lib/postgresql/X/bin: the newest that reads the source and is not newer than
 * the target, so that the target knows what it writes; without such a one the oldest that reads the source. ERR_CONFIG
 * that names the Debian package when there is none. The versions: server_version_num. */
bool dump_choose(const Config *cfg, int source_version, int target_version, DumpTool *out, Error *e);
/* *stop ends the child and fails with ERR_STOPPED. */
bool dump_take(const DumpTool *tool, const Config *cfg, const DumpParts *parts, const DumpFrom *from,
               const atomic_bool *stop, Dump *out, Error *e);
void dump_free(Dump *d);
/* Takes entries out for which `leaves` is true. */
void dump_leave_out(Dump *d, bool (*leaves)(const void *context, const DumpEntry *entry),
                    const void *context);
/* The tables that pg_dump would lock without the right to: its words for that cannot be told from those for a lock not
 * had in time. Rows of these fields. */
typedef enum UnreadableField {
    UNREADABLE_SHOWN, /* for people */
    UNREADABLE_QUOTED,
    UNREADABLE_SCHEMA,
    UNREADABLE_TABLE,
    UNREADABLE_OID
} UnreadableField;
PGresult *dump_unreadable(Pg *source, Error *e);

/* Cuts pg_restore's post-data text at its entry headers, checked against the list; exposed for its tests. */
bool dump_split(const char *list, const char *text, Dump *out, Error *e);

#endif
