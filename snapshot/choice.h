/* choice: what a job that names its objects leaves out of the definitions, by the source's catalogs. An object is known
 * by its catalog and number, as pg_dump's list has them; nothing is decided by a name in a text.
 *
 * With include patterns, what is taken is: the relations and routines that they match; what these need (types, functions,
 * sequences, schemas, extensions, parents of a partition), but never another table or view; what belongs to them
 * (indexes, constraints, triggers, policies, sequences of columns); and of the schemas in which something matches, what is
 * no relation or routine (types, operators, text search, …). Without, everything but what is excluded.
 * Then goes whatever depends on something that is left out, also on one column that a column list leaves out, as
 * DROP … CASCADE would have it: a foreign key to an excluded table, a view over it. What a pattern took and this leaves out
 * is told by name; a table among that is an error, since its rows would have no place. */
#ifndef WALFERRY_SNAPSHOT_CHOICE_H
#define WALFERRY_SNAPSHOT_CHOICE_H

#include "core/mapping.h"
#include "core/pg.h"

typedef struct Choice Choice;

/* False: the job takes everything, and there is nothing to choose. */
bool choice_needed(const Config *cfg);
/* `there`: the destination's relations (existing_relations) when the job has made its definitions; tables that it lacks
 * came to the source later, and are left out as if they were excluded. NULL: nothing is made yet. In the caller's
 * transaction, if any. NULL and e on failure. */
Choice *choice_make(Pg *source, const Config *cfg, const Mapping *mapping, const PGresult *there, Error *e);
void choice_free(Choice *choice); /* NULL is fine */

/* By the number of the catalog (pg_class, …), and the object's. What hangs on nothing and on which nothing hangs is left out
 * by include patterns. Without a choice (NULL) nothing is. */
bool choice_leaves_out(const Choice *choice, uint32_t class_oid, uint32_t oid);
uint32_t choice_relations(const Choice *choice); /* the number of pg_class; NULL: 0 */
/* "ALTER TABLE … DROP COLUMN …;" for what column lists leave out. */
const char *choice_columns_sql(const Choice *choice);

/* What a pattern took and is left out all the same, because of what: "constraint a on table b: needs table c". */
typedef struct ChoiceLoss {
    const char *what, *because;
    bool is_table; /* with rows */
} ChoiceLoss;
int choice_losses(const Choice *choice, const ChoiceLoss **losses);

#endif
