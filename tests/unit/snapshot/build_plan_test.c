#include "snapshot/build_plan.h"
#include "testing.h"

static const int64_t MIB = 1 << 20;
static const Table small = {.bytes = 10}, large = {.bytes = 1000};

static void keys_come_first_and_large_tables_before_small_ones(void **unused) {
    (void)unused;
    Build builds[] = {
        {.kind = BUILD_INDEX, .table = &large, .place = 0},
        {.kind = BUILD_INDEX, .place = 1},
        {.kind = BUILD_STATISTICS, .table = &large, .place = 2},
        {.kind = BUILD_CONSTRAINT, .table = &small, .place = 3},
        {.kind = BUILD_CONSTRAINT, .table = &large, .place = 4},
        {.kind = BUILD_PRIMARY_KEY, .table = &small, .place = 5},
        {.kind = BUILD_PRIMARY_KEY, .table = &large, .place = 6},
        {.kind = BUILD_INDEX, .table = &large, .place = 7},
        {.kind = BUILD_VACUUM, .table = &large, .place = 8},
    };
    const int expected[] = {8, 6, 5, 4, 3, 0, 7, 1, 2};
    build_plan_sort(builds, 9);
    for (int at = 0; at < 9; at++)
        assert_int_equal(builds[at].place, expected[at]);
}

static void only_indexes_run_beside_others_of_their_table(void **unused) {
    (void)unused;
    for (BuildKind kind = BUILD_VACUUM; kind <= BUILD_VALIDATION; kind++)
        assert_int_equal(build_plan_alone(kind), kind != BUILD_INDEX);
}

static void builds_share_memory_and_processes(void **unused) {
    (void)unused;
    const BuildLimits limits = {.memory = 64 * MIB, .buffers = 4096 * MIB, .parallel = 2, .workers = 8};
    assert_int_equal(build_plan_share(&limits, 100).memory, 128 * MIB);
    assert_int_equal(build_plan_share(&limits, 100).parallel, 0);
    assert_int_equal(build_plan_share(&limits, 4).memory, 256 * MIB);
    assert_int_equal(build_plan_share(&limits, 4).parallel, 1);
    assert_int_equal(build_plan_share(&limits, 1).memory, 1024 * MIB);
    assert_int_equal(build_plan_share(&limits, 1).parallel, 2);
}

/* However many are left when each of them begins. */
static void the_sum_stays_in_the_budget(void **unused) {
    (void)unused;
    for (int workers = 1; workers <= 64; workers++) {
        const BuildLimits limits = {
            .memory = MIB, .buffers = 16384 * MIB, .parallel = 64, .workers = workers};
        int64_t memory = 0;
        int processes = 0;
        for (int left = workers; left > 0; left--) {
            BuildShare share = build_plan_share(&limits, workers);
            memory += share.memory;
            processes += 1 + share.parallel;
        }
        assert_in_range(memory, 1, 4096 * MIB);
        assert_in_range(processes, 1, workers);
        assert_in_range(build_plan_share(&limits, 1).memory, 1, 2048 * MIB);
    }
}

static void a_small_server_keeps_its_own_setting(void **unused) {
    (void)unused;
    const BuildLimits limits = {.memory = 64 * MIB, .buffers = 128 * MIB, .parallel = 0, .workers = 4};
    assert_int_equal(build_plan_share(&limits, 4).memory, 64 * MIB);
    assert_int_equal(build_plan_share(&limits, 1).parallel, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_first_and_large_tables_before_small_ones),
        cmocka_unit_test(only_indexes_run_beside_others_of_their_table),
        cmocka_unit_test(builds_share_memory_and_processes),
        cmocka_unit_test(the_sum_stays_in_the_budget),
        cmocka_unit_test(a_small_server_keeps_its_own_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
