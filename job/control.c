#include "job/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/limit.h"
#include "core/log.h"
#include "core/memory.h"
#include "job/reload_ask.h"
#include "job/setting.h"
#include "job/status.h"

enum {
    REQUEST_BYTES_MAX = 64 * 1024,
    ANSWER_BYTES_MAX = 256 * 1024 * 1024, /* a status names every table */
    SERVE_MS = 2000,                      /* for one client */
    ASK_MS = 10000,                       /* a few slow clients may be ahead of us */
    BACKLOG = 16
};

struct Control {
    Job *job;
    int listener, wake;
    pthread_t thread;
    struct sockaddr_un address;
    struct stat socket_file; /* as it was made, so that only our own is removed */
};

/* ---- lines over a socket, with a deadline ---- */

typedef struct Line {
    int fd, wake;        /* wake: readable means give up; -1: none */
    int64_t deadline_ms; /* monotonic */
} Line;

/* True when `events` came before the deadline and nobody wants us to give up. */
static bool line_wait(const Line *line, short events) {
    struct pollfd watched[2] = {{.fd = line->fd, .events = events}, {.fd = line->wake, .events = POLLIN}};
    for (;;) {
        int64_t left_ms = line->deadline_ms - clock_ms();
        if (left_ms <= 0)
            return false;
        int ready = poll(watched, 2, (int)left_ms);
        if (ready < 0 && errno != EINTR)
            return false;
        if (ready > 0)
            return watched[1].revents == 0;
    }
}

/* Reads up to and without the next newline; what follows it is thrown away, as a client waits for its answer.
 * False: closed, too long, too slow. */
static bool line_read(const Line *line, Writer *into) {
    char piece[4096];
    writer_reset(into);
    while (line_wait(line, POLLIN)) {
        ssize_t got = recv(line->fd, piece, sizeof piece, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return false;
        const char *end = memchr(piece, '\n', (size_t)got);
        writer_bytes(into, (Slice){piece, end != NULL ? (size_t)(end - piece) : (size_t)got});
        if (into->full)
            return false;
        if (end != NULL)
            return true;
    }
    return false;
}

static bool line_send(const Line *line, const char *text, size_t length) {
    while (length > 0) {
        if (!line_wait(line, POLLOUT))
            return false;
        ssize_t sent = send(line->fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (sent < 0)
            return false;
        text += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool line_write(const Line *line, const json_t *object) {
    char *text = json_dumps(object, JSON_COMPACT);
    assert(text != NULL);
    bool ok = line_send(line, text, strlen(text)) && line_send(line, "\n", 1);
    free(text);
    return ok;
}

/* ---- where the socket is ---- */

static bool socket_address(const Config *cfg, struct sockaddr_un *out, Error *e) {
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(cfg->control_socket) >= sizeof out->sun_path) {
        fail(e, ERR_CONFIG, "the control socket's path \"%s\" is longer than %zu characters",
             cfg->control_socket, sizeof out->sun_path - 1);
        return fail_hint(e, "set RUNTIME_DIRECTORY to a folder with a shorter name");
    }
    snprintf(out->sun_path, sizeof out->sun_path, "%s", cfg->control_socket);
    return true;
}

static void socket_folder(const struct sockaddr_un *address, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s", address->sun_path);
    char *slash = strrchr(out, '/');
    if (slash == NULL)
        snprintf(out, PATH_MAX, ".");
    else if (slash == out)
        out[1] = '\0';
    else
        *slash = '\0';
}

/* In a folder that others may write, somebody else could put a socket of his own in our place. */
static bool folder_check(const char *folder, Error *e) {
    struct stat found;
    if (lstat(folder, &found) != 0)
        return fail(e, ERR_CONFIG, "cannot look at folder \"%s\": %s", folder, strerror(errno));
    if (!S_ISDIR(found.st_mode))
        return fail(e, ERR_CONFIG, "\"%s\" is not a folder", folder);
    if (found.st_uid == geteuid() && (found.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return true;
    fail(e, ERR_CONFIG,
         "folder \"%s\" of the control socket belongs to another user or is writable by others", folder);
    return fail_hint(e, "remove it, or set RUNTIME_DIRECTORY to a folder of your own with mode 0700");
}

static bool folder_make(const char *folder, Error *e) {
    char part[PATH_MAX];
    snprintf(part, sizeof part, "%s", folder);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(part, 0700); /* the last one tells whether that was enough */
        *slash = '/';
    }
    if (mkdir(part, 0700) == 0 || errno == EEXIST)
        return folder_check(folder, e);
    fail(e, ERR_CONFIG, "cannot make folder \"%s\" for the control socket: %s", folder, strerror(errno));
    return fail_hint(e, "set RUNTIME_DIRECTORY to a folder that this user may write");
}

/* ---- the client's side ---- */

/* The connected socket, or -1: with ERR_NONE when nobody listens. */
static int socket_connect(const struct sockaddr_un *address, Error *e) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        limit_failed(e, "make a socket", errno);
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return fd;
    if (errno == ENOENT || errno == ECONNREFUSED)
        error_clear(e);
    else
        fail(e, errno == EAGAIN ? ERR_RETRY : ERR_CONFIG, "cannot connect to the control socket \"%s\": %s",
             address->sun_path, strerror(errno));
    close(fd);
    return -1;
}

static json_t *socket_ask(const struct sockaddr_un *address, const json_t *request, int wait_ms, Error *e) {
    int fd = socket_connect(address, e);
    if (fd < 0)
        return NULL;
    Line line = {.fd = fd, .wake = -1, .deadline_ms = clock_ms() + wait_ms};
    Writer text = writer_new(ANSWER_BYTES_MAX);
    json_t *answer = NULL;
    if (line_write(&line, request) && line_read(&line, &text))
        answer = json_loadb(text.at, text.len, 0, NULL);
    if (!json_is_object(answer)) {
        json_decref(answer);
        answer = NULL;
        fail(e, ERR_RETRY, "whoever listens on the control socket \"%s\" gives no answer", address->sun_path);
    }
    writer_free(&text);
    close(fd);
    return answer;
}

json_t *control_ask(const Config *cfg, const json_t *request, Error *e) {
    struct sockaddr_un address;
    struct stat found;
    char folder[PATH_MAX];
    if (!socket_address(cfg, &address, e))
        return NULL;
    socket_folder(&address, folder);
    if (lstat(folder, &found) != 0 && errno == ENOENT) {
        error_clear(e);
        return NULL;
    }
    return folder_check(folder, e) ? socket_ask(&address, request, ASK_MS, e) : NULL;
}

/* ---- the server's side ---- */

/* {"ok":true}, or with a text {"ok":false,"error":text}. */
static json_t *answer_new(json_t *refusal) {
    json_t *answer = json_object();
    json_object_set_new(answer, "ok", json_boolean(refusal == NULL));
    if (refusal != NULL)
        json_object_set_new(answer, "error", refusal);
    return answer;
}

static json_t *answer_set(Job *job, const json_t *request) {
    const char *key = json_string_value(json_object_get(request, "key"));
    const char *value = json_string_value(json_object_get(request, "value"));
    Error e;
    if (key == NULL || value == NULL)
        return answer_new(json_string("\"set\" needs a key and a value"));
    if (!setting_change(job, key, value, &e))
        return answer_new(json_string(e.text));
    log_info("%s is now %s, as asked for by \"set\"", key, value);
    return answer_new(NULL);
}

static json_t *answer_snapshot(Job *job, const json_t *request) {
    Error e = {0};
    if (json_object_get(request, "tables") == NULL) {
        json_t *noted = answer_new(NULL);
        json_object_set_new(noted, "noted", json_boolean(reload_is_noted(job)));
        return noted;
    }
    if (reload_ask(job, json_object_get(request, "tables"), &e))
        return answer_new(NULL);
    json_t *answer = answer_new(json_string(e.text));
    if (e.hint[0] != '\0')
        json_object_set_new(answer, "hint", json_string(e.hint));
    return answer;
}

static json_t *answer_who(const Job *job) {
    json_t *answer = answer_new(NULL);
    json_object_set_new(answer, "instance", json_string(job->instance));
    return answer;
}

static json_t *answer_make(Control *control, const json_t *request) {
    Job *job = control->job;
    const char *command = json_string_value(json_object_get(request, "command"));
    if (command == NULL)
        return answer_new(json_string("a line with a JSON object that has a \"command\" is expected"));
    if (strcmp(command, "status") == 0)
        return status_running(job->cfg, job->metrics, job->throttle, job->apply_throttle);
    if (strcmp(command, "who") == 0)
        return answer_who(job);
    if (strcmp(command, "set") == 0)
        return answer_set(job, request);
    if (strcmp(command, "snapshot") == 0)
        return answer_snapshot(job, request);
    if (strcmp(command, "stop") != 0)
        return answer_new(json_string("unknown command: status, stop, set, snapshot and who are known"));
    log_info("stopping, as asked for by \"stop\"");
    job_stop(job);
    return answer_new(NULL);
}

/* Each line is answered until the client goes, sends nonsense or has had its time. */
static void client_serve(Control *control, int fd) {
    Line line = {.fd = fd, .wake = control->wake, .deadline_ms = clock_ms() + SERVE_MS};
    Writer text = writer_new(REQUEST_BYTES_MAX);
    bool more = true;
    while (more && line_read(&line, &text)) {
        json_t *request = json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES, NULL);
        json_t *answer = answer_make(control, request);
        assert(answer != NULL);
        more = line_write(&line, answer) && json_is_object(request);
        json_decref(answer);
        json_decref(request);
    }
    writer_free(&text);
}

static void *control_thread(void *context) {
    Control *control = context;
    struct pollfd watched[2] = {{.fd = control->listener, .events = POLLIN},
                                {.fd = control->wake, .events = POLLIN}};
    for (;;) {
        if (poll(watched, 2, -1) < 0)
            continue;
        if (watched[1].revents != 0)
            return NULL;
        int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            /* out of descriptors: poll would return at once, again and again */
            if (errno != EAGAIN && errno != ECONNABORTED)
                clock_sleep_ms(100);
            continue;
        }
        client_serve(control, fd);
        close(fd);
    }
}

/* True when nobody lives at the socket's path; else e names who. */
static bool socket_vacant(const Config *cfg, const struct sockaddr_un *address, Error *e) {
    json_t *request = json_pack("{s:s}", "command", "who");
    json_t *answer = socket_ask(address, request, 2 * SERVE_MS, e);
    const char *instance = json_string_value(json_object_get(answer, "instance"));
    json_decref(request);
    if (answer == NULL && e->kind == ERR_NONE)
        return true;
    if (answer == NULL && e->kind == ERR_CONFIG)
        return false;
    fail(e, ERR_CONFIG, "job \"%s\" is running already: %s", cfg->name,
         instance != NULL ? instance : "a process that listens on its control socket but does not answer");
    fail_hint(e, "\"walferry status\" shows it, \"walferry stop\" ends it");
    json_decref(answer);
    return false;
}

/* With the folder locked, so that of two runs that find the same left-over socket only one replaces it. */
static bool socket_bind(Control *control, Error *e) {
    if (!socket_vacant(control->job->cfg, &control->address, e))
        return false;
    unlink(control->address.sun_path);
    control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->listener < 0)
        return limit_failed(e, "make a socket", errno);
    bool ok =
        fchmod(control->listener, 0600) == 0 &&
        bind(control->listener, (const struct sockaddr *)&control->address, sizeof control->address) == 0 &&
        listen(control->listener, BACKLOG) == 0 &&
        lstat(control->address.sun_path, &control->socket_file) == 0;
    if (!ok)
        fail(e, ERR_CONFIG, "cannot listen on the control socket \"%s\": %s", control->address.sun_path,
             strerror(errno));
    return ok;
}

static bool control_listen(Control *control, Error *e) {
    char folder[PATH_MAX];
    if (!socket_address(control->job->cfg, &control->address, e))
        return false;
    socket_folder(&control->address, folder);
    if (!folder_make(folder, e))
        return false;
    int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0)
        return limit_failed(e, "open the folder of the control socket", errno);
    flock(lock, LOCK_EX);
    bool ok = socket_bind(control, e);
    close(lock);
    return ok;
}

static void control_free(Control *control) {
    if (control->listener >= 0)
        close(control->listener);
    if (control->wake >= 0)
        close(control->wake);
    free(control);
}

Control *control_start(Job *job, Error *e) {
    Control *control = memory_new(sizeof *control);
    control->job = job;
    control->listener = -1;
    control->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->wake < 0)
        limit_failed(e, "make an event for the control socket", errno);
    if (control->wake < 0 || !control_listen(control, e)) {
        control_free(control);
        return NULL;
    }
    int why = pthread_create(&control->thread, NULL, control_thread, control);
    if (why == 0)
        return control;
    limit_failed(e, "make a thread", why);
    unlink(control->address.sun_path);
    control_free(control);
    return NULL;
}

void control_end(Control *control) {
    struct stat now;
    if (control == NULL)
        return;
    eventfd_write(control->wake, 1);
    pthread_join(control->thread, NULL);
    const struct stat *made = &control->socket_file;
    if (lstat(control->address.sun_path, &now) == 0 && now.st_dev == made->st_dev &&
        now.st_ino == made->st_ino)
        unlink(control->address.sun_path);
    control_free(control);
}
