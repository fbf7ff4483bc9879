/* units: sizes, counts and times as people read them. Each function writes into `out` and returns it; the
 * macros give a text that lives until the end of the enclosing block, so that several fit into one line of
 * output. */
#ifndef WALFERRY_JOB_UNITS_H
#define WALFERRY_JOB_UNITS_H

#include <stdint.h>

enum { UNIT_TEXT_SIZE = 32 };

const char *unit_bytes(int64_t bytes, char out[UNIT_TEXT_SIZE]); /* "512 B", "1.2 KiB", "85 MiB" */
const char *unit_count(int64_t count, char out[UNIT_TEXT_SIZE]); /* "1,234,567" */
const char *unit_clock(int64_t ms, char out[UNIT_TEXT_SIZE]);    /* "0:26", "1:02:33", "2 d 3:04:05" */
const char *unit_lag(int64_t ms,
                     char out[UNIT_TEXT_SIZE]); /* "240 ms", "1.2 s", "12 min"; below 0: "unknown" */

#define UNIT_BYTES(bytes) unit_bytes(bytes, (char[UNIT_TEXT_SIZE]){0})
#define UNIT_COUNT(count) unit_count(count, (char[UNIT_TEXT_SIZE]){0})
#define UNIT_CLOCK(ms)    unit_clock(ms, (char[UNIT_TEXT_SIZE]){0})
#define UNIT_LAG(ms)      unit_lag(ms, (char[UNIT_TEXT_SIZE]){0})

#endif
