/* fake_http: an HTTP server of a few lines on a port of 127.0.0.1, one connection after another in one thread. Requests
 * are kept; they get the answers of a list in its order, the last one again and again. With a certificate it stands
 * behind an openssl that speaks TLS for it. Stopped after every client has closed. */
#ifndef WALFERRY_TESTS_PROTO_FAKE_HTTP_H
#define WALFERRY_TESTS_PROTO_FAKE_HTTP_H

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/clock.h"

enum { HTTP_REQUESTS_MAX = 32 };

typedef struct HttpAnswer {
    int status;          /* 0 ends the list */
    const char *body;    /* NULL: "" */
    const char *headers; /* further ones, each with its "\r\n" */
    size_t filler;       /* instead of the body: so many blanks */
    bool silent;         /* none, until the client goes */
    bool cut;            /* the connection ends in the middle of the body */
    bool drips;          /* a byte of the body each 50 ms */
    const char *raw;     /* this instead of HTTP */
} HttpAnswer;

typedef struct FakeHttp {
    char url[64];
    const HttpAnswer *answers;
    int listener, socket, port;
    pthread_t thread;
    atomic_int count;
    char *requests[HTTP_REQUESTS_MAX]; /* head and body; read them after http_stop */
    pid_t tls;                         /* the openssl in front */
} FakeHttp;

static inline bool http_send(const FakeHttp *f, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t sent = send(f->socket, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* How long a request is whose head is there; 0: it is not, yet. */
static inline size_t http_length(const char *text) {
    const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\ncontent-length:");
    if (end == NULL)
        return 0;
    return (size_t)(end - text) + 4 + (length == NULL ? 0 : strtoul(length + 17, NULL, 10));
}

/* Of malloc; NULL: the client has gone. */
static inline char *http_read(const FakeHttp *f) {
    Writer all = writer_new(64 << 20);
    size_t wanted = 0;
    char piece[65536];
    while (wanted == 0 || all.len < wanted) {
        ssize_t got = recv(f->socket, piece, sizeof piece, 0);
        if (got <= 0) {
            writer_free(&all);
            return NULL;
        }
        writer_bytes(&all, (Slice){piece, (size_t)got});
        if (wanted == 0)
            wanted = http_length(writer_string(&all));
    }
    char *text = strdup(writer_string(&all));
    writer_free(&all);
    return text;
}

static inline bool http_body_send(const FakeHttp *f, const HttpAnswer *answer, const char *body,
                                  size_t size) {
    if (!answer->drips)
        return http_send(f, body, answer->cut ? size / 2 : size) && !answer->cut;
    for (size_t at = 0; at < size; at++) {
        clock_sleep_ms(50);
        if (!http_send(f, body + at, 1))
            return false;
    }
    return true;
}

/* False: the connection is over. */
static inline bool http_answer(const FakeHttp *f, const HttpAnswer *answer) {
    char byte;
    if (answer->silent)
        return recv(f->socket, &byte, 1, 0) > 0;
    if (answer->raw != NULL)
        return http_send(f, answer->raw, strlen(answer->raw)) && false;
    Writer head = writer_new(1 << 20), filler = writer_new(64 << 20);
    for (size_t at = 0; at < answer->filler; at++)
        writer_u8(&filler, ' ');
    const char *body = answer->filler > 0 ? writer_string(&filler) : answer->body == NULL ? "" : answer->body;
    writer_format(&head, "HTTP/1.1 %d Some Words\r\n%sContent-Length: %zu\r\n\r\n", answer->status,
                  answer->headers == NULL ? "" : answer->headers, strlen(body));
    bool good = http_send(f, head.at, head.len) && http_body_send(f, answer, body, strlen(body));
    writer_free(&head);
    writer_free(&filler);
    return good;
}

static inline void http_serve(FakeHttp *f) {
    char *request;
    bool more = true;
    while (more && (request = http_read(f)) != NULL) {
        int number = atomic_load(&f->count);
        assert(number < HTTP_REQUESTS_MAX);
        f->requests[number] = request;
        atomic_store(&f->count, number + 1);
        more = http_answer(f, f->answers);
        f->answers += f->answers[1].status != 0;
    }
}

static inline void *http_thread(void *context) {
    FakeHttp *f = context;
    while ((f->socket = accept(f->listener, NULL, NULL)) >= 0) {
        http_serve(f);
        close(f->socket);
    }
    return NULL;
}

static inline int http_listen(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(listener >= 0);
    assert(bind(listener, (const struct sockaddr *)&address, size) == 0);
    assert(listen(listener, 8) == 0);
    assert(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return listener;
}

static inline void http_start(FakeHttp *f, const HttpAnswer *answers) {
    *f = (FakeHttp){.answers = answers};
    f->listener = http_listen(&f->port);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d", f->port);
    assert(pthread_create(&f->thread, NULL, http_thread, f) == 0);
}

static inline void http_free(FakeHttp *f) {
    for (int at = 0; at < f->count; at++)
        free(f->requests[at]);
}

/* The requests stay readable until http_free. */
static inline void http_stop(FakeHttp *f) {
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
}

/* ---- with TLS ---- */

static inline void *http_tls_thread(void *context) {
    http_serve(context);
    return NULL;
}

/* openssl hands on what it hears and says what it is told: with its standard input and output it is our client. */
static inline void http_tls_start(FakeHttp *f, const HttpAnswer *answers, const char *certificate,
                                  const char *key) {
    int pair[2];
    char accept_at[32];
    *f = (FakeHttp){.answers = answers, .listener = -1};
    close(http_listen(&f->port));
    snprintf(f->url, sizeof f->url, "https://127.0.0.1:%d", f->port);
    snprintf(accept_at, sizeof accept_at, "127.0.0.1:%d", f->port);
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    f->tls = fork();
    assert(f->tls >= 0);
    if (f->tls == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (dup2(pair[1], 0) < 0 || dup2(pair[1], 1) < 0 || dup2(null, 2) < 0)
            _exit(126);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("openssl", "openssl", "s_server", "-quiet", "-accept", accept_at, "-cert", certificate, "-key",
               key, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    f->socket = pair[0];
    assert(pthread_create(&f->thread, NULL, http_tls_thread, f) == 0);
}

static inline void http_tls_stop(FakeHttp *f) {
    kill(f->tls, SIGKILL);
    waitpid(f->tls, NULL, 0);
    shutdown(f->socket, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->socket);
}

#endif
