/* route: rules that rename the Kafka topics of tables (kafka.topics.route). The first rule counts whose regular expression
 * (POSIX, extended) matches the whole name. Knows no characters that a topic's name cannot have: sink/kafka/topics does.
 * After routes_resolve any thread may match. */
#ifndef WALFERRY_CORE_ROUTE_H
#define WALFERRY_CORE_ROUTE_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/bytes.h"
#include "core/error.h"

typedef struct Route {
    char *match, *to;
    char *key_field; /* NULL: none */
    int item, line;  /* in the job file; 0: of flags */
    bool compiled;
    regex_t pattern;
} Route;

typedef struct Routes {
    int count;
    Route *items;
} Routes;

/* What belongs to one item of the file, or to the flags, is one rule. part: the place of a text in Route. */
void routes_put(Routes *routes, int item, int line, size_t part, const char *text);
bool route_match_valid(const char *match, Error *e);
/* Once, when all are there. ERR_CONFIG: a rule is not whole, or names a group that there is not. */
bool routes_resolve(Routes *routes, Error *e);
void routes_free(Routes *routes);

/* The rule for this name, and what it makes of it (`out` is written from its start); NULL: none. */
const Route *routes_find(const Routes *routes, const char *name, Writer *out);

#endif
