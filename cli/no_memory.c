#include "cli/no_memory.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/error.h"
#include "core/memory.h"

/* What malloc asks the system for when it has no more, with room for what other threads gave back since. */
enum { LEFT_BYTES = 4 << 20, STACK_BYTES = 64 << 10 };

static const int DEATHS[] = {SIGSEGV, SIGABRT};
enum { DEATHS_COUNT = sizeof DEATHS / sizeof *DEATHS };
static struct sigaction before[DEATHS_COUNT];

/* There is no memory left to say it with: only what lies on the stack. */
static void tell(size_t size) {
    char text[300], bytes[40] = "";
    struct rlimit limit = {0};
    getrlimit(RLIMIT_AS, &limit);
    if (size > 0)
        snprintf(bytes, sizeof bytes, " for %zu more bytes", size);
    int length = snprintf(
        text, sizeof text,
        "walferry: no memory%s\nhint: %s (ulimit -v, MemoryMax of the service), or "
        "lower \"memory\"; the next run goes on from here\n",
        bytes, limit.rlim_cur == RLIM_INFINITY ? "the system has no more: give it some" : "raise the limit");
    ssize_t ignored = write(STDERR_FILENO, text, (size_t)length);
    (void)ignored;
    _exit(error_exit_code(ERR_LIMIT));
}

static bool is_lacking(void) {
    void *more = mmap(NULL, LEFT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (more == MAP_FAILED)
        return true;
    munmap(more, LEFT_BYTES);
    return false;
}

/* Any other death: a fault happens again when this comes back, what was only sent is sent again, and either then
 * ends the process as it would have without us. */
static void died(int number, siginfo_t *info, void *where) {
    (void)where;
    if (is_lacking())
        tell(0);
    for (int at = 0; at < DEATHS_COUNT; at++)
        if (DEATHS[at] == number)
            sigaction(number, &before[at], NULL);
    if (info->si_code <= 0)
        raise(number);
}

/* The main thread's stack grows while it runs, which may be what is refused. */
static void deaths_watch(void) {
    static char stack[STACK_BYTES];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = died, .sa_flags = SA_ONSTACK | SA_SIGINFO};
    sigaltstack(&other, NULL);
    for (int at = 0; at < DEATHS_COUNT; at++)
        sigaction(DEATHS[at], &action, &before[at]);
}

void no_memory_prepare(void) {
    memory_when_refused(tell);
    json_set_alloc_funcs(memory_raw, free);
    deaths_watch();
}
