#include "sink/kafka/source_types.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"

/* A true array is the one that its element names as such: int2vector has an element, too, but another text form. */
#define ELEMENT "(SELECT b.oid FROM pg_type b WHERE b.oid = y.typelem AND b.typarray = y.oid)"
/* The types $1 and what they are made of; a row for each label. OFFSET 0: every type is looked up by the index, whatever
 * the planner believes of fresh catalogs. */
static const char TYPES_SQL[] =
    "WITH RECURSIVE made (oid) AS (SELECT unnest($1::oid[]) UNION"
    " SELECT t.part FROM made m CROSS JOIN LATERAL ("
    "  SELECT CASE WHEN y.typbasetype <> 0 THEN y.typbasetype ELSE " ELEMENT " END"
    "  FROM pg_type y WHERE y.oid = m.oid OFFSET 0) t (part) WHERE t.part IS NOT NULL)"
    " SELECT t.oid, t.typname, t.typtype, t.typdelim, t.element, t.typbasetype, t.typtypmod, l.enumlabel"
    " FROM made m CROSS JOIN LATERAL ("
    "  SELECT y.*, " ELEMENT " AS element FROM pg_type y WHERE y.oid = m.oid OFFSET 0) t"
    " LEFT JOIN LATERAL (SELECT n.enumlabel, n.enumsortorder FROM pg_enum n WHERE n.enumtypid = t.oid"
    "  OFFSET 0) l ON true ORDER BY t.oid, l.enumsortorder";
enum TypeField { T_OID, T_NAME, T_SORT, T_DELIMITER, T_ELEMENT, T_BASE, T_MODIFIER, T_LABEL };

enum { LIST_LIMIT = 1 << 20 };

typedef struct KnownType {
    TypeFacts facts;
    UT_hash_handle hh;
} KnownType;

struct SourceTypes {
    Arena *arena;
    KnownType *known;
};

/* What an answer said, by OID. */
typedef struct Answer {
    int count;
    struct AnswerType {
        TypeFacts facts;
        uint32_t element, base;
    } * types;
} Answer;

SourceTypes *source_types_new(void) {
    SourceTypes *t = memory_new(sizeof *t);
    t->arena = arena_new();
    return t;
}

void source_types_free(SourceTypes *t) {
    if (t == NULL)
        return;
    HASH_CLEAR(hh, t->known);
    arena_free(t->arena);
    free(t);
}

/* ---- one answer ---- */

static const TypeFacts *known_find(const SourceTypes *t, uint32_t oid) {
    KnownType *known;
    HASH_FIND(hh, t->known, &oid, sizeof oid, known);
    return known == NULL ? NULL : &known->facts;
}

static const char *cell_copy(Arena *arena, const PGresult *rows, int row, int column) {
    return arena_text(arena, slice_text(pg_cell(rows, row, column)));
}

/* The type that begins in this row; returns how many rows it has. */
static int type_read(Arena *arena, const PGresult *rows, int row, struct AnswerType *out) {
    int end = row + 1;
    while (end < PQntuples(rows) && pg_cell_int(rows, end, T_OID) == pg_cell_int(rows, row, T_OID))
        end++;
    out->facts = (TypeFacts){.oid = (uint32_t)pg_cell_int(rows, row, T_OID),
                             .name = cell_copy(arena, rows, row, T_NAME),
                             .sort = pg_cell(rows, row, T_SORT)[0],
                             .delimiter = pg_cell(rows, row, T_DELIMITER)[0],
                             .base_modifier = (int32_t)pg_cell_int(rows, row, T_MODIFIER)};
    out->element = (uint32_t)pg_cell_int(rows, row, T_ELEMENT);
    out->base = (uint32_t)pg_cell_int(rows, row, T_BASE);
    if (pg_cell_null(rows, row, T_LABEL))
        return end - row;
    const char **labels = arena_alloc(arena, (size_t)(end - row) * sizeof *labels);
    for (int at = row; at < end; at++)
        labels[at - row] = cell_copy(arena, rows, at, T_LABEL);
    out->facts.label_count = end - row;
    out->facts.labels = labels;
    return end - row;
}

static int type_compare(const void *oid, const void *type) {
    uint32_t left = *(const uint32_t *)oid, right = ((const struct AnswerType *)type)->facts.oid;
    return (left > right) - (left < right);
}

static const TypeFacts *answer_find(const Answer *answer, uint32_t oid) {
    const struct AnswerType *type =
        bsearch(&oid, answer->types, (size_t)answer->count, sizeof *answer->types, type_compare);
    return type == NULL ? NULL : &type->facts;
}

static Answer answer_read(Arena *arena, const PGresult *rows) {
    Answer answer = {.types = arena_alloc(arena, ((size_t)PQntuples(rows) + 1) * sizeof *answer.types)};
    for (int row = 0; row < PQntuples(rows); answer.count++)
        row += type_read(arena, rows, row, &answer.types[answer.count]);
    for (int at = 0; at < answer.count; at++) {
        struct AnswerType *type = &answer.types[at];
        type->facts.element = answer_find(&answer, type->element);
        type->facts.base = answer_find(&answer, type->base);
    }
    return answer;
}

/* ---- what is kept ---- */

static bool can_change(const TypeFacts *type) {
    for (; type != NULL; type = type->base != NULL ? type->base : type->element)
        if (type->sort == 'e')
            return true;
    return false;
}

static const TypeFacts *keep(SourceTypes *t, const TypeFacts *type) {
    const TypeFacts *before = type == NULL ? NULL : known_find(t, type->oid);
    if (type == NULL || before != NULL)
        return before;
    KnownType *known = arena_alloc(t->arena, sizeof *known);
    known->facts = *type;
    known->facts.name = arena_text(t->arena, slice_text(type->name));
    known->facts.element = keep(t, type->element);
    known->facts.base = keep(t, type->base);
    HASH_ADD(hh, t->known, facts.oid, sizeof known->facts.oid, known);
    return &known->facts;
}

/* ---- the question ---- */

static PGresult *ask(const SourceTypes *t, Pg *source, const Relation *rel, Error *e) {
    Writer list = writer_new(LIST_LIMIT);
    for (uint16_t column = 0; column < rel->column_count; column++)
        if (known_find(t, rel->columns[column].type) == NULL)
            writer_format(&list, "%s%u", list.len == 0 ? "{" : ",", rel->columns[column].type);
    writer_text(&list, list.len == 0 ? "{}" : "}");
    const char *const params[] = {writer_string(&list)};
    PGresult *rows = pg_query(source, TYPES_SQL, 1, params, e);
    writer_free(&list);
    return rows;
}

static bool knows_all(const SourceTypes *t, const Relation *rel) {
    for (uint16_t column = 0; column < rel->column_count; column++)
        if (known_find(t, rel->columns[column].type) == NULL)
            return false;
    return true;
}

const TypeFacts **source_types_of(SourceTypes *t, Pg *source, Arena *arena, const Relation *rel, Error *e) {
    Answer answer = {0};
    if (!knows_all(t, rel)) {
        PGresult *rows = ask(t, source, rel, e);
        if (rows == NULL)
            return NULL;
        answer = answer_read(arena, rows);
        PQclear(rows);
    }
    for (int at = 0; at < answer.count; at++)
        if (!can_change(&answer.types[at].facts))
            keep(t, &answer.types[at].facts);
    const TypeFacts **out = arena_alloc(arena, (rel->column_count + 1u) * sizeof *out);
    for (uint16_t column = 0; column < rel->column_count; column++) {
        out[column] = known_find(t, rel->columns[column].type);
        if (out[column] == NULL)
            out[column] = answer_find(&answer, rel->columns[column].type);
    }
    return out;
}
