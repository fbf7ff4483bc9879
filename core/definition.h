/* definition: what a captured table looked like at the source: its name and the columns that travel. The job's record
 * keeps the last one that the destination has followed, so that a change is noticed by comparing, in whatever session
 * and however long ago it was made. Pure. */
#ifndef WALFERRY_CORE_DEFINITION_H
#define WALFERRY_CORE_DEFINITION_H

#include "core/arena.h"
#include "core/change.h"
#include "core/selection.h"

typedef struct DefinedColumn {
    const char *name;
    uint32_t type;    /* the source's type OID */
    int32_t modifier; /* atttypmod, -1: none */
    int number;       /* attnum, by which a rename is told from a drop and an add; 0: unknown */
} DefinedColumn;

typedef struct Definition {
    const char *schema, *name;
    int count;
    const DefinedColumn *columns; /* in the order of their numbers */
} Definition;

/* Made in `arena`. A Relation message has no numbers. */
const Definition *definition_of_table(Arena *arena, const Table *table);
const Definition *definition_of_relation(Arena *arena, const Relation *rel);
/* Nothing has changed. */
bool definition_describes(const Definition *d, const Relation *rel);
/* As text for the record (nothing: its names are not UTF-8), and back; NULL when the text is none of ours. */
void definition_write(Writer *out, const Definition *d);
const Definition *definition_read(Arena *arena, const char *text);

typedef enum AlterationKind {
    ALTERED_DROPPED, /* before */
    ALTERED_RENAMED, /* before and after */
    ALTERED_RETYPED, /* before and after; a column may be renamed as well */
    ALTERED_ADDED    /* after */
} AlterationKind;

typedef struct Alteration {
    AlterationKind kind;
    bool doubtful; /* RENAMED without numbers: or one dropped and another one of the same type added */
    const DefinedColumn *before, *after;
} Alteration;

/* What was done to the columns of `before` so that they became those of `after`: all drops first, then renames, types,
 * added ones. `out` has room for 2 * (before->count + after->count). Returns how many. */
int definition_alterations(const Definition *before, const Definition *after, Alteration *out);
bool definition_same_name(const Definition *a, const Definition *b);

#endif
