#include "sink/postgres/touched.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/memory.h"

enum {
    CELLS_LEAST = 1024,
    PER_ROW_MAX = 10, /* further unique values of a row are left to chance */
    IMAGE_BYTES_MAX = 1 << 30
};

/* Open addressing; 0 is an empty cell. */
typedef struct Hashes {
    uint64_t *cells;
    size_t capacity, count;
} Hashes;

struct Touched {
    Hashes hashes;
    Hashes bound; /* of the bound rows, while rows are added */
    Writer image;
};

/* ---- a set of hashes ---- */

static size_t cell_of(const Hashes *set, uint64_t hash) {
    size_t cell = hash & (set->capacity - 1);
    while (set->cells[cell] != 0 && set->cells[cell] != hash)
        cell = (cell + 1) & (set->capacity - 1);
    return cell;
}

static bool has(const Hashes *set, uint64_t hash) {
    return set->count > 0 && set->cells[cell_of(set, hash)] != 0;
}

static void grow(Hashes *set) {
    Hashes old = *set;
    set->capacity = old.capacity == 0 ? CELLS_LEAST : old.capacity * 2;
    set->cells = memory_new(set->capacity * sizeof *set->cells);
    for (size_t cell = 0; cell < old.capacity; cell++)
        if (old.cells[cell] != 0)
            set->cells[cell_of(set, old.cells[cell])] = old.cells[cell];
    free(old.cells);
}

static void put(Hashes *set, uint64_t hash) {
    if (set->count * 2 >= set->capacity)
        grow(set);
    size_t cell = cell_of(set, hash);
    set->count += set->cells[cell] == 0 ? 1 : 0;
    set->cells[cell] = hash;
}

static void empty(Hashes *set) {
    free(set->cells);
    *set = (Hashes){0};
}

Touched *touched_new(void) {
    Touched *touched = memory_new(sizeof *touched);
    touched->image = writer_new(IMAGE_BYTES_MAX);
    return touched;
}

void touched_free(Touched *touched) {
    if (touched == NULL)
        return;
    touched_clear(touched);
    writer_free(&touched->image);
    free(touched);
}

void touched_clear(Touched *touched) {
    empty(&touched->hashes);
    empty(&touched->bound);
}

/* ---- what a row touches ---- */

typedef struct RowHashes {
    uint64_t at[PER_ROW_MAX];
    int count;
} RowHashes;

/* Relation versions of one table may have the key's columns elsewhere; then chance finds what this does not. */
static uint64_t table_seed(const Plan *plan) {
    return XXH64(plan->table, strlen(plan->table), 0);
}

static void image_hash(Touched *touched, RowHashes *out, uint64_t seed) {
    uint64_t hash = XXH64(touched->image.at, touched->image.len, seed);
    if (out->count < PER_ROW_MAX)
        out->at[out->count++] = hash == 0 ? 1 : hash;
}

static void image_add(Touched *touched, const Value *value) {
    writer_u8(&touched->image, (uint8_t)value->kind);
    writer_u32(&touched->image, (uint32_t)value->bytes.len);
    writer_bytes(&touched->image, value->bytes);
}

static void key_hash(Touched *touched, RowHashes *out, const Plan *plan, uint64_t seed, const Value *values) {
    writer_reset(&touched->image);
    for (uint16_t column = 0; column < plan->rel->column_count; column++)
        if (plan->columns[column].key)
            image_add(touched, &values[column]);
    image_hash(touched, out, seed);
}

/* The key has its own hash; NULLs differ from each other, and an index that says otherwise is left to chance. */
static void unique_hash(Touched *touched, RowHashes *out, const Plan *plan, uint64_t seed,
                        const Value *values, const PlanUnique *unique) {
    bool is_key = true;
    writer_reset(&touched->image);
    for (uint16_t column = 0; column < plan->rel->column_count; column++) {
        is_key = is_key && unique->columns[column] == plan->columns[column].key;
        if (!unique->columns[column])
            continue;
        if (!value_is_known(&values[column]) || values[column].kind == VALUE_NULL)
            return;
        image_add(touched, &values[column]);
    }
    if (!is_key)
        image_hash(touched, out, seed ^ unique->oid);
}

static RowHashes row_hashes(Touched *touched, const Plan *plan, uint64_t seed, const NetRow *row) {
    RowHashes out = {.count = 0};
    bool goes = row->kind == NET_DELETE || row->kind == NET_PROBE || row->values == NULL;
    if (plan->where == PLAN_WHERE_KEY && row->origin != NULL)
        key_hash(touched, &out, plan, seed, row->origin);
    if (plan->where == PLAN_WHERE_KEY && row->values != NULL)
        key_hash(touched, &out, plan, seed, row->values);
    for (const PlanUnique *unique = goes ? NULL : plan->uniques; unique != NULL; unique = unique->next)
        unique_hash(touched, &out, plan, seed, row->values, unique);
    return out;
}

/* ---- the rows of a run ---- */

static bool any_of(const RowHashes *row, const Hashes *set) {
    for (int at = 0; at < row->count; at++)
        if (has(set, row->at[at]))
            return true;
    return false;
}

static void all_into(const RowHashes *row, Hashes *set) {
    for (int at = 0; at < row->count; at++)
        put(set, row->at[at]);
}

static uint32_t rows_add(Touched *touched, NetTable *table, Touched *const *older, int older_count) {
    uint64_t seed = table_seed(table->plan);
    uint32_t bound = 0;
    for (NetRow *row = table->rows; row != NULL; row = row->next) {
        RowHashes hashes = row_hashes(touched, table->plan, seed, row);
        row->bound = table->bound;
        for (int at = 0; at < older_count; at++)
            row->bound = row->bound || any_of(&hashes, &older[at]->hashes);
        all_into(&hashes, row->bound ? &touched->bound : &touched->hashes);
        bound += row->bound ? 1 : 0;
    }
    return bound;
}

/* Those that touch what a bound row touches, which are bound from then on; again until there are no more. */
static uint32_t rows_follow(Touched *touched, NetTable *table) {
    uint64_t seed = table_seed(table->plan);
    uint32_t bound = 0;
    for (NetRow *row = table->rows; row != NULL; row = row->next) {
        if (row->bound)
            continue;
        RowHashes hashes = row_hashes(touched, table->plan, seed, row);
        if (!any_of(&hashes, &touched->bound))
            continue;
        row->bound = true;
        all_into(&hashes, &touched->bound);
        bound++;
    }
    return bound;
}

uint32_t touched_add(Touched *touched, NetTable *tables, Touched *const *older, int older_count) {
    uint32_t bound = 0;
    for (NetTable *table = tables; table != NULL; table = table->next) {
        uint32_t of_table = rows_add(touched, table, older, older_count), more = of_table;
        while (more > 0 && of_table < table->count)
            of_table += more = rows_follow(touched, table);
        bound += of_table;
    }
    for (size_t cell = 0; cell < touched->bound.capacity; cell++)
        if (touched->bound.cells[cell] != 0)
            put(&touched->hashes, touched->bound.cells[cell]);
    empty(&touched->bound);
    return bound;
}
