/* config_value: the small grammar of single values in a job file: durations, sizes, numbers, yes and no, and
 * how a value is shown to people. Pure. config_duration_ms, config_size_bytes and config_nearest of config.h
 * live here. */
#ifndef WALFERRY_CORE_CONFIG_VALUE_H
#define WALFERRY_CORE_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/options.h"

bool config_number(const char *text, int64_t *out); /* decimal, perhaps with a minus */
bool config_bool(const char *text, bool *out);      /* yes, no, true, false, on, off in any case */
/* The largest unit that divides it: "10min", "64MiB". */
void config_duration_write(Writer *w, int64_t ms);
void config_size_write(Writer *w, int64_t bytes);

/* "schema.table": a part that holds a dot, or begins with a double quote, stands in double quotes, where "" is one. */
typedef struct ConfigName {
    char schema[NAME_BYTES_MAX + 1], table[NAME_BYTES_MAX + 1];
} ConfigName;
/* False when it is no such name. `rest` NULL: nothing may follow; else *rest is what stands behind a further dot. */
bool config_table_read(const char *text, ConfigName *out, const char **rest);

bool config_utf8_valid(Slice text); /* without overlong forms and surrogates */
/* For messages: control characters become "?", cut to `size` at a character's end. Returns out. */
const char *config_shown(char *out, size_t size, const char *text);

#endif
