#include "job/setting.h"

#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/options.h"

enum { TEXT_BYTES_MAX = 400 };

static void level_set(Job *job, int64_t number) {
    (void)job;
    log_level_set((LogLevel)number);
}

static void queries_set(Job *job, int64_t number) {
    throttle_set(job->throttle, THROTTLE_QUERIES, number, clock_us());
}

static void rows_set(Job *job, int64_t number) {
    throttle_set(job->throttle, THROTTLE_ROWS, number, clock_us());
}

static void bytes_set(Job *job, int64_t number) {
    throttle_set(job->throttle, THROTTLE_BYTES, number, clock_us());
}

static void apply_rows_set(Job *job, int64_t number) {
    throttle_set(job->apply_throttle, THROTTLE_ROWS, number, clock_us());
}

static void apply_bytes_set(Job *job, int64_t number) {
    throttle_set(job->apply_throttle, THROTTLE_BYTES, number, clock_us());
}

static const struct {
    const char *key;
    void (*set)(Job *job, int64_t number);
} SETTINGS[] = {
    {"log.level", level_set},
    {"throttle.load.queries_per_s", queries_set},
    {"throttle.load.rows_per_s", rows_set},
    {"throttle.load.bytes_per_s", bytes_set},
    {"throttle.apply.rows_per_s", apply_rows_set},
    {"throttle.apply.bytes_per_s", apply_bytes_set},
};
enum { SETTINGS_COUNT = sizeof SETTINGS / sizeof *SETTINGS };

static bool refuse_key(const char *key, Error *e) {
    Writer keys = writer_new(TEXT_BYTES_MAX);
    for (int at = 0; at < SETTINGS_COUNT; at++)
        writer_format(&keys, "%s%s", at == 0 ? "" : ", ", SETTINGS[at].key);
    if (option_find(key) == NULL)
        fail(e, ERR_CONFIG, "\"%s\" is no option; while a job runs these can be set: %s", key,
             writer_string(&keys));
    else
        fail(e, ERR_CONFIG, "\"%s\" cannot be changed while the job runs, only these: %s", key,
             writer_string(&keys));
    writer_free(&keys);
    return false;
}

static bool refuse_value(const Option *option, const char *value, Error *e) {
    Writer type = writer_new(TEXT_BYTES_MAX);
    option_describe(option, &type);
    fail(e, ERR_CONFIG, "\"%s\" is no value for %s, which is %s", value, option->key, writer_string(&type));
    writer_free(&type);
    return false;
}

bool setting_change(Job *job, const char *key, const char *value, Error *e) {
    for (int at = 0; at < SETTINGS_COUNT; at++) {
        OptionValue parsed;
        if (strcmp(SETTINGS[at].key, key) != 0)
            continue;
        const Option *option = option_find(key);
        if (!option_parse(option, value, &parsed))
            return refuse_value(option, value, e);
        SETTINGS[at].set(job, parsed.number);
        return true;
    }
    return refuse_key(key, e);
}
