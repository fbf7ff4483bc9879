#include "core/route.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { GROUPS = 10 }; /* the whole, and nine in it */

void routes_put(Routes *routes, int item, int line, size_t part, const char *text) {
    Route *route = routes->count == 0 ? NULL : &routes->items[routes->count - 1];
    if (route == NULL || route->item != item) {
        routes->items = memory_grow(routes->items, ((size_t)routes->count + 1) * sizeof *routes->items);
        route = &routes->items[routes->count++];
        *route = (Route){.item = item, .line = line};
    }
    char **place = (void *)((char *)route + part);
    assert(*place == NULL);
    *place = memory_text(text);
}

static bool compile(const char *match, regex_t *out, Error *e) {
    char why[200];
    int code = regcomp(out, match, REG_EXTENDED);
    if (code == 0)
        return true;
    regerror(code, out, why, sizeof why);
    fail(e, ERR_CONFIG, "is not a regular expression: %s", why);
    return fail_hint(e,
                     "they are POSIX's extended ones: [0-9] and not \\d, ( ) and not (?: ), \\. for a dot");
}

bool route_match_valid(const char *match, Error *e) {
    regex_t pattern;
    if (!compile(match, &pattern, e))
        return false;
    regfree(&pattern);
    return true;
}

/* The group that `at` stands for, or -1. */
static int group_at(const char *at) {
    return (*at == '$' || *at == '\\') && isdigit((unsigned char)at[1]) ? at[1] - '0' : -1;
}

static bool groups_there(const Route *route, Error *e) {
    for (const char *at = route->to; *at != '\0'; at++) {
        int group = group_at(at);
        if (group < 0 && (*at == '$' || *at == '\\')) {
            fail(e, ERR_CONFIG, "\"to\" has a \"%c\" without a digit behind it", *at);
            return fail_hint(e, "$1 or \\1 stand for the first group in \"match\"");
        }
        if (group >= 0 && (size_t)group > route->pattern.re_nsub)
            return fail(e, ERR_CONFIG, "\"to\" names group %d, and \"match\" has %zu", group,
                        route->pattern.re_nsub);
        at += group >= 0;
    }
    return true;
}

static bool route_resolve(Route *route, Error *e) {
    if (route->match == NULL || route->to == NULL)
        return fail(e, ERR_CONFIG, "\"%s\" is missing", route->match == NULL ? "match" : "to");
    route->compiled = compile(route->match, &route->pattern, e);
    return route->compiled && groups_there(route, e);
}

bool routes_resolve(Routes *routes, Error *e) {
    for (int at = 0; at < routes->count; at++) {
        Route *route = &routes->items[at];
        if (route_resolve(route, e))
            continue;
        return route->line > 0 ? fail_context(e, "the item of \"kafka.topics.route\" in line %d", route->line)
                               : fail_context(e, "\"kafka.topics.route\" of the flags");
    }
    return true;
}

void routes_free(Routes *routes) {
    for (int at = 0; at < routes->count; at++) {
        Route *route = &routes->items[at];
        if (route->compiled)
            regfree(&route->pattern);
        free(route->match);
        free(route->to);
        free(route->key_field);
    }
    free(routes->items);
}

static void result_write(const Route *route, const char *name, const regmatch_t *groups, Writer *out) {
    writer_reset(out);
    for (const char *at = route->to; *at != '\0'; at++) {
        int group = group_at(at);
        if (group < 0) {
            writer_u8(out, (uint8_t)*at);
            continue;
        }
        at++;
        if (groups[group].rm_so >= 0)
            writer_bytes(out, (Slice){name + groups[group].rm_so,
                                      (size_t)(groups[group].rm_eo - groups[group].rm_so)});
    }
}

/* POSIX takes the leftmost match, and of those the longest: if the whole name matches, it is that. */
const Route *routes_find(const Routes *routes, const char *name, Writer *out) {
    regmatch_t groups[GROUPS];
    for (int at = 0; at < routes->count; at++) {
        const Route *route = &routes->items[at];
        if (regexec(&route->pattern, name, GROUPS, groups, 0) != 0 || groups[0].rm_so != 0 ||
            name[groups[0].rm_eo] != '\0')
            continue;
        result_write(route, name, groups, out);
        return route;
    }
    return NULL;
}
