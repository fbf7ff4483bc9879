#include "snapshot/load_plan.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static int larger_first(const void *a, const void *b, void *context) {
    const Selection *selection = context;
    const Table *left = &selection->tables[*(const int *)a], *right = &selection->tables[*(const int *)b];
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? 1 : -1;
    if (left->rows_estimated != right->rows_estimated)
        return left->rows_estimated < right->rows_estimated ? 1 : -1;
    return *(const int *)a - *(const int *)b;
}

int load_plan_tables(const Selection *selection, const TableRecords *records, int *out) {
    bool *loaded = memory_array((size_t)selection->count + 1, sizeof *loaded);
    for (int at = 0; records != NULL && at < records->count; at++) {
        const TableRecord *record = &records->rows[at];
        const Table *table = state_table_selected(selection, record);
        if (table != NULL && record->loaded)
            loaded[table - selection->tables] = true;
    }
    int count = 0;
    for (int at = 0; at < selection->count; at++)
        if (!loaded[at])
            out[count++] = at;
    free(loaded);
    Selection view = *selection;
    qsort_r(out, (size_t)count, sizeof *out, larger_first, &view);
    return count;
}

/* ---- ranges ---- */

/* VACUUM (FREEZE) reads and writes each page once, the rows that COPY had to make: measured at an eighth to a quarter
 * of the time of the copy. A gain below a tenth is not worth another form of table. */
enum { VACUUM_PART = 4, GAIN_PART = 10, RANGE_BYTES_MIN = 1 << 20, RANGE_SHARE_PARTS = 64 };
static const int64_t AUTO_BYTES_MIN = 64 << 20; /* a second's work at most */

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* When the last worker ends its last whole table, each given the next one when it is free; bytes stand for time. */
static int64_t whole_end(const Selection *selection, const int *order, int count, int workers,
                         int64_t *busy) {
    int64_t end = 0;
    memset(busy, 0, (size_t)workers * sizeof *busy);
    for (int at = 0; at < count; at++) {
        int free_first = 0;
        for (int worker = 1; worker < workers; worker++)
            free_first = busy[worker] < busy[free_first] ? worker : free_first;
        busy[free_first] += selection->tables[order[at]].bytes;
        end = larger(end, busy[free_first]);
    }
    return end;
}

/* How long the load takes with the first `split` tables in ranges: no worker may be done before the others but for the
 * whole tables, and the largest split one is vacuumed by one worker when all rows are there. */
static int64_t split_end(const Selection *selection, const int *order, int count, int split, int workers,
                         int64_t *busy) {
    int64_t total = 0, vacuumed = 0;
    for (int at = 0; at < count; at++) {
        int64_t bytes = selection->tables[order[at]].bytes;
        total += bytes;
        vacuumed += at < split ? bytes / VACUUM_PART : 0;
    }
    int64_t vacuum = split == 0 ? 0 : selection->tables[order[0]].bytes / VACUUM_PART;
    int64_t copied =
        larger(whole_end(selection, order + split, count - split, workers, busy), total / workers);
    return copied + larger(vacuum, vacuumed / workers);
}

static int auto_split(const Selection *selection, const int *order, int count, int workers) {
    int64_t *busy = memory_array((size_t)workers, sizeof *busy);
    int64_t best_end = split_end(selection, order, count, 0, workers, busy);
    int best = 0;
    /* Fewer than `workers` tables can be above a fair share. */
    for (int split = 1; split < workers && split <= count; split++) {
        if (selection->tables[order[split - 1]].bytes < AUTO_BYTES_MIN)
            break;
        int64_t end = split_end(selection, order, count, split, workers, busy);
        if (end < best_end - best_end / GAIN_PART) {
            best = split;
            best_end = end;
        }
    }
    free(busy);
    return best;
}

int load_plan_split(const Selection *selection, const int *order, int count, int workers,
                    int64_t split_above_bytes) {
    int split = 0;
    if (split_above_bytes < 0)
        return auto_split(selection, order, count, workers);
    while (split < count && selection->tables[order[split]].bytes > split_above_bytes)
        split++;
    return split;
}

typedef struct PieceRoom {
    LoadPlan plan;
    int room;
} PieceRoom;

static void piece_add(PieceRoom *out, LoadPiece piece) {
    if (out->plan.count == out->room) {
        out->room = 2 * out->room + 16;
        out->plan.pieces = memory_grow(out->plan.pieces, (size_t)out->room * sizeof *out->plan.pieces);
    }
    out->plan.pieces[out->plan.count++] = piece;
}

/* Half of an even share of what is left, again and again, down to the least size. */
static void ranges_add(PieceRoom *out, const Selection *selection, int table, int workers, int64_t units) {
    int64_t bytes = selection->tables[table].bytes, unit_bytes = larger(bytes / units, 1);
    int64_t least_bytes = larger(bytes / workers / RANGE_SHARE_PARTS, RANGE_BYTES_MIN);
    int64_t least = larger(least_bytes / unit_bytes, 1), from = 0;
    for (int range = 0; from < units; range++) {
        int64_t size = larger((units - from) / (2 * (int64_t)workers), least);
        bool last = from + size >= units;
        int64_t to = last ? units : from + size;
        piece_add(out, (LoadPiece){table, range, from, last ? -1 : to, (to - from) * unit_bytes});
        from = to;
    }
}

static int larger_piece_first(const void *a, const void *b) {
    const LoadPiece *left = a, *right = b;
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? 1 : -1;
    return left->table != right->table ? left->table - right->table : left->range - right->range;
}

LoadPlan load_plan_pieces(const Selection *selection, const int *order, int count, int workers,
                          const int64_t *units) {
    PieceRoom out = {0};
    for (int at = 0; at < count; at++) {
        int table = order[at];
        if (units[table] > 0)
            ranges_add(&out, selection, table, workers, units[table]);
        else
            piece_add(&out, (LoadPiece){table, -1, 0, -1, selection->tables[table].bytes});
    }
    if (out.plan.count > 0)
        qsort(out.plan.pieces, (size_t)out.plan.count, sizeof *out.plan.pieces, larger_piece_first);
    return out.plan;
}
