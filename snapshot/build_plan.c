#include "snapshot/build_plan.h"

#include <stdlib.h>

enum { BUFFERS_PART = 4 };
static const int64_t MEMORY_MAX_BYTES = INT64_C(2) << 30; /* more makes no index sooner */

static int build_compare(const void *a, const void *b) {
    const Build *left = a, *right = b;
    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    int64_t left_bytes = left->table == NULL ? 0 : left->table->bytes;
    int64_t right_bytes = right->table == NULL ? 0 : right->table->bytes;
    if (left_bytes != right_bytes)
        return left_bytes < right_bytes ? 1 : -1;
    return left->place - right->place;
}

void build_plan_sort(Build *builds, int count) {
    qsort(builds, (size_t)count, sizeof *builds, build_compare);
}

bool build_plan_alone(BuildKind kind) {
    return kind != BUILD_INDEX;
}

BuildShare build_plan_share(const BuildLimits *limits, int unfinished) {
    int together = unfinished < 1 ? 1 : unfinished < limits->workers ? unfinished : limits->workers;
    int spare = limits->workers / together - 1;
    int64_t memory = limits->buffers / BUFFERS_PART / together;
    memory = memory > MEMORY_MAX_BYTES ? MEMORY_MAX_BYTES : memory;
    return (BuildShare){.memory = memory > limits->memory ? memory : limits->memory,
                        .parallel = spare < limits->parallel ? spare : limits->parallel};
}
