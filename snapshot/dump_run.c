#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/limit.h"
#include "core/log.h"
#include "snapshot/dump_intern.h"

enum {
    CHILD_POLL_MS = 50,
    CHILD_GRACE_MS = 2000, /* between SIGTERM and SIGKILL */
    CHILD_LINE_MAX = 400,
    CHILD_EXTRA_FD = 3,
    CHILD_NO_DESCRIPTORS = 126,
    CHILD_NOT_STARTED = 127
};

/* What a child said on stderr: the line being read and the last ones that are not warnings. */
typedef struct Speech {
    const char *program;
    char line[CHILD_LINE_MAX];
    size_t line_len;
    char last[500];
} Speech;

typedef struct Running {
    pid_t pid;
    int out, err; /* our ends, -1 when at their end */
    Speech speech;
} Running;

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Keeps the newest text: when there is no room, the oldest lines go. */
static void speech_keep(Speech *s, const char *line) {
    size_t have = strlen(s->last), add = strlen(line) + 2;
    while (have > 0 && have + add >= sizeof s->last) {
        char *next = strstr(s->last, "; ");
        size_t drop = next == NULL ? have : (size_t)(next - s->last) + 2;
        memmove(s->last, s->last + drop, have - drop + 1);
        have -= drop;
    }
    snprintf(s->last + have, sizeof s->last - have, "%s%s", have > 0 ? "; " : "", line);
}

static void speech_line(Speech *s) {
    s->line[s->line_len] = '\0';
    s->line_len = 0;
    if (s->line[0] == '\0')
        return;
    if (strstr(s->line, "warning:") != NULL)
        log_warn("%s", s->line);
    else
        speech_keep(s, s->line);
}

static void speech_hear(Speech *s, const char *bytes, size_t len) {
    for (size_t at = 0; at < len; at++) {
        if (bytes[at] == '\n')
            speech_line(s);
        else if (s->line_len + 1 < sizeof s->line)
            s->line[s->line_len++] = bytes[at];
    }
}

ErrorKind dump_run_kind(const char *last_lines) {
    /* A lock not had in time, an exporter that is gone, a connection that broke: all pass by themselves. The
     * server's own words may be in any language, so only client texts and our statements are looked for. */
    static const char *const passing[] = {
        "LOCK TABLE",
        "SET TRANSACTION SNAPSHOT",
        "connection to server",
        "server closed the connection",
        "terminating connection",
        "no connection to the server",
        "could not receive data from server",
        "could not send data to server",
    };
    if (strstr(last_lines, "max_locks_per_transaction") != NULL)
        return ERR_CONFIG;
    for (size_t text = 0; text < sizeof passing / sizeof passing[0]; text++)
        if (strstr(last_lines, passing[text]) != NULL)
            return ERR_RETRY;
    return ERR_CONFIG;
}

/* The child's half between fork and exec: only async-signal-safe calls, since other threads may have held
 * locks. Descriptors are moved above 3 first, so that none is overwritten before it is used. */
_Noreturn static void child_become(const DumpChild *child, int out, int err, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (getppid() != parent)
        _exit(CHILD_NOT_STARTED);
    int input = child->input >= 0 ? child->input : open("/dev/null", O_RDONLY | O_CLOEXEC);
    int in_high = fcntl(input, F_DUPFD_CLOEXEC, CHILD_EXTRA_FD + 1);
    int out_high = fcntl(out, F_DUPFD_CLOEXEC, CHILD_EXTRA_FD + 1);
    int err_high = fcntl(err, F_DUPFD_CLOEXEC, CHILD_EXTRA_FD + 1);
    int extra_high = child->extra >= 0 ? fcntl(child->extra, F_DUPFD_CLOEXEC, CHILD_EXTRA_FD + 1) : -1;
    if (dup2(in_high, STDIN_FILENO) < 0 || dup2(out_high, STDOUT_FILENO) < 0 ||
        dup2(err_high, STDERR_FILENO) < 0 || (child->extra >= 0 && dup2(extra_high, CHILD_EXTRA_FD) < 0))
        _exit(CHILD_NO_DESCRIPTORS);
    close_range(child->extra >= 0 ? CHILD_EXTRA_FD + 1 : CHILD_EXTRA_FD, ~0U, 0);
    char *const *arguments = (char *const *)(uintptr_t)child->arguments;
    execve(child->arguments[0], arguments, child->environment != NULL ? child->environment : environ);
    _exit(CHILD_NOT_STARTED);
}

static void close_both(int pair[2]) {
    for (int end = 0; end < 2; end++)
        if (pair[end] >= 0)
            close(pair[end]);
}

static bool start_failed(const Running *r, const char *step, int why, Error *e) {
    char what[300];
    snprintf(what, sizeof what, "%s \"%s\"", step, r->speech.program);
    return limit_failed(e, what, why);
}

static bool child_start(const DumpChild *child, Running *r, Error *e) {
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    bool piped = child->output < 0;
    if ((piped && pipe2(out, O_CLOEXEC) != 0) || pipe2(err, O_CLOEXEC) != 0) {
        close_both(out);
        return start_failed(r, "make a pipe to", errno, e);
    }
    pid_t parent = getpid();
    r->pid = fork();
    if (r->pid == 0)
        child_become(child, piped ? out[1] : child->output, err[1], parent);
    if (r->pid < 0) {
        start_failed(r, "start", errno, e);
        close_both(out);
        close_both(err);
        return false;
    }
    if (piped)
        close(out[1]);
    close(err[1]);
    r->out = out[0];
    r->err = err[0];
    return true;
}

/* One read of what is there; the descriptor is closed and -1 at its end. */
static ssize_t read_some(int *fd, char *buffer, size_t size) {
    ssize_t got = read(*fd, buffer, size);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got <= 0) {
        close(*fd);
        *fd = -1;
        return 0;
    }
    return got;
}

static void child_read(Running *r, Writer *text) {
    struct pollfd fds[2] = {{.fd = r->out, .events = POLLIN}, {.fd = r->err, .events = POLLIN}};
    char buffer[65536];
    if (poll(fds, 2, CHILD_POLL_MS) <= 0)
        return;
    if (r->out >= 0 && fds[0].revents != 0) {
        ssize_t got = read_some(&r->out, buffer, sizeof buffer);
        writer_bytes(text, (Slice){buffer, (size_t)got});
    }
    if (r->err >= 0 && fds[1].revents != 0) {
        ssize_t got = read_some(&r->err, buffer, sizeof buffer);
        speech_hear(&r->speech, buffer, (size_t)got);
    }
}

static void child_end(Running *r, int *status) {
    int64_t deadline_ms = clock_ms() + CHILD_GRACE_MS;
    kill(r->pid, SIGTERM);
    while (waitpid(r->pid, status, WNOHANG) == 0) {
        if (clock_ms() > deadline_ms)
            kill(r->pid, SIGKILL);
        clock_sleep_ms(5);
    }
}

/* Reads until both pipes are at their end, then waits for the exit; false when `stop` or a full writer ended
 * it. */
static bool child_follow(const DumpChild *child, Running *r, Writer *text, int *status) {
    for (;;) {
        bool stopped = child->stop != NULL && atomic_load(child->stop);
        if (stopped || (text != NULL && text->full)) {
            child_end(r, status);
            return false;
        }
        if (r->out >= 0 || r->err >= 0) {
            child_read(r, text);
        } else if (waitpid(r->pid, status, WNOHANG) == 0) {
            clock_sleep_ms(2);
        } else {
            return true;
        }
    }
}

static bool child_judge(const DumpChild *child, const Running *r, int status, Error *e) {
    const char *program = r->speech.program;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_NO_DESCRIPTORS && r->speech.last[0] == '\0')
        return start_failed(r, "start", EMFILE, e);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_NOT_STARTED && r->speech.last[0] == '\0') {
        fail(e, ERR_CONFIG, "\"%s\" could not be started", child->arguments[0]);
        return fail_hint(e, "is it an executable program of this machine?");
    }
    if (WIFSIGNALED(status))
        return fail(e, ERR_RETRY, "%s was ended by signal %d: %s", program, WTERMSIG(status), r->speech.last);
    return fail(e, dump_run_kind(r->speech.last), "%s ended with exit code %d: %s", program,
                WEXITSTATUS(status), r->speech.last);
}

bool dump_run(const DumpChild *child, Writer *text, Error *e) {
    assert(text != NULL || child->output >= 0);
    Running r = {.out = -1, .err = -1, .speech.program = base_name(child->arguments[0])};
    int status = 0;
    if (!child_start(child, &r, e))
        return false;
    bool whole = child_follow(child, &r, text, &status);
    speech_line(&r.speech);
    if (r.out >= 0)
        close(r.out);
    if (r.err >= 0)
        close(r.err);
    if (whole)
        return child_judge(child, &r, status, e);
    if (text != NULL && text->full)
        return fail(e, ERR_LIMIT, "%s printed more than %zu bytes", r.speech.program, text->limit);
    return fail(e, ERR_STOPPED, "%s was stopped", r.speech.program);
}
