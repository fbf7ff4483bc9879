#include "job/check_item.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"

/* A check makes nothing, and does not stand in a queue behind the users' locks. */
static const char SESSION_SQL[] = "SET lock_timeout = '5s'; SET statement_timeout = '60s';"
                                  " SET default_transaction_read_only = on";

Pg *check_open(const Check *c, const char *dsn, const char *side, Error *e) {
    PgAddress to = {.dsn = dsn, .side = side, .job = c->cfg->name, .options = SESSION_SQL};
    return pg_open_wait(&to, c->wait_ms, e);
}

__attribute__((format(printf, 3, 0))) static void piece_add(Writer *to, const char *separator,
                                                            const char *format, va_list args) {
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    if (length < 0)
        memory_refused(0);
    if (to->len > 0)
        writer_text(to, separator);
    writer_text(to, text);
    free(text);
}

bool finding_pass(Finding *f, const char *format, ...) {
    va_list args;
    va_start(args, format);
    piece_add(&f->seen, "; ", format, args);
    va_end(args);
    return true;
}

bool finding_alert(Finding *f, const char *format, ...) {
    va_list args;
    va_start(args, format);
    piece_add(&f->seen, "; ", format, args);
    va_end(args);
    f->state = f->state == CHECK_FAILED ? CHECK_FAILED : CHECK_ALERT;
    return true;
}

bool finding_fail(Finding *f, const char *format, ...) {
    va_list args;
    va_start(args, format);
    piece_add(&f->seen, "; ", format, args);
    va_end(args);
    f->state = CHECK_FAILED;
    return true;
}

void finding_fix(Finding *f, const char *format, ...) {
    va_list args;
    va_start(args, format);
    piece_add(&f->fix, "\n", format, args);
    va_end(args);
}
