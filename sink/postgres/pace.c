#include "sink/postgres/pace.h"

#include "core/clock.h"

enum { STEP_MS = 20 };

static bool is_limited(const SinkOptions *options, ThrottleKind kind) {
    return options->throttle != NULL && throttle_get(options->throttle, kind) > 0;
}

static bool is_ending(const SinkOptions *options) {
    return options->ending != NULL && options->ending(options->context);
}

bool pace_owes(const SinkOptions *options) {
    return options->throttle != NULL && throttle_wait_us(options->throttle, clock_us()) > 0 &&
           !is_ending(options);
}

void pace_wait(const SinkOptions *options) {
    while (pace_owes(options)) {
        int64_t left_ms = throttle_wait_us(options->throttle, clock_us()) / 1000 + 1;
        clock_sleep_ms(left_ms < STEP_MS ? left_ms : STEP_MS);
    }
}

static int64_t values_bytes(const Relation *rel, const Value *values) {
    size_t bytes = 0;
    for (uint16_t column = 0; values != NULL && column < rel->column_count; column++)
        if (values[column].kind == VALUE_TEXT || values[column].kind == VALUE_BINARY)
            bytes += values[column].bytes.len;
    return (int64_t)bytes;
}

void pace_take(const SinkOptions *options, const Transaction *tx) {
    bool by_bytes = is_limited(options, THROTTLE_BYTES);
    int64_t rows = 0, bytes = 0, now_us;
    if (!by_bytes && !is_limited(options, THROTTLE_ROWS))
        return;
    for (uint32_t at = 0; at < tx->count; at++) {
        const Change *change = &tx->changes[at];
        rows += change->kind <= CHANGE_TRUNCATE ? 1 : 0;
        if (by_bytes && change->kind < CHANGE_TRUNCATE)
            bytes +=
                values_bytes(change->rel, change->row.before) + values_bytes(change->rel, change->row.after);
    }
    now_us = clock_us();
    throttle_take(options->throttle, THROTTLE_ROWS, rows, now_us);
    throttle_take(options->throttle, THROTTLE_BYTES, bytes, now_us);
}
