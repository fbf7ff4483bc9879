#include "sink/postgres/net.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

/* A row, and the keys by which it is found. */
typedef struct Tracked {
    NetRow row;       /* first: a NetRow is a Tracked */
    Slice now, first; /* images of its key: as it is, and of its origin */
    UT_hash_handle by_now, by_origin;
} Tracked;

typedef struct Tracking {
    NetTable table; /* first: a NetTable is a Tracking */
    NetRow *last;
    Tracked *by_now;    /* rows that are there */
    Tracked *by_origin; /* rows with an origin, wherever they are now */
} Tracking;

struct Net {
    Arena *arena;
    Writer key;
    NetTable *tables;
    uint32_t changes;
};

enum { KEY_MAX_BYTES = 1 << 30 };

Net *net_new(void) {
    Net *net = memory_new(sizeof *net);
    net->key = writer_new(KEY_MAX_BYTES);
    net->arena = arena_new();
    return net;
}

static void tables_forget(Net *net) {
    for (NetTable *table = net->tables; table != NULL; table = table->next) {
        Tracking *tracking = (Tracking *)table;
        HASH_CLEAR(by_now, tracking->by_now);
        HASH_CLEAR(by_origin, tracking->by_origin);
        table->plan->net = NULL;
    }
    net->tables = NULL;
}

void net_detach(Net *net) {
    tables_forget(net);
    net->changes = 0;
}

void net_clear(Net *net) {
    tables_forget(net);
    arena_free(net->arena);
    net->arena = arena_new();
    net->changes = 0;
}

void net_free(Net *net) {
    if (net == NULL)
        return;
    tables_forget(net);
    arena_free(net->arena);
    writer_free(&net->key);
    free(net);
}

uint32_t net_changes(const Net *net) {
    return net->changes;
}

bool net_has_table(const Net *net, const Plan *plan) {
    if (plan->net != NULL)
        return true;
    for (const NetTable *table = net->tables; table != NULL; table = table->next)
        if (strcmp(table->plan->table, plan->table) == 0)
            return true;
    return false;
}

bool net_has_other_version(const Net *net, const Plan *plan) {
    return plan->net == NULL && net_has_table(net, plan);
}

static Tracking *tracking_of(Net *net, Plan *plan) {
    if (plan->net == NULL) {
        Tracking *tracking = arena_alloc(net->arena, sizeof *tracking);
        tracking->table = (NetTable){.next = net->tables, .plan = plan};
        net->tables = plan->net = &tracking->table;
    }
    return (Tracking *)plan->net;
}

/* ---- keys ---- */

/* The key's image in net->key; false: not all of it was sent. */
static bool key_write(Net *net, const Plan *plan, const Value *values) {
    writer_reset(&net->key);
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        if (!plan->columns[column].key)
            continue;
        if (!value_is_known(&values[column]))
            return false;
        writer_u8(&net->key, (uint8_t)values[column].kind);
        writer_u32(&net->key, (uint32_t)values[column].bytes.len);
        writer_bytes(&net->key, values[column].bytes);
    }
    return true;
}

static Slice key_keep(Net *net) {
    return (Slice){arena_text(net->arena, writer_slice(&net->key)), net->key.len};
}

static Tracked *find_now(const Net *net, const Tracking *tracking) {
    Tracked *found;
    HASH_FIND(by_now, tracking->by_now, net->key.at, net->key.len, found);
    return found;
}

static bool was_origin(const Tracking *tracking, Slice key) {
    Tracked *found;
    HASH_FIND(by_origin, tracking->by_origin, key.at, key.len, found);
    return found != NULL;
}

/* ---- rows ---- */

static Tracked *row_add(Net *net, Tracking *tracking) {
    Tracked *tracked = arena_alloc(net->arena, sizeof *tracked);
    if (tracking->last == NULL)
        tracking->table.rows = &tracked->row;
    else
        tracking->last->next = &tracked->row;
    tracking->last = &tracked->row;
    tracking->table.count++;
    return tracked;
}

/* The row's new place is the key in net->key. */
static void place_now(Net *net, Tracking *tracking, Tracked *tracked) {
    tracked->now = key_keep(net);
    HASH_ADD_KEYPTR(by_now, tracking->by_now, tracked->now.at, tracked->now.len, tracked);
}

/* The row under the key in net->key, which the destination holds unless the run knows better; NULL: refused. */
static Tracked *row_held(Net *net, Tracking *tracking, const Value *key_values) {
    Tracked *tracked = find_now(net, tracking);
    if (tracked != NULL || was_origin(tracking, writer_slice(&net->key)))
        return tracked;
    tracked = row_add(net, tracking);
    tracked->row.origin = key_values;
    place_now(net, tracking, tracked);
    tracked->first = tracked->now;
    HASH_ADD_KEYPTR(by_origin, tracking->by_origin, tracked->first.at, tracked->first.len, tracked);
    return tracked;
}

static const Value *newest(const Change *change, const Value *base, uint16_t column) {
    const Value *after = &change->row.after[column], *before = change->row.before;
    if (value_is_known(after))
        return after;
    if (before != NULL && value_is_known(&before[column]))
        return &before[column];
    return base != NULL ? &base[column] : after;
}

/* What is known of the row behind an UPDATE. */
static const Value *values_after(Net *net, const Plan *plan, const Change *change, const Value *base) {
    bool whole = true;
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        whole = whole && value_is_known(&change->row.after[column]);
    if (whole)
        return change->row.after;
    Value *values = arena_alloc(net->arena, plan->rel->column_count * sizeof *values);
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        values[column] = *newest(change, base, column);
    return values;
}

static bool add_insert(Net *net, Tracking *tracking, const Plan *plan, const Change *change) {
    bool keyed = plan->where == PLAN_WHERE_KEY;
    if (keyed && (!key_write(net, plan, change->row.after) || find_now(net, tracking) != NULL))
        return false;
    Tracked *tracked = row_add(net, tracking);
    tracked->row.values = change->row.after;
    if (keyed)
        place_now(net, tracking, tracked);
    return true;
}

static bool add_delete(Net *net, Tracking *tracking, const Plan *plan, const Change *change) {
    if (change->row.before == NULL || !key_write(net, plan, change->row.before))
        return false;
    Tracked *tracked = row_held(net, tracking, change->row.before);
    if (tracked == NULL)
        return false;
    HASH_DELETE(by_now, tracking->by_now, tracked);
    tracked->row.values = change->row.before;
    tracked->row.kind = tracked->row.origin != NULL ? NET_DELETE : NET_PROBE;
    return true;
}

/* A row leaves a key under which the destination has not held it. */
static void probe_add(Net *net, Tracking *tracking, Slice key, const Value *key_values) {
    Tracked *left = row_add(net, tracking);
    left->now = key;
    left->row.kind = NET_PROBE;
    left->row.values = key_values;
}

static bool add_update(Net *net, Tracking *tracking, const Plan *plan, const Change *change) {
    const Value *old = change->row.before != NULL ? change->row.before : change->row.after;
    if (!key_write(net, plan, old))
        return false;
    Tracked *tracked = row_held(net, tracking, old);
    if (tracked == NULL)
        return false;
    tracked->row.values = values_after(net, plan, change, tracked->row.values);
    if (!key_write(net, plan, tracked->row.values))
        return false;
    if (slice_equal(tracked->now, writer_slice(&net->key)))
        return true;
    if (find_now(net, tracking) != NULL)
        return false;
    HASH_DELETE(by_now, tracking->by_now, tracked);
    if (tracked->row.origin == NULL || !slice_equal(tracked->now, tracked->first))
        probe_add(net, tracking, tracked->now, old);
    place_now(net, tracking, tracked);
    return true;
}

bool net_add(Net *net, Plan *plan, const Change *change) {
    Tracking *tracking = tracking_of(net, plan);
    net->changes++;
    switch (change->kind) {
    case CHANGE_INSERT: return add_insert(net, tracking, plan, change);
    case CHANGE_UPDATE: return add_update(net, tracking, plan, change);
    case CHANGE_DELETE: return add_delete(net, tracking, plan, change);
    case CHANGE_TRUNCATE:
    case CHANGE_MESSAGE:
    case CHANGE_BEAT: break;
    }
    return false;
}

/* ---- what it comes to ---- */

static bool all_known(const Plan *plan, const Value *values) {
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (plan->columns[column].writable && !value_is_known(&values[column]))
            return false;
    return true;
}

static bool row_settle(const Tracking *tracking, const Plan *plan, Tracked *tracked) {
    NetRow *row = &tracked->row;
    bool known = row->kind == NET_NOTHING && all_known(plan, row->values);
    if (row->kind == NET_PROBE && was_origin(tracking, tracked->now))
        row->kind = NET_NOTHING;
    else if (row->kind == NET_NOTHING && row->origin == NULL) {
        row->kind = NET_INSERT;
        return known;
    } else if (row->kind == NET_NOTHING) {
        bool same = slice_equal(tracked->now, tracked->first);
        row->moved = !same && known && plan->beside_count == 0;
        row->kind = row->moved ? NET_INSERT : NET_UPDATE;
        row->sets_key = !same && !row->moved;
    }
    return true;
}

static int by_first_key(const void *a, const void *b) {
    Slice left = (*(const Tracked *const *)a)->first, right = (*(const Tracked *const *)b)->first;
    int order = memcmp(left.at, right.at, left.len < right.len ? left.len : right.len);
    return order != 0 ? order : (left.len > right.len) - (left.len < right.len);
}

static void link_last(NetRow **at, NetRow **last, NetRow *row) {
    if (*last == NULL)
        *at = row;
    else
        (*last)->next = row;
    row->next = NULL;
    *last = row;
}

/* Rows that are looked up come in the order of their keys, so that the destination finds neighbours in pages that it has
 * just had; inserts behind them as they came. */
static void table_sort(Net *net, NetTable *table) {
    Tracked **found = arena_alloc(net->arena, table->count * sizeof(Tracked *));
    uint32_t count = 0;
    bool sorted = true;
    NetRow *looked_up = NULL, *inserted = NULL, *last = NULL, *last_inserted = NULL, *next;
    for (NetRow *row = table->rows; row != NULL; row = next) {
        next = row->next;
        if (row->kind == NET_INSERT || row->origin == NULL) {
            link_last(&inserted, &last_inserted, row);
            continue;
        }
        found[count++] = (Tracked *)row;
        sorted = sorted && (count == 1 || by_first_key(&found[count - 2], &found[count - 1]) <= 0);
    }
    if (!sorted)
        qsort(found, count, sizeof(Tracked *), by_first_key);
    for (uint32_t at = 0; at < count; at++)
        link_last(&looked_up, &last, &found[at]->row);
    if (last != NULL)
        last->next = inserted;
    table->rows = looked_up != NULL ? looked_up : inserted;
}

bool net_settle(Net *net, NetTable **tables, NetTable **lacking) {
    *tables = net->tables;
    for (NetTable *table = net->tables; table != NULL; table = table->next)
        for (NetRow *row = table->rows; row != NULL; row = row->next)
            if (!row_settle((Tracking *)table, table->plan, (Tracked *)row)) {
                *lacking = table;
                return false;
            }
    for (NetTable *table = net->tables; table != NULL; table = table->next)
        table_sort(net, table);
    return true;
}

void *net_alloc(Net *net, size_t size) {
    return arena_alloc(net->arena, size);
}
