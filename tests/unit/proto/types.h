/* types: columns for the tests of proto, as the catalogs of PostgreSQL would describe them. */
#ifndef WALFERRY_TESTS_PROTO_TYPES_H
#define WALFERRY_TESTS_PROTO_TYPES_H

#include "proto/kind.h"

enum { FIRST_OID = 16384 };
#define NUMERIC(precision, scale) (((precision) << 16 | ((scale)&0x7ff)) + 4)

static inline TypeFacts *type_make(Arena *arena, uint32_t oid, const char *name, char sort) {
    TypeFacts *type = arena_alloc(arena, sizeof *type);
    *type = (TypeFacts){.oid = oid, .name = name, .sort = sort, .delimiter = ',', .base_modifier = -1};
    return type;
}

static inline TypeFacts *type_array(Arena *arena, const TypeFacts *element) {
    TypeFacts *type = type_make(arena, FIRST_OID + 900, "_element", 'b');
    type->element = element;
    return type;
}

static inline TypeFacts *type_domain(Arena *arena, const TypeFacts *base, int32_t modifier) {
    TypeFacts *type = type_make(arena, FIRST_OID + 901, "a_domain", 'd');
    type->base = base;
    type->base_modifier = modifier;
    return type;
}

static inline const Kind *kind_make(Arena *arena, const TypeFacts *type, int32_t modifier) {
    return kind_of(arena, &(ColumnFacts){.type = type, .modifier = modifier}, (KindOptions){0});
}

/* Of a type that is known by its OID, or by its name. */
static inline const Kind *kind_plain(Arena *arena, uint32_t oid, const char *name, int32_t modifier) {
    return kind_make(arena, type_make(arena, oid, name, 'b'), modifier);
}

#endif
