/* fake_server: a PostgreSQL server of a few lines, so that unit tests can see what is sent to every server
 * version and answer what no real server would. It listens on a unix socket of its own, serves one connection
 * after another in one thread, and answers each statement by the first rule whose text the statement contains
 * (else "done, no rows"). A test that needs other bytes gives a function that takes over the connection.
 * Cancel requests are counted. Protocol: PostgreSQL documentation, "Message Formats". */
#ifndef WALFERRY_TESTS_FAKE_SERVER_H
#define WALFERRY_TESTS_FAKE_SERVER_H

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/bytes.h"

enum { FAKE_STATEMENTS_MAX = 64, FAKE_STARTUP_BYTES = 1000, FAKE_CANCEL_CODE = 80877102 };

typedef struct FakeRule {
    const char *contains;                      /* NULL ends the list */
    const char *rows;                          /* "a|b\nc|~": cells, rows, ~ is NULL; NULL: none */
    const char *sqlstate, *message, *severity; /* an error instead; FATAL closes the connection, too */
    int times;                                 /* how often it holds; 0: always */
    bool silent; /* no answer until a cancel request, which then ends it with this error */
} FakeRule;

typedef struct FakeServer FakeServer;
struct FakeServer {
    char dir[64], dsn[128];
    int listener, socket;
    pthread_t thread;
    const char *version; /* server_version */
    FakeRule *rules;
    const char *login_sqlstate, *login_message;              /* refuses the login */
    int login_refusals;                                      /* how often; 0: always */
    bool mute;                                               /* accepts, never says a word */
    void (*take_over)(FakeServer *f, const char *statement); /* called for START_REPLICATION */
    char startup[FAKE_STARTUP_BYTES];      /* the last login's parameters, "name=value\n…" */
    char *statements[FAKE_STATEMENTS_MAX]; /* what was sent, in order; read them after fake_stop */
    atomic_int count, cancels, logins;
    int used[FAKE_STATEMENTS_MAX]; /* of each rule */
};

static inline void fake_send(const FakeServer *f, char kind, Slice body) {
    Writer w = writer_new(1 << 20);
    writer_u8(&w, (uint8_t)kind);
    writer_u32(&w, (uint32_t)body.len + 4);
    writer_bytes(&w, body);
    for (size_t sent = 0; sent < w.len;) {
        ssize_t step = send(f->socket, w.at + sent, w.len - sent, MSG_NOSIGNAL);
        if (step <= 0)
            break;
        sent += (size_t)step;
    }
    writer_free(&w);
}

static inline void fake_text(const FakeServer *f, char kind, const char *text) {
    fake_send(f, kind, (Slice){text, strlen(text) + 1});
}

static inline void fake_ready(const FakeServer *f) {
    fake_send(f, 'Z', slice_text("I"));
}

static inline void fake_error(const FakeServer *f, const char *severity, const char *sqlstate,
                              const char *message) {
    Writer w = writer_new(1 << 12);
    writer_format(&w, "S%s%cV%s%cC%s%cM%s%cHmend it%cFfile.c%cL1%cRroutine%c%c", severity, 0, severity, 0,
                  sqlstate, 0, message, 0, 0, 0, 0, 0, 0);
    fake_send(f, 'E', writer_slice(&w));
    writer_free(&w);
}

static inline bool fake_read(const FakeServer *f, void *to, size_t size) {
    for (size_t have = 0; have < size;) {
        ssize_t step = recv(f->socket, (char *)to + have, size - have, 0);
        if (step <= 0)
            return false;
        have += (size_t)step;
    }
    return true;
}

static inline uint32_t fake_u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

/* The next message: its kind and body (of malloc, NUL behind it); 0: the client has gone. */
static inline char fake_message(const FakeServer *f, char **body, size_t *size) {
    uint8_t head[5];
    if (!fake_read(f, head, sizeof head))
        return 0;
    *size = fake_u32(head + 1) - 4;
    *body = calloc(1, *size + 1);
    if (fake_read(f, *body, *size))
        return (char)head[0];
    free(*body);
    return 0;
}

static inline void fake_cell(Writer *w, const char *cell, size_t length) {
    bool null = length == 1 && cell[0] == '~';
    writer_u32(w, null ? UINT32_MAX : (uint32_t)length);
    writer_bytes(w, (Slice){cell, null ? 0 : length});
}

static inline void fake_row(const FakeServer *f, const char *line, size_t length, bool describe) {
    Writer w = writer_new(1 << 16);
    uint16_t columns = 1;
    for (size_t n = 0; n < length; n++)
        columns = (uint16_t)(columns + (line[n] == '|'));
    writer_u16(&w, columns);
    for (uint16_t n = 0; n < columns && describe; n++)
        writer_bytes(&w, (Slice){"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0", 20});
    const char *end = line + length;
    for (const char *at = line; !describe && at <= end;) {
        const char *bar = memchr(at, '|', (size_t)(end - at));
        const char *stop = bar == NULL ? end : bar;
        fake_cell(&w, at, (size_t)(stop - at));
        at = stop + 1;
    }
    fake_send(f, describe ? 'T' : 'D', writer_slice(&w));
    writer_free(&w);
}

static inline void fake_rows(const FakeServer *f, const char *rows) {
    size_t first = strcspn(rows, "\n");
    fake_row(f, rows, first, true);
    for (const char *line = rows; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        fake_row(f, line, length, false);
        line += length + (line[length] == '\n');
    }
    fake_text(f, 'C', "SELECT 1");
}

static inline bool fake_accept(FakeServer *f, int *out) {
    *out = accept(f->listener, NULL, NULL);
    return *out >= 0;
}

/* Waits until the statement that runs is cancelled. */
static inline void fake_cancel_wait(FakeServer *f) {
    uint8_t request[16];
    int session = f->socket, other;
    if (!fake_accept(f, &other))
        return;
    f->socket = other;
    if (fake_read(f, request, sizeof request) && fake_u32(request + 4) == FAKE_CANCEL_CODE)
        atomic_fetch_add(&f->cancels, 1);
    close(other);
    f->socket = session;
}

static inline FakeRule *fake_rule(FakeServer *f, const char *statement) {
    for (int n = 0; f->rules != NULL && f->rules[n].contains != NULL; n++) {
        FakeRule *rule = &f->rules[n];
        if (strstr(statement, rule->contains) == NULL || (rule->times > 0 && f->used[n] >= rule->times))
            continue;
        f->used[n]++;
        return rule;
    }
    return NULL;
}

/* False: the connection is over. */
static inline bool fake_answer(FakeServer *f, const char *statement, bool extended) {
    int number = atomic_load(&f->count);
    assert(number < FAKE_STATEMENTS_MAX);
    f->statements[number] = strdup(statement);
    atomic_store(&f->count, number + 1);
    if (f->take_over != NULL && strstr(statement, "START_REPLICATION") != NULL) {
        f->take_over(f, statement);
        return false;
    }
    const FakeRule *rule = fake_rule(f, statement);
    if (rule != NULL && rule->silent)
        fake_cancel_wait(f);
    bool fatal = rule != NULL && rule->severity != NULL;
    if (rule != NULL && rule->sqlstate != NULL) {
        fake_error(f, fatal ? rule->severity : "ERROR", rule->sqlstate, rule->message);
        if (fatal)
            return false;
    } else {
        if (extended)
            fake_send(f, '1', slice_text(""));
        if (extended)
            fake_send(f, '2', slice_text(""));
        if (rule != NULL && rule->rows != NULL)
            fake_rows(f, rule->rows);
        else
            fake_text(f, 'C', "INSERT 0 1");
    }
    fake_ready(f);
    return true;
}

static inline void fake_session(FakeServer *f) {
    char *statement = NULL, *body = NULL, kind;
    size_t size;
    bool go_on = true;
    while (go_on && (kind = fake_message(f, &body, &size)) != 0) {
        if (kind == 'P') { /* parse: the statement's name, then its text */
            free(statement);
            statement = strdup(body + strlen(body) + 1);
        }
        if (kind == 'Q')
            go_on = fake_answer(f, body, false);
        else if (kind == 'S' && statement != NULL)
            go_on = fake_answer(f, statement, true);
        else if (kind == 'X')
            go_on = false;
        free(body);
    }
    free(statement);
}

static inline void fake_startup_note(FakeServer *f, const char *body, size_t size) {
    size_t used = 0;
    for (size_t at = 4; at < size && body[at] != '\0';) {
        const char *name = body + at, *value = name + strlen(name) + 1;
        at += strlen(name) + strlen(value) + 2;
        used += (size_t)snprintf(f->startup + used, sizeof f->startup - used, "%s=%s\n", name, value);
    }
}

static inline void fake_login(FakeServer *f) {
    uint8_t head[4];
    while (f->mute && fake_read(f, head, 1))
        ;
    if (f->mute || !fake_read(f, head, sizeof head))
        return;
    size_t size = fake_u32(head) - 4;
    char *body = calloc(1, size + 1);
    if (fake_read(f, body, size) && fake_u32((const uint8_t *)body) == FAKE_CANCEL_CODE) {
        atomic_fetch_add(&f->cancels, 1);
        free(body);
        return;
    }
    fake_startup_note(f, body, size);
    free(body);
    int login = atomic_fetch_add(&f->logins, 1);
    if (f->login_sqlstate != NULL && (f->login_refusals == 0 || login < f->login_refusals)) {
        fake_error(f, "FATAL", f->login_sqlstate, f->login_message);
        return;
    }
    Writer version = writer_new(256);
    writer_format(&version, "server_version%c%s%c", 0, f->version, 0);
    fake_send(f, 'R', (Slice){"\0\0\0\0", 4});
    fake_send(f, 'S', writer_slice(&version));
    fake_send(f, 'K', (Slice){"\0\0\0\x2a\0\0\0\1", 8});
    fake_ready(f);
    writer_free(&version);
    fake_session(f);
}

static inline void *fake_thread(void *context) {
    FakeServer *f = context;
    while (fake_accept(f, &f->socket)) {
        fake_login(f);
        shutdown(f->socket, SHUT_RDWR);
        close(f->socket);
    }
    return NULL;
}

static inline void fake_start(FakeServer *f) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(f->dir, sizeof f->dir, "/tmp/walferry_fake_XXXXXX");
    assert(mkdtemp(f->dir) != NULL);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", f->dir);
    snprintf(f->dsn, sizeof f->dsn, "host=%s port=5432 user=reader dbname=shop", f->dir);
    if (f->version == NULL)
        f->version = "15.4";
    f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert(f->listener >= 0);
    assert(bind(f->listener, (const struct sockaddr *)&address, sizeof address) == 0);
    assert(listen(f->listener, 8) == 0);
    assert(pthread_create(&f->thread, NULL, fake_thread, f) == 0);
}

/* After every client has closed. */
static inline void fake_stop(FakeServer *f) {
    char path[128];
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", f->dir);
    unlink(path);
    rmdir(f->dir);
}

static inline void fake_free(FakeServer *f) {
    for (int n = 0; n < f->count; n++)
        free(f->statements[n]);
}

/* Index of the first statement that contains the text, or -1. */
static inline int fake_find(const FakeServer *f, const char *text) {
    for (int n = 0; n < f->count; n++)
        if (strstr(f->statements[n], text) != NULL)
            return n;
    return -1;
}

#endif
