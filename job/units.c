#include "job/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *unit_bytes(int64_t bytes, char out[UNIT_TEXT_SIZE]) {
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double value = (double)bytes;
    /* 1023.6 MiB would be printed as "1024 MiB" */
    while (value >= 1023.5 && unit + 1 < sizeof names / sizeof *names) {
        value /= 1024;
        unit++;
    }
    int decimals = unit > 0 && value < 9.95 ? 1 : 0;
    snprintf(out, UNIT_TEXT_SIZE, "%.*f %s", decimals, value, names[unit]);
    return out;
}

const char *unit_count(int64_t count, char out[UNIT_TEXT_SIZE]) {
    char digits[UNIT_TEXT_SIZE];
    snprintf(digits, sizeof digits, "%" PRId64, count);
    size_t length = strlen(digits), sign = digits[0] == '-', at = 0;
    for (size_t digit = 0; digit < length; digit++) {
        if (digit > sign && (length - digit) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[digit];
    }
    out[at] = '\0';
    return out;
}

const char *unit_clock(int64_t ms, char out[UNIT_TEXT_SIZE]) {
    int64_t seconds = ms < 0 ? 0 : ms / 1000;
    int64_t days = seconds / 86400, hours = seconds / 3600 % 24, minutes = seconds / 60 % 60;
    if (days > 0)
        snprintf(out, UNIT_TEXT_SIZE, "%" PRId64 " d %" PRId64 ":%02" PRId64 ":%02" PRId64, days, hours,
                 minutes, seconds % 60);
    else if (hours > 0)
        snprintf(out, UNIT_TEXT_SIZE, "%" PRId64 ":%02" PRId64 ":%02" PRId64, hours, minutes, seconds % 60);
    else
        snprintf(out, UNIT_TEXT_SIZE, "%" PRId64 ":%02" PRId64, minutes, seconds % 60);
    return out;
}

const char *unit_lag(int64_t ms, char out[UNIT_TEXT_SIZE]) {
    if (ms < 0)
        snprintf(out, UNIT_TEXT_SIZE, "unknown");
    else if (ms < 1000)
        snprintf(out, UNIT_TEXT_SIZE, "%" PRId64 " ms", ms);
    else if (ms < 120000)
        snprintf(out, UNIT_TEXT_SIZE, "%.1f s", (double)ms / 1000);
    else if (ms < 7200000)
        snprintf(out, UNIT_TEXT_SIZE, "%" PRId64 " min", ms / 60000);
    else
        snprintf(out, UNIT_TEXT_SIZE, "%.1f h", (double)ms / 3600000);
    return out;
}
