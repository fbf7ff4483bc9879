#include "snapshot/choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "snapshot/choice_graph.h"

enum { SQL_MAX_BYTES = 1 << 26, FIRST_OF_USERS = 16384 };

/* Each table and those above it, the nearest first: what a column list of theirs is asked for. */
static const char SQL_LINEAGES[] =
    "WITH RECURSIVE up(oid, top, steps) AS (SELECT c.oid, c.oid, 0 FROM pg_catalog.pg_class c"
    "  WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384"
    " UNION ALL SELECT u.oid, i.inhparent, u.steps + 1 FROM up u"
    "  JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.top)"
    " SELECT u.oid, n.nspname, c.relname FROM up u JOIN pg_catalog.pg_class c ON c.oid = u.top"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY u.oid, u.steps";
static const char SQL_COLUMNS[] =
    "SELECT a.attnum, a.attname, a.attinhcount > 0, a.attgenerated <> '' FROM pg_catalog.pg_attribute a"
    " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
static const char SQL_DESCRIBE[] =
    "SELECT pg_catalog.pg_describe_object(d.class, d.oid, d.sub) FROM unnest($1::oid[], $2::oid[], $3::int[])"
    " WITH ORDINALITY AS d (class, oid, sub, row) ORDER BY d.row";

/* Of a table that a column list is about. */
typedef struct Column {
    int table; /* its node */
    int number;
    const char *name;
    bool inherited, generated, out;
} Column;

struct Choice {
    Graph graph;
    bool chooses;
    int column_count;
    Column *columns;
    int queued;
    int *queue; /* nodes whose neighbours have not heard yet; each comes once */
    int loss_count;
    ChoiceLoss *losses;
    const char *columns_sql;
};

bool choice_needed(const Config *cfg) {
    return cfg->objects.include.count + cfg->objects.exclude.count + cfg->objects.columns.count > 0;
}

void choice_free(Choice *choice) {
    if (choice == NULL)
        return;
    arena_free(choice->graph.arena);
    free(choice->columns);
    free(choice->queue);
    free(choice);
}

/* ---- what is taken ---- */

static bool has_rows_or_text(const Node *node) {
    return node->kind != 0 && strchr("rpvmf", node->kind) != NULL;
}

static void keep(Choice *c, int at) {
    Node *node = &c->graph.nodes[at];
    if (node->kept || (node->kind != 0 && node->taken == TAKEN_EXCLUDED))
        return;
    node->kept = true;
    c->queue[c->queued++] = at;
}

/* Another table is never taken for one's sake, but the parent of a partition. */
static void keep_needs(Choice *c, int at) {
    const Graph *g = &c->graph;
    for (int edge = g->needs[at]; edge < g->needs[at + 1]; edge++) {
        const Edge *need = &g->edges[edge];
        if (!has_rows_or_text(&g->nodes[need->to]) || (has_rows_or_text(&g->nodes[at]) && need->type == 'a'))
            keep(c, need->to);
    }
}

static void keep_parts(Choice *c, int at) {
    const Graph *g = &c->graph;
    for (int place = g->dependents[at]; place < g->dependents[at + 1]; place++) {
        const Edge *part = &g->edges[g->by_to[place]];
        if (g->nodes[part->from].kind == 0 && strchr("aiPS", part->type) != NULL)
            keep(c, part->from);
    }
}

static void keep_spread(Choice *c) {
    while (c->queued > 0) {
        int at = c->queue[--c->queued];
        keep_needs(c, at);
        keep_parts(c, at);
    }
}

/* What stands in this schema by itself and is no relation or routine. */
static void keep_schema(Choice *c, int schema) {
    const Graph *g = &c->graph;
    for (int place = g->dependents[schema]; place < g->dependents[schema + 1]; place++)
        if (g->nodes[g->edges[g->by_to[place]].from].kind == 0)
            keep(c, g->edges[g->by_to[place]].from);
}

static void keep_matching(Choice *c) {
    const Graph *g = &c->graph;
    for (int at = 0; at < g->node_count; at++) {
        bool is_schema = g->nodes[at].class_oid == g->class_schema;
        if ((g->nodes[at].kind == 0 && !is_schema) || g->nodes[at].taken != TAKEN_YES)
            continue;
        keep(c, at);
        if (is_schema)
            keep_schema(c, at);
        for (int edge = g->needs[at]; edge < g->needs[at + 1]; edge++)
            if (g->nodes[g->edges[edge].to].class_oid == g->class_schema)
                keep_schema(c, g->edges[edge].to);
    }
}

static bool needs_are_kept(const Graph *g, int at, uint32_t class_oid) {
    for (int edge = g->needs[at]; edge < g->needs[at + 1]; edge++) {
        const Node *need = &g->nodes[g->edges[edge].to];
        if ((class_oid == 0 || need->class_oid == class_oid) && !need->kept)
            return false;
    }
    return true;
}

/* What stands in no schema and serves what is taken. */
static void keep_servants(Choice *c) {
    const Graph *g = &c->graph;
    for (int at = 0; at < g->node_count; at++) {
        uint32_t class_oid = g->nodes[at].class_oid;
        bool converts = class_oid == g->class_cast || class_oid == g->class_transform;
        bool serves = class_oid == g->class_default_acl || class_oid == g->class_event_trigger;
        if ((converts || serves) && needs_are_kept(g, at, converts ? g->class_type : 0))
            keep(c, at);
    }
}

/* ---- what goes ---- */

static void lose(Choice *c, int at, int because, int because_column) {
    Node *node = &c->graph.nodes[at];
    if (node->out)
        return;
    node->out = true;
    node->because = because;
    node->because_column = because_column;
    c->queue[c->queued++] = at;
}

static Column *column_find(Choice *c, int table, int number) {
    for (int at = 0; at < c->column_count; at++)
        if (c->columns[at].table == table && c->columns[at].number == number)
            return &c->columns[at];
    return NULL;
}

/* The table is made with the column. The server drops its default, its sequence and the checks on it with it; not what is
 * generated from it. */
static void lose_column(Choice *c, int table, int number) {
    const Graph *g = &c->graph;
    column_find(c, table, number)->out = true;
    for (int place = g->dependents[table]; place < g->dependents[table + 1]; place++) {
        const Edge *edge = &g->edges[g->by_to[place]];
        const Node *from = &g->nodes[edge->from];
        if (edge->to_column != number)
            continue;
        if (from->owner != table)
            lose(c, edge->from, table, number);
        else if (from->generated && !column_find(c, table, from->column)->out)
            lose_column(c, table, from->column);
    }
}

/* What cannot be without one of its parts goes with the part. */
static void lose_wholes(Choice *c, int at) {
    const Graph *g = &c->graph;
    const Node *node = &g->nodes[at];
    for (int edge = g->needs[at]; edge < g->needs[at + 1]; edge++)
        if (g->edges[edge].type == 'i' && g->edges[edge].to_column == 0)
            lose(c, g->edges[edge].to, at, 0);
    if (node->owner >= 0)
        lose(c, node->owner, at, 0);
}

static void lose_spread(Choice *c) {
    const Graph *g = &c->graph;
    while (c->queued > 0) {
        int at = c->queue[--c->queued];
        for (int place = g->dependents[at]; place < g->dependents[at + 1]; place++)
            lose(c, g->edges[g->by_to[place]].from, at, 0);
        lose_wholes(c, at);
    }
}

static void lose_all(Choice *c) {
    const Graph *g = &c->graph;
    for (int at = 0; at < g->node_count; at++)
        if (c->chooses ? !g->nodes[at].kept : g->nodes[at].taken == TAKEN_EXCLUDED && g->nodes[at].kind != 0)
            lose(c, at, -1, 0);
    lose_spread(c);
    for (int at = 0; at < c->column_count; at++)
        if (c->columns[at].out)
            lose_column(c, c->columns[at].table, c->columns[at].number);
    lose_spread(c);
}

/* ---- column lists ---- */

static void column_add(Choice *c, int table, const PGresult *rows, int row, bool out) {
    c->columns = memory_grow(c->columns, ((size_t)c->column_count + 1) * sizeof *c->columns);
    c->columns[c->column_count++] =
        (Column){.table = table,
                 .number = (int)pg_cell_int(rows, row, 0),
                 .name = arena_text(c->graph.arena, slice_text(pg_cell(rows, row, 1))),
                 .inherited = pg_cell_bool(rows, row, 2),
                 .generated = pg_cell_bool(rows, row, 3),
                 .out = out};
}

static bool columns_add(Choice *c, Pg *source, const Mapping *mapping, const PGresult *lineages, int row,
                        Error *e) {
    const char *oid = pg_cell(lineages, row, 0);
    int table = graph_find(&c->graph, c->graph.class_relation, (uint32_t)pg_cell_int(lineages, row, 0));
    PGresult *rows = table < 0 ? NULL : pg_query(source, SQL_COLUMNS, 1, &oid, e);
    if (rows == NULL)
        return table < 0;
    for (int at = 0; at < PQntuples(rows); at++)
        column_add(c, table, rows, at,
                   !mapping_list_holds(mapping, pg_cell(lineages, row, 1), pg_cell(lineages, row, 2),
                                       pg_cell(rows, at, 1)));
    PQclear(rows);
    return true;
}

static bool columns_read(Choice *c, Pg *source, const Config *cfg, const Mapping *mapping, Error *e) {
    if (cfg->objects.columns.count == 0)
        return true;
    PGresult *rows = pg_query(source, SQL_LINEAGES, 0, NULL, e);
    bool ok = rows != NULL;
    const char *done = "";
    for (int row = 0; ok && row < PQntuples(rows); row++) {
        if (strcmp(pg_cell(rows, row, 0), done) == 0 ||
            !mapping_lists(mapping, pg_cell(rows, row, 1), pg_cell(rows, row, 2)))
            continue;
        done = pg_cell(rows, row, 0);
        ok = columns_add(c, source, mapping, rows, row, e);
    }
    PQclear(rows);
    return ok;
}

/* What is generated from a column goes before it. */
static void columns_write(Choice *c, Pg *source) {
    Writer sql = writer_new(SQL_MAX_BYTES);
    for (int at = 0; at < 2 * c->column_count; at++) {
        const Column *column = &c->columns[at % c->column_count];
        const Node *table = &c->graph.nodes[column->table];
        bool turn = column->generated == (at < c->column_count);
        if (!turn || !column->out || column->inherited || table->out || table->kind == 0)
            continue;
        writer_text(&sql, "ALTER TABLE ");
        pg_write_table(&sql, source, table->schema, table->name);
        writer_text(&sql, " DROP COLUMN ");
        pg_write_name(&sql, source, column->name);
        writer_text(&sql, ";\n");
    }
    c->columns_sql = arena_text(c->graph.arena, writer_slice(&sql));
    writer_free(&sql);
}

/* ---- what is told ---- */

/* Part of something that goes, too, and is told of. */
static bool goes_with_its_whole(const Graph *g, int at) {
    for (int edge = g->needs[at]; edge < g->needs[at + 1]; edge++)
        if (strchr("aiPS", g->edges[edge].type) != NULL && g->nodes[g->edges[edge].to].out)
            return true;
    return false;
}

static bool is_loss(const Choice *c, int at) {
    const Graph *g = &c->graph;
    const Node *node = &g->nodes[at];
    if (!node->out || node->because < 0 || (c->chooses && !node->kept) || goes_with_its_whole(g, at))
        return false;
    if (node->kind != 0)
        return node->taken == TAKEN_YES;
    return node->class_oid == g->class_relation || node->class_oid == g->class_constraint ||
           node->class_oid == g->class_trigger || node->class_oid == g->class_policy ||
           node->class_oid == g->class_statistics || node->class_oid == g->class_rule;
}

/* What it all began with. */
static const Node *cause_of(const Graph *g, int at, int *column) {
    const Node *node = &g->nodes[at];
    *column = 0;
    while (node->out && node->because >= 0) {
        *column = node->because_column;
        node = &g->nodes[node->because];
    }
    return node;
}

typedef struct Described {
    int count;
    Writer classes, oids, columns;
} Described;

static void describe(Described *d, const Node *node, int column) {
    const char *before = d->count++ == 0 ? "{" : ",";
    writer_format(&d->classes, "%s%u", before, node->class_oid);
    writer_format(&d->oids, "%s%u", before, node->oid);
    writer_format(&d->columns, "%s%d", before, column);
}

static PGresult *described_read(Described *d, Pg *source, Error *e) {
    Writer *const lists[] = {&d->classes, &d->oids, &d->columns};
    const char *params[3];
    for (int at = 0; at < 3; at++) {
        writer_text(lists[at], d->count == 0 ? "{}" : "}");
        params[at] = writer_string(lists[at]);
    }
    return pg_query(source, SQL_DESCRIBE, 3, params, e);
}

static bool losses_tell(Choice *c, Pg *source, Error *e) {
    const Graph *g = &c->graph;
    Described d = {0, writer_new(SQL_MAX_BYTES), writer_new(SQL_MAX_BYTES), writer_new(SQL_MAX_BYTES)};
    c->losses = arena_alloc(c->graph.arena, ((size_t)g->node_count + 1) * sizeof *c->losses);
    for (int at = 0; at < g->node_count; at++) {
        int column;
        if (!is_loss(c, at))
            continue;
        describe(&d, &g->nodes[at], 0);
        const Node *cause = cause_of(g, at, &column);
        describe(&d, cause, column);
        c->losses[c->loss_count++].is_table = g->nodes[at].kind == 'r' || g->nodes[at].kind == 'p';
    }
    PGresult *texts = described_read(&d, source, e);
    bool ok = texts != NULL;
    for (int at = 0; ok && at < c->loss_count; at++) {
        c->losses[at].what = arena_text(g->arena, slice_text(pg_cell(texts, 2 * at, 0)));
        c->losses[at].because = arena_text(g->arena, slice_text(pg_cell(texts, 2 * at + 1, 0)));
    }
    PQclear(texts);
    writer_free(&d.classes);
    writer_free(&d.oids);
    writer_free(&d.columns);
    return ok;
}

/* ---- the choice ---- */

static void later_exclude(Graph *g, const Mapping *mapping, const PGresult *there) {
    for (int at = 0; at < g->node_count; at++) {
        Node *node = &g->nodes[at];
        if (node->kind == 0 || strchr("rpf", node->kind) == NULL)
            continue;
        MappedName target = mapping_relation(mapping, g->arena, node->schema, node->name);
        if (pg_row_of_name(there, target.schema, target.name) < 0)
            node->taken = TAKEN_EXCLUDED;
    }
}

static bool choose(Choice *c, Pg *source, const Config *cfg, const Mapping *mapping, const PGresult *there,
                   Error *e) {
    if (!graph_read(&c->graph, source, cfg, mapping, e) || !columns_read(c, source, cfg, mapping, e))
        return false;
    if (there != NULL)
        later_exclude(&c->graph, mapping, there);
    c->queue = memory_array((size_t)c->graph.node_count + 1, sizeof *c->queue);
    if (c->chooses) {
        keep_matching(c);
        keep_spread(c);
        keep_servants(c);
        keep_spread(c);
    }
    lose_all(c);
    columns_write(c, source);
    return losses_tell(c, source, e);
}

Choice *choice_make(Pg *source, const Config *cfg, const Mapping *mapping, const PGresult *there, Error *e) {
    Choice *c = memory_new(sizeof *c);
    c->graph.arena = arena_new();
    c->chooses = mapping_chooses(mapping);
    if (choose(c, source, cfg, mapping, there, e))
        return c;
    choice_free(c);
    return NULL;
}

bool choice_leaves_out(const Choice *choice, uint32_t class_oid, uint32_t oid) {
    if (choice == NULL)
        return false;
    int at = graph_find(&choice->graph, class_oid, oid);
    if (at >= 0)
        return choice->graph.nodes[at].out;
    bool is_users = oid >= FIRST_OF_USERS || class_oid == choice->graph.class_schema; /* `public` */
    return choice->chooses && is_users;
}

uint32_t choice_relations(const Choice *choice) {
    return choice == NULL ? 0 : choice->graph.class_relation;
}

const char *choice_columns_sql(const Choice *choice) {
    return choice->columns_sql;
}

int choice_losses(const Choice *choice, const ChoiceLoss **losses) {
    *losses = choice->losses;
    return choice->loss_count;
}
