/* batches: relations, changes and batches written by hand. A row is its values with "|" between them:
 * "\N" is NULL, "?" an unchanged TOAST value, "-" absent. A relation's columns are "id*,v", keys with a "*". */
#ifndef WALFERRY_TESTS_SINK_BATCHES_H
#define WALFERRY_TESTS_SINK_BATCHES_H

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/change.h"

/* One batch in the making. */
typedef struct Maker {
    Arena *arena;
    Transaction *transactions;
    Change *changes;
    uint32_t transaction_count, change_count, capacity, first;
} Maker;

/* The versions of a relation have its OID. */
static inline uint32_t relation_oid(const char *schema, const char *name) {
    uint32_t oid = 5381;
    for (const char *at = schema; *at != '\0'; at++)
        oid = oid * 33 + (unsigned char)*at;
    for (const char *at = name; *at != '\0'; at++)
        oid = oid * 33 + (unsigned char)*at;
    return 16384 + oid % 1000000;
}

static inline Relation *relation_make(Arena *arena, uint32_t number, const char *schema, const char *name,
                                      char identity, const char *columns) {
    char text[400];
    Column *list = arena_alloc(arena, 20 * sizeof *list);
    Relation *rel = arena_alloc(arena, sizeof *rel);
    snprintf(text, sizeof text, "%s", columns);
    *rel = (Relation){
        .number = number, .oid = relation_oid(schema, name), .identity = identity, .columns = list};
    rel->schema = arena_text(arena, slice_text(schema));
    rel->name = arena_text(arena, slice_text(name));
    char *rest = text;
    for (char *word; (word = strsep(&rest, ",")) != NULL && *word != '\0'; rel->column_count++) {
        size_t length = strcspn(word, "*");
        list[rel->column_count] = (Column){arena_text(arena, (Slice){word, length}), 25, -1,
                                           identity == 'f' || word[length] == '*'};
    }
    return rel;
}

static inline Value value_make(Arena *arena, Slice text) {
    if (slice_is(text, "\\N"))
        return (Value){.kind = VALUE_NULL};
    if (slice_is(text, "?"))
        return (Value){.kind = VALUE_UNCHANGED};
    if (slice_is(text, "-"))
        return (Value){.kind = VALUE_ABSENT};
    if (text.len == 0)
        return (Value){.kind = VALUE_TEXT};
    return (Value){VALUE_TEXT, {arena_text(arena, text), text.len}};
}

static inline Value *row_make(Arena *arena, const Relation *rel, const char *text) {
    if (text == NULL)
        return NULL;
    Value *row = arena_alloc(arena, (rel->column_count + 1u) * sizeof *row);
    for (uint16_t column = 0; column < rel->column_count; column++) {
        size_t length = strcspn(text, "|");
        row[column] = value_make(arena, (Slice){text, length});
        text += length + (text[length] == '|');
    }
    return row;
}

/* Room for `capacity` changes, and as many transactions. */
static inline Maker maker_new(uint32_t capacity) {
    Maker m = {.arena = arena_new(), .capacity = capacity};
    m.transactions = arena_alloc(m.arena, (capacity + 1) * sizeof *m.transactions);
    m.changes = arena_alloc(m.arena, (capacity + 1) * sizeof *m.changes);
    return m;
}

static inline Change *maker_add(Maker *m, ChangeKind kind, const Relation *rel) {
    assert(m->change_count < m->capacity);
    Change *change = &m->changes[m->change_count];
    *change = (Change){.kind = kind, .seq = m->change_count - m->first, .rel = rel};
    m->change_count++;
    return change;
}

static inline void maker_insert(Maker *m, const Relation *rel, const char *after) {
    maker_add(m, CHANGE_INSERT, rel)->row.after = row_make(m->arena, rel, after);
}

static inline void maker_update(Maker *m, const Relation *rel, const char *before, const char *after) {
    Change *change = maker_add(m, CHANGE_UPDATE, rel);
    change->row.before = row_make(m->arena, rel, before);
    change->row.after = row_make(m->arena, rel, after);
}

static inline void maker_delete(Maker *m, const Relation *rel, const char *before) {
    maker_add(m, CHANGE_DELETE, rel)->row.before = row_make(m->arena, rel, before);
}

static inline void maker_truncate(Maker *m, const Relation *first, const Relation *second, bool restart) {
    const Relation **rels = arena_alloc(m->arena, 2 * sizeof *rels);
    Change *change = maker_add(m, CHANGE_TRUNCATE, NULL);
    rels[0] = first;
    rels[1] = second;
    change->truncate.rels = rels;
    change->truncate.count = second == NULL ? 1 : 2;
    change->truncate.restart_identity = restart;
}

static inline void maker_beat(Maker *m, int64_t number) {
    maker_add(m, CHANGE_BEAT, NULL)->beat.number = number;
}

/* The changes since the last one become a piece of a transaction that ends at `end`. */
static inline void maker_piece(Maker *m, uint32_t xid, uint64_t end, bool begins, bool ends) {
    m->transactions[m->transaction_count++] = (Transaction){.xid = xid,
                                                            .commit = {end - 8},
                                                            .end = {end},
                                                            .committed_us = 1700000000000000 + (int64_t)end,
                                                            .count = m->change_count - m->first,
                                                            .changes = m->changes + m->first,
                                                            .begins = begins,
                                                            .ends = ends};
    m->first = m->change_count;
}

static inline void maker_commit(Maker *m, uint32_t xid, uint64_t end) {
    maker_piece(m, xid, end, true, true);
}

/* The last piece is prepared, or decides over the prepared one of its xid. */
static inline void maker_ending(Maker *m, TransactionEnd ending) {
    m->transactions[m->transaction_count - 1].ending = ending;
}

/* Its one use is the caller's. */
static inline Batch *maker_batch(Maker *m) {
    Batch *b = batch_new(m->arena);
    b->count = m->transaction_count;
    b->transactions = m->transactions;
    b->bytes = arena_bytes(m->arena);
    return b;
}

#endif
