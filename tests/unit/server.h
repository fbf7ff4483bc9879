/* server: a private PostgreSQL for one test program: made in a temporary directory, without a port, ended and
 * removed with it. As root it runs as "postgres". It flushes WAL only when it is told to (or after ten
 * seconds), so that tests see the difference. */
#ifndef WALFERRY_TESTS_SINK_SERVER_H
#define WALFERRY_TESTS_SINK_SERVER_H

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/pg.h"

typedef struct Server {
    char dir[40], data[60], programs[200];
    char dsn[100]; /* as superuser "walferry" */
    pid_t pid;
} Server;

/* The one in PGBIN, else the newest that is installed; false: none. */
static inline bool server_find(Server *s) {
    glob_t found;
    const char *chosen = getenv("PGBIN");
    if (chosen != NULL)
        return snprintf(s->programs, sizeof s->programs, "%s", chosen) < (int)sizeof s->programs;
    bool any = glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0;
    if (any) {
        const char *path = found.gl_pathv[found.gl_pathc - 1];
        snprintf(s->programs, sizeof s->programs, "%.*s", (int)(strlen(path) - strlen("/initdb")), path);
    }
    globfree(&found);
    return any;
}

/* The child ends with us, however we end. It looks for its files beside the program that arguments[0] names. */
static inline pid_t server_spawn(const Server *s, const char *program, const char **arguments) {
    char path[256], log[80];
    pid_t child = fork();
    assert(child >= 0);
    if (child > 0)
        return child;
    snprintf(path, sizeof path, "%s/%s", s->programs, program);
    snprintf(log, sizeof log, "%s/log", s->dir);
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (user != NULL && (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(s->dir) != 0)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    arguments[0] = path;
    execv(path, (char *const *)(uintptr_t)arguments);
    _exit(127);
}

static inline bool server_init(const Server *s) {
    const char *arguments[] = {"initdb", "-D", s->data, "-U",          "walferry", "-A",
                               "trust",  "-E", "UTF8",  "--no-locale", "-N",       NULL};
    int status;
    pid_t child = server_spawn(s, "initdb", arguments);
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static inline void server_stop(Server *s);

/* False, with a line on stderr: there is no PostgreSQL here, or it does not start. */
static inline bool server_start(Server *s) {
    *s = (Server){.dir = "/tmp/walferry_pg_XXXXXX"};
    if (!server_find(s) || mkdtemp(s->dir) == NULL) {
        fprintf(stderr, "no PostgreSQL server programs\n");
        return false;
    }
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (user != NULL && chown(s->dir, user->pw_uid, user->pw_gid) != 0)
        return false;
    snprintf(s->data, sizeof s->data, "%s/data", s->dir);
    snprintf(s->dsn, sizeof s->dsn, "host=%s user=walferry dbname=postgres", s->dir);
    const char *arguments[] = {"postgres",
                               "-D",
                               s->data,
                               "-k",
                               s->dir,
                               "-c",
                               "listen_addresses=",
                               "-c",
                               "fsync=off",
                               "-c",
                               "wal_writer_delay=10s",
                               "-c",
                               "autovacuum=off",
                               "-c",
                               "max_prepared_transactions=4",
                               NULL};
    if (server_init(s))
        s->pid = server_spawn(s, "postgres", arguments);
    for (int64_t deadline_ms = clock_ms() + 30000; s->pid > 0 && clock_ms() < deadline_ms; clock_sleep_ms(20))
        if (PQping(s->dsn) == PQPING_OK)
            return true;
    fprintf(stderr, "the server in %s does not start\n", s->dir);
    server_stop(s);
    return false;
}

static inline int server_remove_entry(const char *path, const struct stat *info, int kind,
                                      struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static inline void server_stop(Server *s) {
    if (s->pid > 0 && kill(s->pid, SIGQUIT) == 0)
        waitpid(s->pid, NULL, 0);
    nftw(s->dir, server_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
