/* choice_graph: who depends on whom among the source's objects, as pg_depend has it. Pure but for reading it. For the files
 * of the choice only. */
#ifndef WALFERRY_SNAPSHOT_CHOICE_GRAPH_H
#define WALFERRY_SNAPSHOT_CHOICE_GRAPH_H

#include <stdint.h>

#include "core/arena.h"
#include "core/mapping.h"
#include "core/pg.h"

typedef struct Node {
    uint32_t class_oid, oid;
    char kind;                 /* of a relation: pg_class.relkind; of a routine: 'F'; else 0 */
    const char *schema, *name; /* of those alone */
    Taken taken;               /* of those alone: what the patterns say, its ancestors asked, too */
    bool kept, out;
    /* What made it go: a node, or one of its columns; -1: a pattern or nothing. */
    int because, because_column;
    /* Whose definition holds or needs it: of a default, a check, the sequence of a column; else -1. */
    int owner, column;
    bool generated;
} Node;

typedef struct Edge {
    int from, to; /* `from` depends on `to` */
    int from_column, to_column;
    char type; /* pg_depend.deptype */
} Edge;

typedef struct Graph {
    Arena *arena;
    int node_count, edge_count;
    Node *nodes;     /* by class and number */
    Edge *edges;     /* by `from` */
    int *by_to;      /* edges, by `to` */
    int *needs;      /* of each node: its first edge; one more at the end */
    int *dependents; /* of each node: its first place in by_to; one more at the end */
    uint32_t class_relation, class_routine, class_schema, class_type, class_cast, class_transform,
        class_default_acl, class_event_trigger, class_constraint, class_trigger, class_policy, class_rule,
        class_statistics;
} Graph;

bool graph_read(Graph *g, Pg *source, const Config *cfg, const Mapping *mapping, Error *e);
int graph_find(const Graph *g, uint32_t class_oid, uint32_t oid); /* -1: none */

#endif
