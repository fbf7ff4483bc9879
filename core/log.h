/* log: lines to stderr, as text for people or as JSON for machines. Never waits: when stderr cannot take a line it
 * is dropped and counted, and the next line that goes through says how many. A line longer than a pipe takes whole
 * (4096 bytes) is cut and ends with "...". Any thread. Secrets do not come here:
 * DSNs are logged only through pg_describe(). */
#ifndef WALFERRY_CORE_LOG_H
#define WALFERRY_CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;
typedef enum LogFormat { LOG_TEXT, LOG_JSON } LogFormat;

void log_start(LogLevel level, LogFormat format);
void log_level_set(LogLevel level);
bool log_level_parse(const char *name, LogLevel *out); /* debug, info, warn, error */
void log_write(LogLevel level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
/* The error's text and hint in one line: where a failure is decided, once. */
void log_failure(LogLevel level, const Error *e);
/* Every line, without its newline, goes to `taker` instead of stderr (the live view); NULL: back to stderr. Lines come
 * one at a time, `taker` must not log, and the old one is not called any more when this returns. */
void log_divert(void (*taker)(LogLevel level, const char *line));
uint64_t log_dropped(void); /* lines dropped so far */

#endif
