/* selection: the objects of the job, read from the source's catalogs once and compiled: publication, COPY, check and
 * apply all use this one list. Immutable after selection_load; any thread may read it.
 * Default: every ordinary table (partition leaves included) outside the system schemas, extensions, `walferry` and
 * dts_*; the heartbeat table never. Of these the job's patterns choose (core/mapping): a table whose ancestor (by
 * partitioning or inheritance) is taken is taken, too; one whose ancestor is excluded is not. Row filters and column
 * lists of an ancestor hold unless the table or a nearer one has its own. */
#ifndef WALFERRY_CORE_SELECTION_H
#define WALFERRY_CORE_SELECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/config.h"
#include "core/error.h"
#include "core/mapping.h"
#include "core/pg.h"

typedef struct TableColumn {
    const char *name, *target_name;
    int number;                                   /* pg_attribute.attnum */
    const char *type_text;                        /* format_type(): for comparing both sides */
    const char *type_schema, *target_type_schema; /* "" for pg_catalog */
    const char *type_name;                        /* type_text without its schema */
    uint32_t type;
    int32_t modifier; /* atttypmod */
    bool taken;       /* there is no column list, or it holds this one */
    bool not_null;
    bool generated; /* stored generated: not copied, not streamed */
    bool identity_always;
    bool identity_key; /* part of the replica identity in force; under FULL every column, as in the stream */
    bool large; /* its values may be kept apart, and an UPDATE that leaves one as it is does not send it */
    bool candidate_key; /* part of Table.identity_candidate */
    bool binary_safe;   /* trap B3: a binary form that means the same on every server we know */
} TableColumn;

/* What an UPDATE or DELETE of this table carries, counted as trap A1 demands (immediate, valid, unique, whole,
 * plain not-null columns that are not generated). Generated ones do not count on 18 and newer either: our publications
 * leave them out, and the server would then refuse the users' updates. */
typedef enum TableIdentity {
    TABLE_IDENTITY_KEY, /* primary key or the index of REPLICA IDENTITY USING INDEX */
    TABLE_IDENTITY_FULL,
    TABLE_IDENTITY_NONE
} TableIdentity;

typedef struct Table {
    uint32_t oid;
    const char *schema, *name;
    const char *full_name; /* schema.name, unquoted: for people and JSON */
    const char *target_schema, *target_name;
    const char *target_full_name; /* the same pointer as full_name where nothing changes */
    const char *top_schema,
        *top_name; /* the topmost ancestor, or itself: what a dropped column was named by */
    const char *record_schema, *record_name; /* by which the job's record knows it; NULL: by its name */
    const char *where;                       /* the row filter as the job says it, or NULL */
    ApplyChoice choice;                      /* what is applied of its changes (the nearest that says so) */
    bool listed;                             /* it has a column list: see TableColumn.taken */
    bool unlogged;                           /* copied, never streamed */
    bool has_children;                       /* inheritance: ONLY is needed */
    bool row_security;
    bool owned; /* by a role whose rights the source account has */
    bool readable;
    char identity_setting; /* pg_class.relreplident */
    TableIdentity identity;
    const char *identity_candidate; /* identity NONE: an index that could be it, or NULL */
    bool insert_only;               /* identity NONE under `identity: insert-only` */
    int64_t rows_estimated, bytes;
    uint16_t column_count;
    const TableColumn *columns;
} Table;

typedef struct Selection {
    Arena *arena;
    Mapping *mapping;
    int count;
    Table *tables;  /* by schema and name */
    int *by_target; /* places in tables, by target_schema and target_name */
} Selection;

/* `cfg` must live as long. */
Selection *selection_load(Pg *source, const Config *cfg, Error *e);
void selection_free(Selection *s);
const Table *selection_find(const Selection *s, const char *schema, const char *name);
const Table *selection_find_target(const Selection *s, const char *schema, const char *name);

/* The names at the destination of a relation of the stream and of its columns, also when the source has dropped it since.
 * Made in `arena` or lent; `s` NULL: every name stays. */
MappedName selection_target(const Selection *s, Arena *arena, const char *schema, const char *name);
const char *selection_target_column(const Selection *s, Arena *arena, const char *schema, const char *name,
                                    const char *column);

/* What is applied of the changes of a relation of the stream; decided before any gear (trap A15), behind the numbering of
 * changes (C2). `s` NULL: all of them, and a conflict stops. */
ApplyChoice selection_choice(const Selection *s, const char *schema, const char *name);

/* What is wrong with the names that the job gives (selection_check.c): two tables, or two columns of a table, with one
 * name at the destination; a schema there that is not the users'; `named`, for a job that is not born yet: options that name what the source has not, or what
 * the job does not take. Tells each with what mends it. False and e only when the source does not answer. */
typedef void SelectionTell(void *context, const char *sentence, const char *fix);
bool selection_check(Pg *source, const Config *cfg, const Selection *s, bool named, SelectionTell *tell,
                     void *context, Error *e);

/* A name of somebody's list, in any order; false behind the last. */
typedef bool SelectionNameAt(const void *list, int row, const char **schema, const char **name);
/* A job that was born keeps its tables: leaves only what the list names. */
void selection_keep(Selection *s, SelectionNameAt *name_at, const void *list);

#endif
