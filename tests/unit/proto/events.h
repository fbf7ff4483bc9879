/* events: a table and its rows for the tests of the encoders. Columns are "id int4 key" by way of a list; a row is its
 * values with "|" between them: "\N" is NULL, "?" an unchanged TOAST value, "-" absent. */
#ifndef WALFERRY_TESTS_PROTO_EVENTS_H
#define WALFERRY_TESTS_PROTO_EVENTS_H

#include <string.h>

#include "proto/event.h"
#include "proto/types.h"

typedef struct ColumnMake {
    const char *name;
    uint32_t oid;
    const char *type_name;
    int32_t modifier;
    bool not_null, key, array;
    const char *default_expression;
} ColumnMake;

static const EventOrigin ORIGIN = {.version = "0.1.0", .prefix = "shop", .database = "shopdb"};
static const EventPlace PLACE = {.end = {0x16B3748},
                                 .seq = 2,
                                 .xid = 571,
                                 .lsn = {24023128},
                                 .last_commit = {24023120},
                                 .committed_us = 1700000000123456,
                                 .now_us = 1700000001000000};

static inline EventTable *table_make(Arena *arena, const ColumnMake *list, uint16_t count) {
    EventTable *table = arena_alloc(arena, sizeof *table);
    EventColumn *columns = arena_alloc(arena, (count + 1u) * sizeof *columns);
    uint16_t *key = arena_alloc(arena, (count + 1u) * sizeof *key);
    for (uint16_t at = 0; at < count; at++) {
        const TypeFacts *type =
            type_make(arena, list[at].oid, list[at].type_name != NULL ? list[at].type_name : "x", 'b');
        const ColumnFacts facts = {.type = list[at].array ? type_array(arena, type) : type,
                                   .modifier = list[at].modifier == 0 ? -1 : list[at].modifier,
                                   .not_null = list[at].not_null || list[at].key,
                                   .default_expression = list[at].default_expression};
        columns[at] = (EventColumn){list[at].name, kind_of(arena, &facts, (KindOptions){0})};
        if (list[at].key)
            key[table->key_count++] = at;
    }
    *table = (EventTable){.topic = "shop.public.t",
                          .schema = "public",
                          .name = "t",
                          .column_count = count,
                          .columns = columns,
                          .key_count = table->key_count,
                          .key = key};
    return table;
}

static inline Value *values_make(Arena *arena, const EventTable *table, const char *text) {
    if (text == NULL)
        return NULL;
    Value *row = arena_alloc(arena, (table->column_count + 1u) * sizeof *row);
    for (uint16_t column = 0; column < table->column_count; column++) {
        Slice part = {text, strcspn(text, "|")};
        row[column] = slice_is(part, "\\N") ? (Value){.kind = VALUE_NULL}
                      : slice_is(part, "?") ? (Value){.kind = VALUE_UNCHANGED}
                      : slice_is(part, "-") ? (Value){.kind = VALUE_ABSENT}
                                            : (Value){VALUE_TEXT, {arena_text(arena, part), part.len}};
        text += part.len + (text[part.len] == '|');
    }
    return row;
}

#endif
