#include "core/limit.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "core/bytes.h"

typedef struct Limit {
    int why;
    __rlimit_resource_t resource;
    const char *name, *where;
} Limit;

/* A thread is refused with EAGAIN also when there is no memory for its stack. */
static const Limit LIMITS[] = {
    {EMFILE, RLIMIT_NOFILE, "open files", "ulimit -n, LimitNOFILE of the service"},
    {EAGAIN, RLIMIT_NPROC, "processes and threads", "ulimit -u, LimitNPROC and TasksMax of the service"},
    {EAGAIN, RLIMIT_AS, "bytes of memory", "ulimit -v, LimitAS of the service"},
    {ENOMEM, RLIMIT_AS, "bytes of memory", "ulimit -v, LimitAS and MemoryMax of the service"},
};
enum { LIMITS_COUNT = sizeof LIMITS / sizeof *LIMITS };

bool limit_is_meant(int why) {
    for (int limit = 0; limit < LIMITS_COUNT; limit++)
        if (LIMITS[limit].why == why)
            return true;
    return false;
}

bool limit_failed(Error *e, const char *what, int why) {
    struct rlimit now;
    Writer hint = writer_new(sizeof e->hint - 1);
    fail(e, ERR_CONFIG, "cannot %s: %s", what, strerror(why));
    for (int limit = 0; limit < LIMITS_COUNT; limit++) {
        const Limit *one = &LIMITS[limit];
        if (one->why != why || getrlimit(one->resource, &now) != 0 || now.rlim_cur == RLIM_INFINITY)
            continue;
        writer_format(&hint, "%s%llu %s (%s)", hint.len == 0 ? "raise the limit: " : ", or ",
                      (unsigned long long)now.rlim_cur, one->name, one->where);
    }
    if (hint.len > 0)
        fail_hint(e, "%s", writer_string(&hint));
    else if (limit_is_meant(why))
        fail_hint(e, "the system itself has no more: end something else on this machine");
    writer_free(&hint);
    return false;
}
