/* config_expand: where the text of a value comes from: the job file itself, ${NAME} of the environment,
 * file:PATH. Messages name variables and paths, never what they hold. */
#ifndef WALFERRY_CORE_CONFIG_EXPAND_H
#define WALFERRY_CORE_CONFIG_EXPAND_H

#include <stdbool.h>
#include <stddef.h>

#include "core/bytes.h"
#include "core/error.h"

enum { CONFIG_VALUE_BYTES_MAX = 64 * 1024 };

/* Appends the whole file, of at most `limit` bytes. */
bool config_file_read(const char *path, size_t limit, Writer *out, Error *e);
/* Writes the value that `raw` stands for; file:PATH counts only when `files`. A file's last newline is not
 * part of the value. What a variable or a file holds is not expanded again. */
bool config_expand(const char *raw, bool files, Writer *out, Error *e);

#endif
