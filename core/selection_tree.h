/* selection_tree: what the job says of a table by its place among partitions and heirs: is it taken, what are it and its
 * columns called, which filter and which column list hold. Part of core/selection; pure but for the rows it reads. */
#ifndef WALFERRY_CORE_SELECTION_TREE_H
#define WALFERRY_CORE_SELECTION_TREE_H

#include "core/selection.h"

/* Who descends from whom, by partitioning or inheritance; by child. */
extern const char TREE_PARENTS_SQL[];

enum { TREE_COLUMN_NAME = 2 }; /* which cell of `columns` is the name; the first is the table */

typedef struct Tree {
    const Mapping *mapping;
    const PGresult *parents, *columns; /* by table's OID; columns also of tables that are not taken */
} Tree;

bool tree_takes(const Tree *tree, const Table *t);
/* Of any relation, by its OID and name: excluded with any ancestor, else taken with any. `parents`: of TREE_PARENTS_SQL. */
Taken tree_lineage_takes(const Mapping *m, const PGresult *parents, uint32_t oid, const char *schema,
                         const char *name);
/* Fills what the destination calls the table, its row filter, whether it has a column list, what is applied of it. */
void tree_map_table(const Tree *tree, Arena *arena, Table *t);
/* What is applied of a table of which only the name is known: one that the source has renamed or made since. */
ApplyChoice tree_choice_alone(const Mapping *m, const char *schema, const char *name);
/* The same for its columns, which `t` has. */
void tree_map_columns(const Tree *tree, Arena *arena, const Table *t, TableColumn *columns);

/* The first row of this OID in rows that are ordered by it (their first cell), or where it would be. */
int tree_row(const PGresult *rows, uint32_t oid);
bool tree_row_is_of(const PGresult *rows, int row, uint32_t oid);

/* "schema.name" */
const char *tree_full_name(Arena *arena, const char *schema, const char *name);

#endif
