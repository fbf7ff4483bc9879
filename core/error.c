#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void error_clear(Error *e) {
    memset(e, 0, sizeof *e);
}

bool fail(Error *e, ErrorKind kind, const char *format, ...) {
    char text[sizeof e->text]; /* the arguments may come from *e */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_clear(e);
    e->kind = kind;
    memcpy(e->text, text, sizeof text);
    return false;
}

bool fail_hint(Error *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(e->hint, sizeof e->hint, format, args);
    va_end(args);
    return false;
}

bool fail_context(Error *e, const char *format, ...) {
    char joined[sizeof e->text];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(joined, sizeof joined, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used + 2 < sizeof joined) {
        int room = (int)sizeof joined - used - 2 - 1;
        snprintf(joined + used, sizeof joined - (size_t)used, ": %.*s", room, e->text);
    }
    memcpy(e->text, joined, sizeof joined);
    return false;
}

const char *error_kind_name(ErrorKind kind) {
    switch (kind) {
    case ERR_NONE: return "none";
    case ERR_RETRY: return "retry";
    case ERR_CONFIG: return "config";
    case ERR_LOST: return "lost";
    case ERR_PROTOCOL: return "protocol";
    case ERR_DATA: return "data";
    case ERR_LIMIT: return "limit";
    case ERR_STOPPED: return "stopped";
    }
    return "unknown";
}

int error_exit_code(ErrorKind kind) {
    switch (kind) {
    case ERR_NONE:
    case ERR_STOPPED: return 0;
    case ERR_CONFIG: return 2;
    case ERR_LOST: return 3;
    case ERR_PROTOCOL: return 4;
    case ERR_DATA:
    case ERR_LIMIT: return 5;
    case ERR_RETRY: return 6;
    }
    return 6;
}
