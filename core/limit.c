#include "core/limit.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

typedef struct Limit {
    int why;
    __rlimit_resource_t resource;
    const char *name, *raise;
} Limit;

static const Limit LIMITS[] = {
    {EMFILE, RLIMIT_NOFILE, "open files", "ulimit -n, LimitNOFILE of the service"},
    {EAGAIN, RLIMIT_NPROC, "processes and threads", "ulimit -u, LimitNPROC and TasksMax of the service"},
    {ENOMEM, RLIMIT_AS, "memory", "ulimit -v, LimitAS and MemoryMax of the service"},
};
enum { LIMITS_COUNT = sizeof LIMITS / sizeof *LIMITS };

static const Limit *limit_find(int why) {
    for (int limit = 0; limit < LIMITS_COUNT; limit++)
        if (LIMITS[limit].why == why)
            return &LIMITS[limit];
    return NULL;
}

bool limit_is_meant(int why) {
    return limit_find(why) != NULL;
}

bool limit_failed(Error *e, const char *what, int why) {
    const Limit *limit = limit_find(why);
    struct rlimit now;
    fail(e, ERR_CONFIG, "cannot %s: %s", what, strerror(why));
    if (limit == NULL)
        return false;
    if (getrlimit(limit->resource, &now) == 0 && now.rlim_cur != RLIM_INFINITY)
        return fail_hint(e, "the limit of %s is %llu: raise it (%s)", limit->name,
                         (unsigned long long)now.rlim_cur, limit->raise);
    return fail_hint(e, "the system has no more %s for this process: see %s", limit->name, limit->raise);
}
