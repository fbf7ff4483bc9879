#include "core/definition.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

const Definition *definition_of_table(Arena *arena, const Table *table) {
    Definition *d = arena_alloc(arena, sizeof *d);
    DefinedColumn *columns = arena_alloc(arena, (table->column_count + 1u) * sizeof *columns);
    *d = (Definition){.schema = table->schema, .name = table->name, .columns = columns};
    for (int at = 0; at < table->column_count; at++) {
        const TableColumn *column = &table->columns[at];
        if (column->taken && !column->generated)
            columns[d->count++] =
                (DefinedColumn){column->name, column->type, column->modifier, column->number};
    }
    return d;
}

const Definition *definition_of_relation(Arena *arena, const Relation *rel) {
    Definition *d = arena_alloc(arena, sizeof *d);
    DefinedColumn *columns = arena_alloc(arena, (rel->column_count + 1u) * sizeof *columns);
    *d = (Definition){rel->schema, rel->name, rel->column_count, columns};
    for (int at = 0; at < d->count; at++)
        columns[at] =
            (DefinedColumn){rel->columns[at].name, rel->columns[at].type, rel->columns[at].modifier, 0};
    return d;
}

bool definition_describes(const Definition *d, const Relation *rel) {
    if (d->count != rel->column_count || strcmp(d->schema, rel->schema) != 0 ||
        strcmp(d->name, rel->name) != 0)
        return false;
    for (int at = 0; at < d->count; at++) {
        const DefinedColumn *then = &d->columns[at];
        const Column *now = &rel->columns[at];
        if (then->type != now->type || then->modifier != now->modifier || strcmp(then->name, now->name) != 0)
            return false;
    }
    return true;
}

/* ---- as text: {"schema": "s", "name": "t", "columns": [["id", 23, -1, 1], …]} ---- */

void definition_write(Writer *out, const Definition *d) {
    json_t *columns = json_array();
    for (int at = 0; at < d->count; at++) {
        const DefinedColumn *column = &d->columns[at];
        json_array_append_new(columns, json_pack("[s,I,i,i]", column->name, (json_int_t)column->type,
                                                 (int)column->modifier, column->number));
    }
    json_t *root = json_pack("{s:s,s:s,s:o}", "schema", d->schema, "name", d->name, "columns", columns);
    char *text = json_dumps(root, JSON_COMPACT);
    if (text != NULL)
        writer_text(out, text);
    free(text);
    json_decref(root);
}

static const char *kept(Arena *arena, const char *text) {
    return arena_text(arena, slice_text(text));
}

static bool column_read(Arena *arena, json_t *item, DefinedColumn *out) {
    const char *name;
    json_int_t type;
    int modifier, number;
    if (json_unpack(item, "[s,I,i,i]", &name, &type, &modifier, &number) != 0)
        return false;
    *out = (DefinedColumn){kept(arena, name), (uint32_t)type, modifier, number};
    return true;
}

const Definition *definition_read(Arena *arena, const char *text) {
    const char *schema, *name;
    json_t *columns, *root = json_loads(text, 0, NULL);
    Definition *d = NULL;
    if (json_unpack(root, "{s:s,s:s,s:o}", "schema", &schema, "name", &name, "columns", &columns) == 0) {
        d = arena_alloc(arena, sizeof *d);
        DefinedColumn *list = arena_alloc(arena, (json_array_size(columns) + 1) * sizeof *list);
        *d = (Definition){.schema = kept(arena, schema), .name = kept(arena, name), .columns = list};
        while (d != NULL && (size_t)d->count < json_array_size(columns)) {
            bool ok = column_read(arena, json_array_get(columns, (size_t)d->count), &list[d->count]);
            d->count++;
            d = ok ? d : NULL;
        }
    }
    json_decref(root);
    return d;
}

/* ---- what was altered ---- */

/* Which column of the other side each is, -1: none. */
typedef struct Matching {
    const Definition *before, *after;
    int *of_before, *of_after;
} Matching;

static void match(Matching *m, int before, int after) {
    m->of_before[before] = after;
    m->of_after[after] = before;
}

static bool same_type(const DefinedColumn *a, const DefinedColumn *b) {
    return a->type == b->type && a->modifier == b->modifier;
}

static bool are_numbered(const Definition *d) {
    for (int at = 0; at < d->count; at++)
        if (d->columns[at].number == 0)
            return false;
    return true;
}

static void match_by(Matching *m, bool by_number) {
    for (int before = 0; before < m->before->count; before++)
        for (int after = 0; after < m->after->count; after++) {
            const DefinedColumn *a = &m->before->columns[before], *b = &m->after->columns[after];
            if (m->of_after[after] < 0 &&
                (by_number ? a->number == b->number : strcmp(a->name, b->name) == 0)) {
                match(m, before, after);
                break;
            }
        }
}

/* Columns never change places: names that seem to have done so were given to other columns. */
static bool is_crossed(const Matching *m) {
    int last = -1;
    for (int before = 0; before < m->before->count; before++) {
        int after = m->of_before[before];
        if (after >= 0 && after < last)
            return true;
        last = after >= 0 ? after : last;
    }
    return false;
}

static void match_places(Matching *m) {
    for (int before = 0; before < m->before->count; before++)
        m->of_before[before] = -1;
    for (int after = 0; after < m->after->count; after++)
        m->of_after[after] = -1;
    for (int at = 0; at < m->before->count && at < m->after->count; at++)
        match(m, at, at);
}

/* Between the same neighbours, one name gone and one of the same type new: renamed, for all that can be seen. */
static void match_between(Matching *m) {
    int after = 0;
    for (int before = 0; before < m->before->count; before++) {
        if (m->of_before[before] >= 0) {
            after = m->of_before[before] + 1;
            continue;
        }
        if (after < m->after->count && m->of_after[after] < 0 &&
            same_type(&m->before->columns[before], &m->after->columns[after]))
            match(m, before, after++);
    }
}

static void match_all(Matching *m, bool numbered) {
    for (int before = 0; before < m->before->count; before++)
        m->of_before[before] = -1;
    for (int after = 0; after < m->after->count; after++)
        m->of_after[after] = -1;
    match_by(m, numbered);
    if (numbered)
        return;
    if (is_crossed(m))
        match_places(m);
    else
        match_between(m);
}

/* An added column is the last one: where a known one follows, it was no other. */
static bool is_doubtful(const Matching *m, int after) {
    for (int behind = after + 1; behind < m->after->count; behind++)
        if (m->of_after[behind] >= 0 &&
            strcmp(m->after->columns[behind].name, m->before->columns[m->of_after[behind]].name) == 0)
            return false;
    return true;
}

static int alteration_find(const Matching *m, bool numbered, AlterationKind kind, Alteration *out) {
    int count = 0;
    for (int before = 0; kind == ALTERED_DROPPED && before < m->before->count; before++)
        if (m->of_before[before] < 0)
            out[count++] = (Alteration){kind, false, &m->before->columns[before], NULL};
    for (int after = 0; kind != ALTERED_DROPPED && after < m->after->count; after++) {
        const DefinedColumn *now = &m->after->columns[after];
        int before = m->of_after[after];
        const DefinedColumn *then = before < 0 ? NULL : &m->before->columns[before];
        bool found = kind == ALTERED_ADDED     ? then == NULL
                     : then == NULL            ? false
                     : kind == ALTERED_RENAMED ? strcmp(then->name, now->name) != 0
                                               : !same_type(then, now);
        if (found)
            out[count++] =
                (Alteration){kind, kind == ALTERED_RENAMED && !numbered && is_doubtful(m, after), then, now};
    }
    return count;
}

int definition_alterations(const Definition *before, const Definition *after, Alteration *out) {
    Arena *arena = arena_new();
    bool numbered = are_numbered(before) && are_numbered(after);
    Matching m = {before, after, arena_alloc(arena, ((size_t)before->count + 1) * sizeof(int)),
                  arena_alloc(arena, ((size_t)after->count + 1) * sizeof(int))};
    match_all(&m, numbered);
    int count = 0;
    for (AlterationKind kind = ALTERED_DROPPED; kind <= ALTERED_ADDED; kind++)
        count += alteration_find(&m, numbered, kind, out + count);
    arena_free(arena);
    return count;
}

bool definition_same_name(const Definition *a, const Definition *b) {
    return strcmp(a->schema, b->schema) == 0 && strcmp(a->name, b->name) == 0;
}
