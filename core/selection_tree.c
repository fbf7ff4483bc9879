#include "core/selection_tree.h"

#include <string.h>

const char TREE_PARENTS_SQL[] =
    "SELECT h.inhrelid, h.inhparent, n.nspname, c.relname, c.relkind = 'p' FROM pg_inherits h"
    " JOIN pg_class c ON c.oid = h.inhparent JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') ORDER BY h.inhrelid, h.inhseqno";
enum ParentField { P_CHILD, P_PARENT, P_SCHEMA, P_NAME, P_PARTITIONED };

static uint32_t cell_oid(const PGresult *rows, int row, int column) {
    return (uint32_t)pg_cell_int(rows, row, column);
}

/* The first row of this OID in rows that are ordered by it (their first cell), or where it would be. */
int tree_row(const PGresult *rows, uint32_t oid) {
    int low = 0, high = PQntuples(rows);
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (cell_oid(rows, middle, 0) < oid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool tree_row_is_of(const PGresult *rows, int row, uint32_t oid) {
    return row < PQntuples(rows) && cell_oid(rows, row, 0) == oid;
}

Taken tree_lineage_takes(const Mapping *m, const PGresult *parents, uint32_t oid, const char *schema,
                         const char *name) {
    Taken taken = mapping_takes(m, schema, name);
    for (int row = tree_row(parents, oid); taken != TAKEN_EXCLUDED && tree_row_is_of(parents, row, oid);
         row++) {
        Taken parent = tree_lineage_takes(m, parents, cell_oid(parents, row, P_PARENT),
                                          pg_cell(parents, row, P_SCHEMA), pg_cell(parents, row, P_NAME));
        taken = parent == TAKEN_NO ? taken : parent;
    }
    return taken;
}

bool tree_takes(const Tree *tree, const Table *t) {
    return tree_lineage_takes(tree->mapping, tree->parents, t->oid, t->schema, t->name) == TAKEN_YES;
}

/* A table and where it stands in the tree: what the options of one table are asked for. */
typedef struct Relative {
    uint32_t oid;
    const char *schema, *name;
} Relative;

typedef bool RelativeHas(const Mapping *m, const Relative *relative);

static bool has_where(const Mapping *m, const Relative *r) {
    return mapping_where(m, r->schema, r->name) != NULL;
}

static bool has_list(const Mapping *m, const Relative *r) {
    return mapping_lists(m, r->schema, r->name);
}

/* The table itself or the nearest ancestor that has it; false: nobody. */
static bool nearest_find(const Mapping *m, const PGresult *parents, RelativeHas *has, Relative *at) {
    if (has(m, at))
        return true;
    uint32_t oid = at->oid;
    for (int row = tree_row(parents, oid); tree_row_is_of(parents, row, oid); row++) {
        *at = (Relative){cell_oid(parents, row, P_PARENT), pg_cell(parents, row, P_SCHEMA),
                         pg_cell(parents, row, P_NAME)};
        if (nearest_find(m, parents, has, at))
            return true;
    }
    return false;
}

static bool column_exists(const PGresult *columns, uint32_t table, const char *name) {
    for (int row = tree_row(columns, table); tree_row_is_of(columns, row, table); row++)
        if (strcmp(pg_cell(columns, row, TREE_COLUMN_NAME), name) == 0)
            return true;
    return false;
}

/* The topmost table that has the column: whoever renames it there renames it below. */
static Relative column_origin(const Tree *tree, Relative at, const char *column) {
    const PGresult *parents = tree->parents;
    for (int row = tree_row(parents, at.oid); tree_row_is_of(parents, row, at.oid); row++) {
        uint32_t parent = cell_oid(parents, row, P_PARENT);
        if (!pg_cell_bool(parents, row, P_PARTITIONED) && !column_exists(tree->columns, parent, column))
            continue;
        at = (Relative){parent, pg_cell(parents, row, P_SCHEMA), pg_cell(parents, row, P_NAME)};
        return column_origin(tree, at, column);
    }
    return at;
}

void tree_map_columns(const Tree *tree, Arena *arena, const Table *t, TableColumn *columns) {
    const Mapping *m = tree->mapping;
    const Relative self = {t->oid, t->schema, t->name};
    Relative lister = self;
    bool listed = nearest_find(m, tree->parents, has_list, &lister), renames = mapping_renames(m);
    for (int at = 0; at < t->column_count; at++) {
        TableColumn *column = &columns[at];
        column->taken = !listed || mapping_list_holds(m, lister.schema, lister.name, column->name);
        column->target_name = column->name;
        column->target_type_schema = column->type_schema;
        if (!renames)
            continue;
        Relative origin = column_origin(tree, self, column->name);
        column->target_name = mapping_column(m, arena, origin.schema, origin.name, column->name);
        if (column->type_schema[0] != '\0')
            column->target_type_schema = mapping_schema(m, arena, column->type_schema);
    }
}

const char *tree_full_name(Arena *arena, const char *schema, const char *name) {
    size_t schema_length = strlen(schema), name_length = strlen(name);
    char *full = arena_alloc(arena, schema_length + name_length + 2);
    memcpy(full, schema, schema_length);
    full[schema_length] = '.';
    memcpy(full + schema_length + 1, name, name_length);
    return full;
}

static Relative topmost(const PGresult *parents, Relative at) {
    int row = tree_row(parents, at.oid);
    if (!tree_row_is_of(parents, row, at.oid))
        return at;
    return topmost(parents, (Relative){cell_oid(parents, row, P_PARENT), pg_cell(parents, row, P_SCHEMA),
                                       pg_cell(parents, row, P_NAME)});
}

/* What the table itself or the nearest ancestor says; -1: nobody. */
static int choice_near(const Tree *tree, ChoiceKind kind, bool by_pattern, Relative at) {
    int value = mapping_choice(tree->mapping, kind, by_pattern, at.schema, at.name);
    const PGresult *parents = tree->parents;
    for (int row = tree_row(parents, at.oid); value < 0 && tree_row_is_of(parents, row, at.oid); row++)
        value = choice_near(tree, kind, by_pattern,
                            (Relative){cell_oid(parents, row, P_PARENT), pg_cell(parents, row, P_SCHEMA),
                                       pg_cell(parents, row, P_NAME)});
    return value;
}

/* Names win over patterns, also an ancestor's. */
static int choice_of(const Tree *tree, ChoiceKind kind, const Table *t, int of_job) {
    const Relative self = {t->oid, t->schema, t->name};
    int value = choice_near(tree, kind, false, self);
    if (value < 0)
        value = choice_near(tree, kind, true, self);
    return value < 0 ? of_job : value;
}

ApplyChoice tree_choice_alone(const Mapping *m, const char *schema, const char *name) {
    ApplyChoice choice = mapping_choice_of_job(m);
    for (int by_pattern = 1; by_pattern >= 0; by_pattern--) {
        int takes = mapping_choice(m, CHOICE_TAKES, by_pattern != 0, schema, name);
        int conflicts = mapping_choice(m, CHOICE_CONFLICTS, by_pattern != 0, schema, name);
        choice.takes = takes < 0 ? choice.takes : (unsigned)takes;
        choice.conflicts = conflicts < 0 ? choice.conflicts : (ConflictPolicy)conflicts;
    }
    return choice;
}

void tree_map_table(const Tree *tree, Arena *arena, Table *t) {
    const Mapping *m = tree->mapping;
    Relative with_where = {t->oid, t->schema, t->name}, with_list = with_where;
    if (nearest_find(m, tree->parents, has_where, &with_where))
        t->where = mapping_where(m, with_where.schema, with_where.name);
    t->listed = nearest_find(m, tree->parents, has_list, &with_list);
    ApplyChoice of_job = mapping_choice_of_job(m);
    t->choice.takes = (unsigned)choice_of(tree, CHOICE_TAKES, t, (int)of_job.takes);
    t->choice.conflicts = (ConflictPolicy)choice_of(tree, CHOICE_CONFLICTS, t, (int)of_job.conflicts);
    MappedName target = mapping_relation(m, arena, t->schema, t->name);
    t->target_schema = target.schema;
    t->target_name = target.name;
    Relative top = topmost(tree->parents, (Relative){t->oid, t->schema, t->name});
    t->top_schema = arena_text(arena, slice_text(top.schema));
    t->top_name = arena_text(arena, slice_text(top.name));
    bool same = target.schema == t->schema && target.name == t->name;
    t->target_full_name = same ? t->full_name : tree_full_name(arena, target.schema, target.name);
}
