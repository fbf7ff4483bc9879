#include "job/check_keep.h"

#include <string.h>

/* What must be unique at the destination, of tables that keep their rows: a key that the source does not have would lose
 * rows of the source to each other, without a word. */

/* One row a column of an index; what is more than a list of columns has words instead. $1: also those that are not valid,
 * which act all the same. */
static const char UNIQUES_SQL[] =
    "SELECT n.nspname, c.relname, i.indexrelid, x.relname, i.indimmediate, w.words, a.attname"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid AND c.relkind = 'r'"
    " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class x ON x.oid = i.indexrelid"
    " CROSS JOIN LATERAL (SELECT pg_get_indexdef(x.oid) AS definition) d"
    " CROSS JOIN LATERAL (SELECT i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion AS plain) "
    "p"
    " CROSS JOIN LATERAL (SELECT CASE WHEN NOT p.plain OR d.definition LIKE '%NULLS NOT DISTINCT%' THEN"
    "   coalesce((SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k"
    "             WHERE k.conindid = x.oid AND k.contype = 'x'),"
    "            substr(d.definition, strpos(d.definition, ' USING '))) END AS words) w"
    " LEFT JOIN pg_attribute a ON p.plain AND a.attrelid = c.oid"
    "   AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])"
    " WHERE (i.indisunique OR i.indisexclusion) AND (i.indisvalid OR $1) AND n.nspname NOT LIKE 'pg\\_%'"
    " ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", i.indexrelid";
enum { U_INDEX = 2, U_NAME, U_IMMEDIATE, U_WORDS, U_COLUMN };

/* Rows of one index. */
typedef struct Index {
    const PGresult *rows;
    int from, to;
} Index;

/* The index at `row`, if it is one of this table. */
static bool index_at(const PGresult *rows, int row, const char *schema, const char *table, Index *out) {
    *out = (Index){rows, row, row};
    if (row < 0 || row >= PQntuples(rows) || strcmp(pg_cell(rows, row, 0), schema) != 0 ||
        strcmp(pg_cell(rows, row, 1), table) != 0)
        return false;
    while (out->to < PQntuples(rows) &&
           strcmp(pg_cell(rows, out->to, U_INDEX), pg_cell(rows, row, U_INDEX)) == 0)
        out->to++;
    return true;
}

static const char *target_name(const Table *t, const char *column) {
    for (int at = 0; at < t->column_count; at++)
        if (strcmp(t->columns[at].name, column) == 0)
            return t->columns[at].target_name;
    return column;
}

static bool index_has(const Index *index, const char *column) {
    for (int row = index->from; row < index->to; row++)
        if (strcmp(pg_cell(index->rows, row, U_COLUMN), column) == 0)
            return true;
    return false;
}

/* Whether rows that are unique in the source's index are so in the destination's. */
static bool index_implies(const Table *t, const Index *source, const Index *target) {
    const PGresult *there = target->rows, *here = source->rows;
    if (!pg_cell_null(there, target->from, U_WORDS))
        return strcmp(pg_cell(here, source->from, U_WORDS), pg_cell(there, target->from, U_WORDS)) == 0;
    for (int row = source->from; row < source->to; row++)
        if (pg_cell_null(here, row, U_COLUMN) ||
            !index_has(target, target_name(t, pg_cell(here, row, U_COLUMN))))
            return false;
    return true;
}

static bool source_implies(const Table *t, const PGresult *source, const Index *target) {
    Index index;
    int row = pg_row_of_name(source, t->schema, t->name);
    for (; index_at(source, row, t->schema, t->name, &index); row = index.to)
        if (index_implies(t, &index, target))
            return true;
    return false;
}

static void table_look(const Table *t, const PGresult *source, const PGresult *target, Finding *out) {
    Index index;
    int row = pg_row_of_name(target, t->target_schema, t->target_name);
    for (; index_at(target, row, t->target_schema, t->target_name, &index); row = index.to) {
        const char *name = pg_cell(target, row, U_NAME);
        if (!pg_cell_bool(target, row, U_IMMEDIATE)) {
            finding_fix(out, "at the target: make \"%s\" NOT DEFERRABLE, or set existing: truncate", name);
            finding_fail(out, "existing: keep cannot use \"%s\" of table \"%s\", which is DEFERRABLE", name,
                         t->target_full_name);
        } else if (!source_implies(t, source, &index)) {
            finding_fix(out, "drop \"%s\" at the target, make it at the source, or set existing: truncate",
                        name);
            finding_fail(
                out, "\"%s\" of table \"%s\" lets one row stand at the target where the source has several",
                name, t->target_full_name);
        }
    }
}

bool keep_look(Check *c, Finding *out, Error *e) {
    PGresult *source = pg_query(c->source, UNIQUES_SQL, 1, (const char *const[]){"f"}, e);
    PGresult *target =
        source == NULL ? NULL : pg_query(c->target, UNIQUES_SQL, 1, (const char *const[]){"t"}, e);
    for (int n = 0; target != NULL && n < c->selection->count; n++)
        table_look(&c->selection->tables[n], source, target, out);
    PQclear(source);
    PQclear(target);
    return target != NULL;
}
