/* mapping: which names of the source a job takes and what they are called at the destination: `objects.include`,
 * `exclude`, `rename`, `case` and `tables`, compiled from the config. Pure: it knows no catalogs. Everybody asks here
 * or reads the answers that selection (core/selection.h) has stored with each table; nobody folds or compares a name
 * himself. Immutable after mapping_new, so any thread may ask.
 *
 * Patterns: `schema.name`, "*" within a part (quoted or not) stands for any run of characters; a part that holds a dot
 * stands in double quotes; "!" in front of an include pattern excludes. Without a pattern that includes everything is
 * taken; what any exclude pattern matches is not. Letter case counts. A leaf of a partitioned table is taken as its
 * root is (selection asks for each ancestor).
 *
 * Renames: of a table wins over that of its schema; `case` touches only parts without an explicit rename, and of them
 * the letters A to Z alone, as the server folds names without quotes in UTF-8: other letters stay, a name keeps its
 * length. Names of columns are those of the topmost table of a partition or inheritance tree: the others inherit them,
 * as at the server. Schemas, tables, views, materialized views, foreign tables and sequences are relations here, and so
 * are their columns; names of indexes, constraints, triggers, types and functions stay as they are (their schema may
 * change). */
#ifndef WALFERRY_CORE_MAPPING_H
#define WALFERRY_CORE_MAPPING_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/config.h"
#include "core/error.h"

typedef struct Mapping Mapping;
typedef struct MappedName {
    const char *schema, *name;
} MappedName;

/* Never fails: the config was checked. Lends from `cfg`, which must live as long. */
Mapping *mapping_new(const Config *cfg);
void mapping_free(Mapping *m); /* NULL is fine */
/* Part of config_load: ERR_CONFIG when the job says two things of one name. */
bool mapping_check(const Config *cfg, Error *e);

typedef enum Taken {
    TAKEN_NO, /* no pattern took it */
    TAKEN_YES,
    TAKEN_EXCLUDED /* a pattern excluded it */
} Taken;
Taken mapping_takes(const Mapping *m, const char *schema, const char *name);
/* True when the job names what it takes: only then objects beside the chosen tables are left out, too. */
bool mapping_chooses(const Mapping *m);

/* The names at the destination, made in `arena`; the same pointers as given where nothing changes. `table` of
 * mapping_column is the topmost one, by its names at the source. */
const char *mapping_schema(const Mapping *m, Arena *arena, const char *schema);
MappedName mapping_relation(const Mapping *m, Arena *arena, const char *schema, const char *name);
const char *mapping_column(const Mapping *m, Arena *arena, const char *schema, const char *table,
                           const char *column);
/* False: every name stays, and nobody needs to ask further. */
bool mapping_renames(const Mapping *m);

/* `objects.tables`, exactly of this table: its row filter or NULL; whether it has a list of columns, and whether that
 * holds the column. */
const char *mapping_where(const Mapping *m, const char *schema, const char *table);
bool mapping_lists(const Mapping *m, const char *schema, const char *table);
bool mapping_list_holds(const Mapping *m, const char *schema, const char *table, const char *column);

/* What is applied of a table's changes, and what becomes of one that does not fit the destination's rows. */
typedef struct ApplyChoice {
    unsigned takes; /* 1 << ChangeKind, of the four kinds that change rows */
    ConflictPolicy conflicts;
} ApplyChoice;
enum { APPLY_ALL = 15 };
/* `objects.tables` says one or both of them of a table by its name, or by a pattern that fits it. A name wins over a
 * pattern; of patterns the one with most letters beside its stars, then the first in the file. -1: nothing is said. */
typedef enum ChoiceKind { CHOICE_TAKES, CHOICE_CONFLICTS } ChoiceKind;
int mapping_choice(const Mapping *m, ChoiceKind kind, bool by_pattern, const char *schema, const char *table);
ApplyChoice mapping_choice_of_job(const Mapping *m); /* of tables of which nothing is said */

/* The same for two jobs that call everything the same and take the same rows and columns of a table: a job keeps to the
 * names that it was begun with. What patterns take is not in it. */
enum { MAPPING_PRINT_SIZE = 17 };
void mapping_print(const Mapping *m, char out[MAPPING_PRINT_SIZE]);

/* What the job names by hand and the source must therefore have: calls visit for each in order, until it is false.
 * `table` and `column` are NULL where the option names none. */
typedef struct NamedObject {
    const char *option; /* "objects.rename.tables" */
    const char *schema, *table, *column;
} NamedObject;
bool mapping_visit(const Mapping *m, bool (*visit)(void *context, const NamedObject *named, Error *e),
                   void *context, Error *e);

#endif
