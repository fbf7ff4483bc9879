#include <stdlib.h>

#include "snapshot/load_plan.h"
#include "testing.h"

static Table tables[] = {
    {.schema = "a", .name = "empty"},
    {.schema = "a", .name = "small", .bytes = 10, .rows_estimated = 1},
    {.schema = "b", .name = "large", .bytes = 1000},
    {.schema = "b", .name = "small", .bytes = 10, .rows_estimated = 5},
};
static const Selection selection = {.count = 4, .tables = tables};

static void the_largest_table_comes_first(void **unused) {
    (void)unused;
    int order[4];
    assert_int_equal(load_plan_tables(&selection, NULL, order), 4);
    const int expected[] = {2, 3, 1, 0};
    assert_memory_equal(order, expected, sizeof expected);
}

static void loaded_tables_are_left_out(void **unused) {
    (void)unused;
    char a[] = "a", b[] = "b", small[] = "small", large[] = "large", gone[] = "gone";
    TableRecord rows[] = {
        {.schema = a, .name = small, .loaded = false},
        {.schema = b, .name = large, .loaded = true},
        {.schema = b, .name = gone, .loaded = true},
    };
    const TableRecords records = {.count = 3, .rows = rows};
    int order[4];
    assert_int_equal(load_plan_tables(&selection, &records, order), 3);
    const int expected[] = {3, 1, 0};
    assert_memory_equal(order, expected, sizeof expected);
}

/* ---- ranges ---- */

enum { TABLES = 40 };
static const int64_t MIB = 1 << 20;

/* Tables of these sizes in MiB, largest first, which is also their order. */
typedef struct Sizes {
    Table tables[TABLES];
    Selection selection;
    int order[TABLES];
    int64_t units[TABLES];
} Sizes;

static Sizes *sizes_of(const int64_t *mib, int count) {
    Sizes *s = calloc(1, sizeof *s);
    for (int at = 0; at < count; at++) {
        s->tables[at].bytes = mib[at] * MIB;
        s->order[at] = at;
    }
    s->selection = (Selection){.count = count, .tables = s->tables};
    return s;
}

static int split_of(const int64_t *mib, int count, int workers) {
    Sizes *s = sizes_of(mib, count);
    int split = load_plan_split(&s->selection, s->order, count, workers, -1);
    free(s);
    return split;
}

static void only_what_ends_the_load_sooner_is_split(void **unused) {
    (void)unused;
    assert_int_equal(split_of((const int64_t[]){1000}, 1, 1), 0);
    assert_int_equal(split_of((const int64_t[]){1000}, 1, 2), 1);
    assert_int_equal(split_of((const int64_t[]){63}, 1, 8), 0);
    assert_int_equal(split_of((const int64_t[]){0}, 1, 8), 0);
    assert_int_equal(split_of((const int64_t[]){1000, 1000}, 2, 2), 0);
    assert_int_equal(split_of((const int64_t[]){640, 500, 1, 1}, 4, 2), 0);
    assert_int_equal(split_of((const int64_t[]){1000, 1000, 1, 1}, 4, 4), 2);
    assert_int_equal(split_of((const int64_t[]){4000, 200, 200, 200}, 4, 4), 1);
    assert_int_equal(split_of((const int64_t[]){500, 500, 500, 500, 500, 500, 500, 500}, 8, 4), 0);
    assert_int_equal(split_of((const int64_t[]){INT64_C(1) << 33}, 1, 64), 1);
}

static void a_given_size_is_the_limit(void **unused) {
    (void)unused;
    Sizes *s = sizes_of((const int64_t[]){30, 20, 10, 0}, 4);
    assert_int_equal(load_plan_split(&s->selection, s->order, 4, 1, 10 * MIB), 2);
    assert_int_equal(load_plan_split(&s->selection, s->order, 4, 2, 100 * MIB), 0);
    assert_int_equal(load_plan_split(&s->selection, s->order, 4, 2, MIB), 3);
    free(s);
}

/* Gives each piece to the worker that is free first: when do the first and the last end? */
static void ends_of(const LoadPlan *plan, int workers, int64_t *first, int64_t *last) {
    int64_t busy[64] = {0};
    for (int at = 0; at < plan->count; at++) {
        int next = 0;
        for (int worker = 1; worker < workers; worker++)
            next = busy[worker] < busy[next] ? worker : next;
        busy[next] += plan->pieces[at].bytes;
    }
    *first = *last = busy[0];
    for (int worker = 1; worker < workers; worker++) {
        *first = busy[worker] < *first ? busy[worker] : *first;
        *last = busy[worker] > *last ? busy[worker] : *last;
    }
}

/* Every unit is in one range, the last one is open above, and none is empty. */
static void check_ranges(const LoadPlan *plan, int table, int64_t units) {
    int64_t at = 0;
    int found = 0;
    for (bool open = false; !open; found++) {
        const LoadPiece *piece = NULL;
        for (int n = 0; n < plan->count; n++)
            if (plan->pieces[n].table == table && plan->pieces[n].range == found)
                piece = &plan->pieces[n];
        assert_non_null(piece);
        assert_int_equal(piece->from, at);
        open = piece->to < 0;
        assert_true(open ? at < units : piece->to > at && piece->to < units);
        at = piece->to;
    }
    for (int n = 0; n < plan->count; n++)
        assert_true(plan->pieces[n].table != table || plan->pieces[n].range < found);
}

static void ranges_hold_every_unit_once_and_workers_end_together(void **unused) {
    (void)unused;
    for (int workers = 1; workers <= 64; workers++) {
        for (int64_t units = 1; units <= INT64_C(4) << 30; units = units * 7 + 1) {
            Sizes *s = sizes_of((const int64_t[]){0}, 1);
            s->tables[0].bytes = units * 8192;
            s->units[0] = units;
            LoadPlan plan = load_plan_pieces(&s->selection, s->order, 1, workers, s->units);
            int64_t first, last;
            check_ranges(&plan, 0, units);
            ends_of(&plan, workers, &first, &last);
            assert_in_range(last - first, 0, s->tables[0].bytes / workers / 32 + 2 * MIB);
            assert_in_range(plan.count, 1, 20 * workers + 64);
            free(plan.pieces);
            free(s);
        }
    }
}

static void tables_and_ranges_begin_with_the_largest(void **unused) {
    (void)unused;
    Sizes *s = sizes_of((const int64_t[]){100, 40, 30, 1, 0}, 5);
    s->units[0] = 100 * 128;
    LoadPlan plan = load_plan_pieces(&s->selection, s->order, 5, 2, s->units);
    check_ranges(&plan, 0, s->units[0]);
    assert_int_equal(plan.pieces[0].table, 1);
    assert_int_equal(plan.pieces[0].range, -1);
    for (int at = 1; at < plan.count; at++)
        assert_true(plan.pieces[at - 1].bytes >= plan.pieces[at].bytes);
    int64_t first, last;
    ends_of(&plan, 2, &first, &last);
    assert_in_range(last - first, 0, 2 * MIB);
    free(plan.pieces);
    free(s);
}

static void heap_of_few_blocks_and_much_toast_is_cut_by_its_blocks(void **unused) {
    (void)unused;
    Sizes *s = sizes_of((const int64_t[]){1000}, 1);
    s->units[0] = 3;
    LoadPlan plan = load_plan_pieces(&s->selection, s->order, 1, 4, s->units);
    assert_int_equal(plan.count, 3);
    check_ranges(&plan, 0, 3);
    free(plan.pieces);
    free(s);
}

static void nothing_to_load_is_a_plan_without_pieces(void **unused) {
    (void)unused;
    Sizes *s = sizes_of(NULL, 0);
    LoadPlan plan = load_plan_pieces(&s->selection, s->order, 0, 4, s->units);
    assert_int_equal(plan.count, 0);
    assert_int_equal(load_plan_split(&s->selection, s->order, 0, 4, -1), 0);
    free(plan.pieces);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_table_comes_first),
        cmocka_unit_test(loaded_tables_are_left_out),
        cmocka_unit_test(only_what_ends_the_load_sooner_is_split),
        cmocka_unit_test(a_given_size_is_the_limit),
        cmocka_unit_test(ranges_hold_every_unit_once_and_workers_end_together),
        cmocka_unit_test(tables_and_ranges_begin_with_the_largest),
        cmocka_unit_test(heap_of_few_blocks_and_much_toast_is_cut_by_its_blocks),
        cmocka_unit_test(nothing_to_load_is_a_plan_without_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
