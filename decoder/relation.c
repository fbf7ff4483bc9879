#include "decoder/relation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

typedef struct Entry {
    const Relation *rel; /* NULL: free */
    uint64_t arrival;    /* of the newest message that announced it */
} Entry;

/* From oid to the version in force: open addressing, at most half full; nothing is ever taken out. */
typedef struct OidMap {
    Entry *entries;
    uint32_t size, used; /* size is a power of two, or 0 */
} OidMap;

struct RelationCache {
    OidMap global; /* a use each */
    uint32_t count;
};

struct RelationScope {
    OidMap map;
    Entry *said; /* every announcement in order of arrival, for relation_scope_cut; a use each */
    size_t said_count, said_capacity;
};

/* The oid's entry, or the free one where it belongs. */
static Entry *map_slot(const OidMap *map, uint32_t oid) {
    uint32_t mask = map->size - 1;
    uint32_t slot = (oid * UINT32_C(2654435769) >> 7) & mask;
    while (map->entries[slot].rel != NULL && map->entries[slot].rel->oid != oid)
        slot = (slot + 1) & mask;
    return &map->entries[slot];
}

static const Relation *map_get(const OidMap *map, uint32_t oid) {
    return map->size == 0 ? NULL : map_slot(map, oid)->rel;
}

static void map_grow(OidMap *map) {
    OidMap larger = {.size = map->size == 0 ? 16 : map->size * 2, .used = map->used};
    larger.entries = memory_array(larger.size, sizeof *larger.entries);
    for (uint32_t slot = 0; slot < map->size; slot++)
        if (map->entries[slot].rel != NULL)
            *map_slot(&larger, map->entries[slot].rel->oid) = map->entries[slot];
    free(map->entries);
    *map = larger;
}

static void map_put(OidMap *map, const Relation *rel, uint64_t arrival) {
    if (map->used * 2 >= map->size)
        map_grow(map);
    Entry *entry = map_slot(map, rel->oid);
    if (entry->rel == NULL)
        map->used++;
    *entry = (Entry){rel, arrival};
}

RelationCache *relation_cache_new(void) {
    return memory_new(sizeof(RelationCache));
}

void relation_cache_free(RelationCache *c) {
    if (c == NULL)
        return;
    for (uint32_t slot = 0; slot < c->global.size; slot++)
        if (c->global.entries[slot].rel != NULL)
            relation_drop(c->global.entries[slot].rel);
    free(c->global.entries);
    free(c);
}

static bool column_equal(const Column *a, const Column *b) {
    return a->type == b->type && a->modifier == b->modifier && a->key == b->key &&
           strcmp(a->name, b->name) == 0;
}

static bool version_describes(const Relation *rel, const Message *m) {
    if (rel->identity != m->relation.identity || rel->column_count != m->relation.column_count ||
        !slice_is(m->relation.schema, rel->schema) || !slice_is(m->relation.name, rel->name))
        return false;
    for (unsigned column = 0; column < rel->column_count; column++)
        if (!column_equal(&rel->columns[column], &m->relation.columns[column]))
            return false;
    return true;
}

static char *text_put(char **at, Slice text) {
    char *copy = *at;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    *at += text.len + 1;
    return copy;
}

/* One block of memory, so that whoever is the last to need it can free it. */
static const Relation *version_new(RelationCache *c, const Message *m) {
    uint16_t count = m->relation.column_count;
    size_t size =
        sizeof(Relation) + count * sizeof(Column) + m->relation.schema.len + m->relation.name.len + 2;
    for (unsigned column = 0; column < count; column++)
        size += strlen(m->relation.columns[column].name) + 1;
    Relation *rel = memory_raw(size);
    Column *columns = (Column *)(rel + 1);
    char *texts = (char *)(columns + count);
    *rel = (Relation){.number = c->count++,
                      .oid = m->relation.oid,
                      .schema = text_put(&texts, m->relation.schema),
                      .name = text_put(&texts, m->relation.name),
                      .identity = m->relation.identity,
                      .column_count = count,
                      .columns = columns,
                      .counted = true,
                      .users = 1,
                      .rememberers = 1};
    for (unsigned column = 0; column < count; column++) {
        columns[column] = m->relation.columns[column];
        columns[column].name = text_put(&texts, slice_text(m->relation.columns[column].name));
    }
    return rel;
}

/* Takes over a use of rel. */
static void global_put(RelationCache *c, const Relation *rel, uint64_t arrival) {
    const Relation *before = map_get(&c->global, rel->oid);
    map_put(&c->global, rel, arrival);
    if (before != NULL)
        relation_drop(before);
}

/* Takes over a use of rel. */
static void scope_put(RelationScope *s, const Relation *rel, uint64_t arrival) {
    if (s->said_count == s->said_capacity) {
        s->said_capacity = s->said_capacity == 0 ? 16 : s->said_capacity * 2;
        s->said = memory_grow(s->said, s->said_capacity * sizeof *s->said);
    }
    s->said[s->said_count++] = (Entry){rel, arrival};
    map_put(&s->map, rel, arrival);
}

void relation_scope_cut(RelationScope *s, uint64_t arrival) {
    size_t kept = s->said_count;
    while (kept > 0 && s->said[kept - 1].arrival >= arrival)
        kept--;
    if (kept == s->said_count)
        return;
    for (size_t at = kept; at < s->said_count; at++)
        relation_drop(s->said[at].rel);
    s->said_count = kept;
    free(s->map.entries);
    s->map = (OidMap){0};
    for (size_t at = 0; at < kept; at++)
        map_put(&s->map, s->said[at].rel, s->said[at].arrival);
}

/* A streamed transaction announces what it uses again, mostly as everybody knows it: that is no new version.
 */
bool relation_put(RelationCache *c, RelationScope *scope, uint64_t arrival, const Message *m, Error *e) {
    assert(m->kind == MESSAGE_RELATION);
    const Relation *rel = scope == NULL ? NULL : map_get(&scope->map, m->relation.oid);
    if (rel == NULL)
        rel = map_get(&c->global, m->relation.oid);
    if (rel == NULL || !version_describes(rel, m)) {
        if (c->count == RELATION_VERSIONS_MAX)
            return fail(e, ERR_RETRY, "this session has seen %u versions of relations", c->count);
        rel = version_new(c, m);
    } else {
        relation_use(rel);
        relation_repeat(rel);
    }
    if (scope == NULL)
        global_put(c, rel, arrival);
    else
        scope_put(scope, rel, arrival);
    return true;
}

static void drop(void *rel) {
    relation_drop(rel);
}

void relation_lend(const Relation *rel, Arena *arena) {
    Relation *own = (Relation *)(uintptr_t)rel;
    if (!rel->counted || rel->arena == arena_number(arena))
        return;
    own->arena = arena_number(arena);
    relation_use(rel);
    arena_adopt(arena, own, 0, drop);
}

const Relation *relation_get(const RelationCache *c, const RelationScope *scope, uint32_t oid) {
    return map_get(scope == NULL ? &c->global : &scope->map, oid);
}

RelationScope *relation_scope_new(void) {
    return memory_new(sizeof(RelationScope));
}

void relation_scope_free(RelationScope *s) {
    if (s == NULL)
        return;
    for (size_t at = 0; at < s->said_count; at++)
        relation_drop(s->said[at].rel);
    free(s->map.entries);
    free(s->said);
    free(s);
}

void relation_scope_promote(RelationCache *c, RelationScope *scope) {
    for (uint32_t slot = 0; slot < scope->map.size; slot++) {
        const Entry *entry = &scope->map.entries[slot];
        if (entry->rel == NULL)
            continue;
        const Entry *known = c->global.size == 0 ? NULL : map_slot(&c->global, entry->rel->oid);
        if (known != NULL && known->rel != NULL && known->arrival >= entry->arrival)
            continue;
        relation_use(entry->rel);
        global_put(c, entry->rel, entry->arrival);
    }
}

uint32_t relation_versions(const RelationCache *c) {
    return c->count;
}
