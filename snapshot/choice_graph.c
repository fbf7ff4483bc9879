#include "snapshot/choice_graph.h"
#include "core/selection_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char SQL_CLASSES[] =
    "SELECT 'pg_catalog.pg_class'::regclass::oid, 'pg_catalog.pg_proc'::regclass::oid,"
    " 'pg_catalog.pg_namespace'::regclass::oid, 'pg_catalog.pg_type'::regclass::oid,"
    " 'pg_catalog.pg_cast'::regclass::oid, 'pg_catalog.pg_transform'::regclass::oid,"
    " 'pg_catalog.pg_default_acl'::regclass::oid, 'pg_catalog.pg_event_trigger'::regclass::oid,"
    " 'pg_catalog.pg_constraint'::regclass::oid, 'pg_catalog.pg_trigger'::regclass::oid,"
    " 'pg_catalog.pg_policy'::regclass::oid, 'pg_catalog.pg_rewrite'::regclass::oid,"
    " 'pg_catalog.pg_statistic_ext'::regclass::oid";
/* The schema `public` is there from the beginning; other numbers below are the server's own. */
static const char SQL_EDGES[] =
    "SELECT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid, d.refobjsubid, d.deptype"
    " FROM pg_catalog.pg_depend d WHERE d.objid >= 16384 AND (d.refobjid >= 16384 OR"
    "  (d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = 2200))"
    " AND (d.classid, d.objid) <> (d.refclassid, d.refobjid) AND d.deptype IN ('n', 'a', 'i', 'P', 'S', 'e')";
/* $1: the state schema, $2, $3: the heartbeat table. A sequence of a column is its table's, a routine that makes values of a
 * range type is its type's. */
static const char SQL_NAMES[] =
    "SELECT d.class, d.oid, n.nspname, d.name, d.kind FROM ("
    " SELECT 'pg_catalog.pg_class'::regclass::oid, c.oid, c.relnamespace, c.relname, c.relkind"
    " FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') OR (c.relkind = 'S' AND NOT "
    "EXISTS"
    "  (SELECT FROM pg_catalog.pg_depend o WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.objid = "
    "c.oid"
    "   AND o.deptype IN ('a', 'i') AND o.refclassid = 'pg_catalog.pg_class'::regclass))"
    " UNION ALL SELECT 'pg_catalog.pg_proc'::regclass::oid, p.oid, p.pronamespace, p.proname, 'F'"
    " FROM pg_catalog.pg_proc p) AS d (class, oid, schema, name, kind)"
    " JOIN pg_catalog.pg_namespace n ON n.oid = d.schema"
    " WHERE d.oid >= 16384 AND n.nspname NOT LIKE 'pg\\_%'"
    " AND n.nspname NOT IN ('information_schema', 'walferry', $1) AND d.name NOT LIKE 'dts\\_%'"
    " AND (n.nspname, d.name) IS DISTINCT FROM ($2::name, $3::name)"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = d.class AND m.objid = d.oid"
    "  AND (m.deptype = 'e' OR (d.kind = 'F' AND m.deptype = 'i')))";
static const char SQL_SCHEMAS[] =
    "SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid >= 16384";
/* A constraint that is not valid yet is an entry of its own; a sequence of a column is what its default needs. */
static const char SQL_WITHIN[] =
    "SELECT 'pg_catalog.pg_attrdef'::regclass::oid, d.oid, 'pg_catalog.pg_class'::regclass::oid, d.adrelid,"
    " d.adnum, a.attgenerated <> '' FROM pg_catalog.pg_attrdef d"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.oid >= 16384"
    " UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, c.oid, CASE WHEN c.conrelid = 0"
    "   THEN 'pg_catalog.pg_type'::regclass ELSE 'pg_catalog.pg_class'::regclass END::oid,"
    "  CASE WHEN c.conrelid = 0 THEN c.contypid ELSE c.conrelid END, 0, false"
    " FROM pg_catalog.pg_constraint c WHERE c.contype IN ('c', 'n') AND c.convalidated AND c.oid >= 16384"
    " UNION ALL SELECT d.classid, d.objid, d.refclassid, d.refobjid, d.refobjsubid, false"
    " FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'"
    " WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass"
    " AND d.deptype IN ('a', 'i')";

enum EdgeField { E_CLASS, E_OID, E_COLUMN, E_REF_CLASS, E_REF_OID, E_REF_COLUMN, E_TYPE };
enum NameField { N_CLASS, N_OID, N_SCHEMA, N_NAME, N_KIND };
enum WithinField { W_CLASS, W_OID, W_OWNER_CLASS, W_OWNER, W_COLUMN, W_GENERATED };

static uint32_t cell_oid(const PGresult *rows, int row, int column) {
    return (uint32_t)pg_cell_int(rows, row, column);
}

static int node_compare(const void *left, const void *right) {
    const Node *a = left, *b = right;
    if (a->class_oid != b->class_oid)
        return a->class_oid < b->class_oid ? -1 : 1;
    return a->oid == b->oid ? 0 : a->oid < b->oid ? -1 : 1;
}

int graph_find(const Graph *g, uint32_t class_oid, uint32_t oid) {
    const Node key = {.class_oid = class_oid, .oid = oid};
    const Node *found = bsearch(&key, g->nodes, (size_t)g->node_count, sizeof key, node_compare);
    return found == NULL ? -1 : (int)(found - g->nodes);
}

static void nodes_make(Graph *g, const PGresult *edges, const PGresult *names) {
    int most = 2 * PQntuples(edges) + PQntuples(names), used = 0;
    g->nodes = arena_alloc(g->arena, ((size_t)most + 1) * sizeof *g->nodes);
    for (int row = 0; row < PQntuples(edges); row++)
        for (int end = E_CLASS; end <= E_REF_CLASS; end += E_REF_CLASS)
            g->nodes[g->node_count++] =
                (Node){.class_oid = cell_oid(edges, row, end), .oid = cell_oid(edges, row, end + 1)};
    for (int row = 0; row < PQntuples(names); row++)
        g->nodes[g->node_count++] =
            (Node){.class_oid = cell_oid(names, row, N_CLASS), .oid = cell_oid(names, row, N_OID)};
    qsort(g->nodes, (size_t)g->node_count, sizeof *g->nodes, node_compare);
    for (int at = 0; at < g->node_count; at++)
        if (at == 0 || node_compare(&g->nodes[at], &g->nodes[used - 1]) != 0)
            g->nodes[used++] = g->nodes[at];
    g->node_count = used;
    for (int at = 0; at < used; at++)
        g->nodes[at].because = g->nodes[at].owner = -1;
}

static void names_give(Graph *g, const PGresult *names, const Mapping *mapping) {
    for (int row = 0; row < PQntuples(names); row++) {
        Node *node = &g->nodes[graph_find(g, cell_oid(names, row, N_CLASS), cell_oid(names, row, N_OID))];
        node->kind = pg_cell(names, row, N_KIND)[0];
        node->schema = arena_text(g->arena, slice_text(pg_cell(names, row, N_SCHEMA)));
        node->name = arena_text(g->arena, slice_text(pg_cell(names, row, N_NAME)));
        node->taken = mapping_takes(mapping, node->schema, node->name);
    }
}

/* A schema of which a pattern takes every name. */
static void schemas_give(Graph *g, const PGresult *schemas, const Mapping *mapping) {
    for (int row = 0; row < PQntuples(schemas); row++) {
        int at = graph_find(g, g->class_schema, cell_oid(schemas, row, 0));
        if (at >= 0)
            g->nodes[at].taken = mapping_takes(mapping, pg_cell(schemas, row, 1), "*");
    }
}

static void lineages_give(Graph *g, const PGresult *parents, const Mapping *mapping) {
    for (int row = 0; row < PQntuples(parents); row++) {
        int child = graph_find(g, g->class_relation, cell_oid(parents, row, 0));
        if (child >= 0 && g->nodes[child].kind != 0)
            g->nodes[child].taken = tree_lineage_takes(mapping, parents, g->nodes[child].oid,
                                                       g->nodes[child].schema, g->nodes[child].name);
    }
}

static void within_give(Graph *g, const PGresult *within) {
    for (int row = 0; row < PQntuples(within); row++) {
        int at = graph_find(g, cell_oid(within, row, W_CLASS), cell_oid(within, row, W_OID));
        if (at < 0)
            continue;
        g->nodes[at].owner =
            graph_find(g, cell_oid(within, row, W_OWNER_CLASS), cell_oid(within, row, W_OWNER));
        g->nodes[at].column = (int)pg_cell_int(within, row, W_COLUMN);
        g->nodes[at].generated = pg_cell_bool(within, row, W_GENERATED);
    }
}

static int edge_compare(const void *left, const void *right) {
    const Edge *a = left, *b = right;
    return a->from != b->from ? (a->from < b->from ? -1 : 1) : a->to < b->to ? -1 : a->to > b->to;
}

static int by_to_compare(const void *left, const void *right, void *edges) {
    const Edge *a = (const Edge *)edges + *(const int *)left, *b = (const Edge *)edges + *(const int *)right;
    return a->to != b->to ? (a->to < b->to ? -1 : 1) : a->from < b->from ? -1 : a->from > b->from;
}

static void edges_make(Graph *g, const PGresult *rows) {
    g->edge_count = PQntuples(rows);
    size_t count = (size_t)g->edge_count;
    g->edges = arena_alloc(g->arena, (count + 1) * sizeof *g->edges);
    g->by_to = arena_alloc(g->arena, (count + 1) * sizeof *g->by_to);
    g->needs = arena_alloc(g->arena, ((size_t)g->node_count + 2) * sizeof *g->needs);
    g->dependents = arena_alloc(g->arena, ((size_t)g->node_count + 2) * sizeof *g->dependents);
    for (int row = 0; row < g->edge_count; row++)
        g->edges[row] =
            (Edge){graph_find(g, cell_oid(rows, row, E_CLASS), cell_oid(rows, row, E_OID)),
                   graph_find(g, cell_oid(rows, row, E_REF_CLASS), cell_oid(rows, row, E_REF_OID)),
                   (int)pg_cell_int(rows, row, E_COLUMN), (int)pg_cell_int(rows, row, E_REF_COLUMN),
                   pg_cell(rows, row, E_TYPE)[0]};
    qsort(g->edges, count, sizeof *g->edges, edge_compare);
    for (int at = 0; at < g->edge_count; at++)
        g->by_to[at] = at;
    qsort_r(g->by_to, count, sizeof *g->by_to, by_to_compare, g->edges);
    for (int node = 0, need = 0, dependent = 0; node <= g->node_count; node++) {
        while (need < g->edge_count && g->edges[need].from < node)
            need++;
        while (dependent < g->edge_count && g->edges[g->by_to[dependent]].to < node)
            dependent++;
        g->needs[node] = need;
        g->dependents[node] = dependent;
    }
}

static bool classes_read(Graph *g, Pg *source, Error *e) {
    PGresult *row = pg_query(source, SQL_CLASSES, 0, NULL, e);
    if (row == NULL)
        return false;
    uint32_t *const classes[] = {&g->class_relation,    &g->class_routine,       &g->class_schema,
                                 &g->class_type,        &g->class_cast,          &g->class_transform,
                                 &g->class_default_acl, &g->class_event_trigger, &g->class_constraint,
                                 &g->class_trigger,     &g->class_policy,        &g->class_rule,
                                 &g->class_statistics};
    for (int at = 0; at < (int)(sizeof classes / sizeof *classes); at++)
        *classes[at] = cell_oid(row, 0, at);
    PQclear(row);
    return true;
}

bool graph_read(Graph *g, Pg *source, const Config *cfg, const Mapping *mapping, Error *e) {
    const char *const ours[] = {cfg->target.state_schema, cfg->source.heartbeat_schema,
                                cfg->source.heartbeat_table};
    if (!classes_read(g, source, e))
        return false;
    PGresult *edges = pg_query(source, SQL_EDGES, 0, NULL, e);
    PGresult *names = edges == NULL ? NULL : pg_query(source, SQL_NAMES, 3, ours, e);
    PGresult *schemas = names == NULL ? NULL : pg_query(source, SQL_SCHEMAS, 0, NULL, e);
    PGresult *parents = schemas == NULL ? NULL : pg_query(source, TREE_PARENTS_SQL, 0, NULL, e);
    PGresult *within = parents == NULL ? NULL : pg_query(source, SQL_WITHIN, 0, NULL, e);
    bool ok = within != NULL;
    if (ok) {
        nodes_make(g, edges, names);
        names_give(g, names, mapping);
        schemas_give(g, schemas, mapping);
        lineages_give(g, parents, mapping);
        within_give(g, within);
        edges_make(g, edges);
    }
    PQclear(edges);
    PQclear(names);
    PQclear(schemas);
    PQclear(parents);
    PQclear(within);
    return ok;
}
