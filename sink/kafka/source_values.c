#include "sink/kafka/source_values.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "sink/kafka/source_rows.h"

enum { WISHES_MOST = 256, HELD_BYTES = 16 << 20 };

/* An answer, and how many of its changes have not been completed yet. */
typedef struct Window {
    RowsAnswer answer;
    int left;
    size_t bytes;
    uint16_t column_count;
    uint16_t columns[]; /* of the relation: the answer's */
} Window;

typedef struct Wish {
    const Change *change;
    Window *window;
    int row;
    UT_hash_handle hh;
} Wish;

struct SourceValues {
    SourceRows *rows;
    const Batch *batch;
    Wish *wishes;
    Window *last; /* whose values were given out; it may be over */
    size_t held_bytes;
};

/* A question while it is put together. */
typedef struct Asking {
    const Change *first;
    const EventTable *table;
    Arena *arena;
    RowsQuestion question;
    Slice *keys;
    uint32_t *xids;
    const Change **changes;
    int *row_of, change_count;
} Asking;

SourceValues *source_values_new(const SinkOptions *options) {
    SourceValues *v = memory_new(sizeof *v);
    v->rows = source_rows_new(options);
    return v;
}

static void window_leave(SourceValues *v, Window *window) {
    if (--window->left > 0)
        return;
    v->held_bytes -= window->bytes;
    PQclear(window->answer.rows);
    free(window);
}

static void last_leave(SourceValues *v) {
    if (v->last != NULL)
        window_leave(v, v->last);
    v->last = NULL;
}

static void wishes_forget(SourceValues *v) {
    Wish *wish, *next;
    HASH_ITER (hh, v->wishes, wish, next) {
        HASH_DEL(v->wishes, wish);
        window_leave(v, wish->window);
        free(wish);
    }
}

void source_values_free(SourceValues *v) {
    if (v == NULL)
        return;
    last_leave(v);
    wishes_forget(v);
    source_rows_free(v->rows);
    free(v);
}

void source_values_ahead(SourceValues *v, const Batch *batch) {
    wishes_forget(v);
    v->batch = batch;
}

void source_values_rest(SourceValues *v, int64_t now_ms) {
    source_rows_rest(v->rows, now_ms);
}

/* ---- what is missing ---- */

static bool is_missing(const Change *change, const EventTable *table, uint16_t column) {
    const Value *before = change->row.before, *after = change->row.after;
    return after[column].kind == VALUE_UNCHANGED && table->columns[column].kind != NULL &&
           (before == NULL || !value_is_known(&before[column]));
}

static uint16_t missing_find(const Change *change, const EventTable *table, uint16_t *out) {
    uint16_t count = 0;
    for (uint16_t column = 0; column < table->column_count; column++)
        if (is_missing(change, table, column))
            out[count++] = column;
    return count;
}

/* Of the row as the change leaves it. False: it is not known. */
static bool key_find(const Change *change, const EventTable *table, Slice *out) {
    for (uint16_t at = 0; at < table->key_count; at++) {
        const Value *value = &change->row.after[table->key[at]];
        if (value->kind == VALUE_UNCHANGED && change->row.before != NULL)
            value = &change->row.before[table->key[at]];
        if (value->kind != VALUE_TEXT)
            return false;
        out[at] = value->bytes;
    }
    return table->key_count > 0;
}

/* ---- a question ---- */

static bool misses_the_same(const Asking *a, const Change *change) {
    const RowsQuestion *q = &a->question;
    uint16_t at = 0;
    if (change->kind != a->first->kind || change->rel != a->first->rel)
        return false;
    for (uint16_t column = 0; column < a->table->column_count; column++)
        if (is_missing(change, a->table, column) && (at == q->column_count || q->columns[at++] != column))
            return false;
    return at == q->column_count;
}

/* The row with the key that stands behind the others: itself, or the same one further up. */
static int row_find(const Asking *a) {
    const RowsQuestion *q = &a->question;
    const Slice *wanted = &a->keys[q->count * q->key_count];
    for (int row = 0; row < q->count; row++) {
        uint16_t same = 0;
        while (same < q->key_count && slice_equal(a->keys[row * q->key_count + same], wanted[same]))
            same++;
        if (same == q->key_count)
            return row;
    }
    return q->count;
}

static void wish_add(Asking *a, const Change *change, uint32_t xid) {
    RowsQuestion *q = &a->question;
    if (!key_find(change, a->table, &a->keys[q->count * q->key_count]))
        return;
    int row = row_find(a);
    q->count += row == q->count ? 1 : 0;
    a->row_of[a->change_count] = row;
    a->changes[a->change_count++] = change;
    if (q->xid_count == 0 || a->xids[q->xid_count - 1] != xid)
        a->xids[q->xid_count++] = xid;
}

/* From the first change on, as far as the batch goes. */
static void wishes_collect(const SourceValues *v, Asking *a, int most) {
    bool found = false;
    for (uint32_t number = 0; number < v->batch->count; number++) {
        const Transaction *tx = &v->batch->transactions[number];
        uint32_t from = 0;
        if (!found && a->first >= tx->changes && a->first < tx->changes + tx->count) {
            from = (uint32_t)(a->first - tx->changes);
            found = true;
        }
        for (uint32_t at = from; found && at < tx->count && a->change_count < most; at++)
            if (misses_the_same(a, &tx->changes[at]))
                wish_add(a, &tx->changes[at], tx->xid);
    }
}

static Window *window_new(const Asking *a) {
    const RowsQuestion *q = &a->question;
    Window *window = memory_new(sizeof *window + q->column_count * sizeof *window->columns);
    window->column_count = q->column_count;
    memcpy(window->columns, q->columns, q->column_count * sizeof *window->columns);
    return window;
}

/* What was not answered is asked again when it is its turn. */
static void answer_keep(SourceValues *v, const Asking *a, Window *window) {
    if (window->answer.rows != NULL)
        window->bytes = PQresultMemorySize(window->answer.rows);
    v->held_bytes += window->bytes;
    for (int at = 0; at < a->change_count; at++) {
        if (a->row_of[at] >= window->answer.answered)
            continue;
        Wish *wish = memory_new(sizeof *wish);
        *wish = (Wish){.change = a->changes[at], .window = window, .row = a->row_of[at]};
        HASH_ADD_PTR(v->wishes, change, wish);
        window->left++;
    }
}

static bool ask(SourceValues *v, Asking *a, Error *e) {
    int most = v->held_bytes < HELD_BYTES ? WISHES_MOST : 1;
    size_t texts = ((size_t)most + 1) * a->table->key_count;
    RowsQuestion *q = &a->question;
    q->keys = a->keys = arena_alloc(a->arena, texts * sizeof *a->keys);
    q->xids = a->xids = arena_alloc(a->arena, (size_t)most * sizeof *a->xids);
    a->changes = arena_alloc(a->arena, (size_t)most * sizeof *a->changes);
    a->row_of = arena_alloc(a->arena, (size_t)most * sizeof *a->row_of);
    wishes_collect(v, a, most);
    Window *window = window_new(a);
    if (!source_rows_ask(v->rows, q, &window->answer, e)) {
        free(window);
        return false;
    }
    answer_keep(v, a, window);
    return true;
}

/* ---- an answer ---- */

static void answer_take(const Wish *wish, const EventTable *table, Arena *arena, Event *event) {
    const Window *window = wish->window;
    Value *row = arena_alloc(arena, (table->column_count + 1u) * sizeof *row);
    bool *columns = arena_alloc(arena, (table->column_count + 1u) * sizeof *columns), any = false;
    memcpy(row, wish->change->row.after, table->column_count * sizeof *row);
    for (uint16_t at = 0; at < window->column_count; at++) {
        Value value = source_rows_value(&window->answer, wish->row, at);
        if (value.kind == VALUE_ABSENT)
            continue;
        row[window->columns[at]] = value;
        columns[window->columns[at]] = any = true;
    }
    if (!any)
        return;
    EventRead *read = arena_alloc(arena, sizeof *read);
    *read = (EventRead){.columns = columns, .at = window->answer.at};
    event->after = row;
    event->read = read;
}

bool source_values_complete(SourceValues *v, const Change *change, const EventTable *table, Arena *arena,
                            Event *event, Error *e) {
    Wish *wish;
    last_leave(v);
    if (change->row.after == NULL || table->key_count == 0)
        return true;
    uint16_t *missing = arena_alloc(arena, (table->column_count + 1u) * sizeof *missing);
    uint16_t count = missing_find(change, table, missing);
    Slice *key = arena_alloc(arena, table->key_count * sizeof *key);
    if (count == 0 || !key_find(change, table, key))
        return true;
    HASH_FIND_PTR(v->wishes, &change, wish);
    if (wish == NULL) {
        Asking asking = {.first = change,
                         .table = table,
                         .arena = arena,
                         .question = {.rel = change->rel,
                                      .columns = missing,
                                      .column_count = count,
                                      .key = table->key,
                                      .key_count = table->key_count}};
        if (!ask(v, &asking, e))
            return false;
        HASH_FIND_PTR(v->wishes, &change, wish);
    }
    answer_take(wish, table, arena, event);
    v->last = wish->window;
    HASH_DEL(v->wishes, wish);
    free(wish);
    return true;
}
