#include <stdlib.h>
#include <string.h>

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

static DumpEntry entry(DumpKind kind, const char *type) {
    return (DumpEntry){.kind = kind, .type = strdup(type)};
}

static void entries_go_into_the_step_they_can_run_in(void **unused) {
    (void)unused;
    DumpEntry entries[] = {
        entry(DUMP_INDEX, "INDEX"),
        entry(DUMP_INDEX, "INDEX ATTACH"),
        entry(DUMP_INDEX, "CONSTRAINT"),
        entry(DUMP_OTHER, "COMMENT"),
        entry(DUMP_FOREIGN_KEY, "FK CONSTRAINT"),
        entry(DUMP_TRIGGER, "TRIGGER"),
    };
    const Dump dump = {.entry_count = 6, .entries = entries};
    EntryPlan plan = load_plan_entries(&dump, 1u << DUMP_INDEX | 1u << DUMP_OTHER | 1u << DUMP_TRIGGER);
    assert_int_equal(plan.build_count, 2);
    assert_ptr_equal(plan.builds[1], &entries[2]);
    assert_int_equal(plan.attach_count, 1);
    assert_ptr_equal(plan.attaches[0], &entries[1]);
    assert_int_equal(plan.other_count, 2);
    assert_ptr_equal(plan.others[0], &entries[3]);
    assert_ptr_equal(plan.others[1], &entries[5]);
    load_plan_free(&plan);
    for (int at = 0; at < 6; at++)
        free(entries[at].type);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_table_comes_first),
        cmocka_unit_test(loaded_tables_are_left_out),
        cmocka_unit_test(entries_go_into_the_step_they_can_run_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
