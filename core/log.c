#include "core/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

/* A pipe that says it is writable takes PIPE_BUF bytes whole and without waiting, and mixes them with nobody
 * else's: so no line is longer. */
enum { LINE_BYTES = PIPE_BUF, LINE_END_BYTES = 8 /* cut mark, quote, brace, newline, NUL */ };

typedef struct Line {
    char at[LINE_BYTES + 1];
    size_t len;
} Line;

static const char *const LEVELS[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

/* One log per process: every room writes to it. */
static struct {
    pthread_mutex_t lock; /* held while a line is written: that never waits */
    atomic_int level;
    LogFormat format;
    void (*taker)(LogLevel level, const char *line);
    atomic_ullong dropped;
    uint64_t told; /* of `dropped` */
    bool torn;     /* the last line went out in part */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO};

void log_start(LogLevel level, LogFormat format) {
    pthread_mutex_lock(&state.lock);
    state.format = format;
    pthread_mutex_unlock(&state.lock);
    log_level_set(level);
}

void log_level_set(LogLevel level) {
    atomic_store(&state.level, (int)level);
}

bool log_level_parse(const char *name, LogLevel *out) {
    for (size_t level = 0; level < sizeof LEVELS / sizeof *LEVELS; level++)
        if (strcmp(name, LEVELS[level]) == 0) {
            *out = (LogLevel)level;
            return true;
        }
    return false;
}

void log_divert(void (*taker)(LogLevel level, const char *line)) {
    pthread_mutex_lock(&state.lock);
    state.taker = taker;
    pthread_mutex_unlock(&state.lock);
}

uint64_t log_dropped(void) {
    return atomic_load(&state.dropped);
}

/* How many bytes the UTF-8 character at `text` has; 0 when it is none. */
static size_t character_bytes(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xC2 || at[0] > 0xF4)
        return 0;
    size_t count = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    for (size_t byte = 1; byte < count; byte++)
        if ((at[byte] & 0xC0) != 0x80) /* a NUL ends it here */
            return 0;
    if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F) ||
        (at[0] == 0xF0 && at[1] < 0x90) ||
        (at[0] == 0xF4 && at[1] > 0x8F)) /* overlong, surrogate, beyond U+10FFFF */
        return 0;
    return count;
}

/* Takes one character off *text, as it stands in a line of this format; returns its bytes in `out`. */
static size_t character_take(const char **text, LogFormat format, char out[8]) {
    size_t count = character_bytes(*text);
    char first = **text;
    *text += count > 0 ? count : 1;
    if (format == LOG_TEXT && (unsigned char)first < 0x20)
        return (size_t)snprintf(out, 8, " "); /* one event, one line */
    if (format == LOG_JSON && count == 0)
        return (size_t)snprintf(out, 8, "\\ufffd");
    if (format == LOG_JSON && (unsigned char)first < 0x20)
        return (size_t)snprintf(out, 8, "\\u%04x", (unsigned)first);
    if (format == LOG_JSON && (first == '"' || first == '\\'))
        return (size_t)snprintf(out, 8, "\\%c", first);
    if (count == 0)
        count = 1;
    memcpy(out, *text - count, count);
    return count;
}

static void line_add(Line *line, const char *text) {
    size_t count = strlen(text);
    memcpy(line->at + line->len, text, count + 1);
    line->len += count;
}

static __attribute__((format(printf, 2, 3))) void line_format(Line *line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    line->len += (size_t)vsnprintf(line->at + line->len, sizeof line->at - line->len, format, args);
    va_end(args);
}

static void line_message(Line *line, LogFormat format, const char *message, bool cut) {
    while (*message != '\0') {
        char character[8];
        size_t count = character_take(&message, format, character);
        if (line->len + count > LINE_BYTES - LINE_END_BYTES) {
            cut = true;
            break;
        }
        memcpy(line->at + line->len, character, count);
        line->len += count;
    }
    line->at[line->len] = '\0';
    if (cut)
        line_add(line, "...");
}

/* The line without its newline. `cut`: the message was longer than what is left of it. */
static void line_make(Line *line, LogLevel level, LogFormat format, const char *message, bool cut) {
    int64_t now_us = clock_wall_us();
    time_t seconds = (time_t)(now_us / 1000000);
    int millis = (int)(now_us % 1000000 / 1000);
    struct tm utc;
    char date[16], time[16];
    gmtime_r(&seconds, &utc);
    strftime(date, sizeof date, "%F", &utc);
    strftime(time, sizeof time, "%T", &utc);
    const char *name = LEVELS[level];
    line->len = 0;
    if (format == LOG_JSON)
        line_format(line, "{\"time\":\"%sT%s.%03dZ\",\"level\":\"%s\",\"message\":\"", date, time, millis,
                    name);
    else
        line_format(line, "%s %s.%03d %-5s ", date, time, millis, name);
    line_message(line, format, message, cut);
    if (format == LOG_JSON)
        line_add(line, "\"}");
}

static bool stderr_ready(void) {
    struct pollfd look = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (poll(&look, 1, 0) < 0)
        if (errno != EINTR)
            return false;
    return look.revents == POLLOUT; /* with POLLERR the reader is gone, and a write would be SIGPIPE */
}

/* False: it did not go out, or not whole. */
static bool line_write(const char *bytes, size_t count) {
    size_t done = 0;
    while (done < count && stderr_ready()) {
        ssize_t wrote = write(STDERR_FILENO, bytes + done, count - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            break;
        done += (size_t)wrote;
    }
    if (done > 0)
        state.torn = done < count;
    return done == count;
}

static bool line_out(Line *line) {
    if (state.torn && !line_write("\n", 1))
        return false;
    line_add(line, "\n");
    return line_write(line->at, line->len);
}

static bool dropped_out(void) {
    uint64_t untold = atomic_load(&state.dropped) - state.told;
    if (untold == 0)
        return true;
    char message[100];
    snprintf(message, sizeof message, "%llu log lines were dropped, because stderr did not take them",
             (unsigned long long)untold);
    Line line;
    line_make(&line, LOG_WARN, state.format, message, false);
    if (!line_out(&line))
        return false;
    state.told += untold;
    return true;
}

void log_write(LogLevel level, const char *format, ...) {
    if ((int)level < atomic_load(&state.level))
        return;
    int kept_errno = errno;
    char message[LINE_BYTES];
    Line line;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    pthread_mutex_lock(&state.lock);
    line_make(&line, level, state.format, length >= 0 ? message : format, length >= (int)sizeof message);
    if (state.taker != NULL)
        state.taker(level, line.at);
    else if (!dropped_out() || !line_out(&line))
        atomic_fetch_add(&state.dropped, 1);
    pthread_mutex_unlock(&state.lock);
    errno = kept_errno;
}

void log_failure(LogLevel level, const Error *e) {
    if (e->hint[0] != '\0')
        log_write(level, "%s; hint: %s", e->text, e->hint);
    else
        log_write(level, "%s", e->text);
}
