#include "core/fault.h"

#ifdef WALFERRY_FAULTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"

typedef enum Action { ACTION_KILL, ACTION_FAIL, ACTION_SLEEP, ACTION_BLOCK } Action;

typedef struct Order {
    const char *point;
    Action action;
    ErrorKind kind;     /* of FAIL */
    int64_t sleep_ms;   /* of SLEEP */
    uint64_t only_hit;  /* 0: every one */
    double probability; /* 1: always */
    atomic_ullong hits;
} Order;

enum { ORDERS_MAX = 32, BLOCK_STEP_MS = 1000 };

/* One plan per process, read from the environment at the first hit and then unchanged but for its counters.
 */
static struct {
    pthread_once_t once;
    Order orders[ORDERS_MAX];
    size_t count;
    const char *log_path;
    atomic_ullong random;
} plan = {.once = PTHREAD_ONCE_INIT};

/* A misspelt order would make a test pass that tests nothing. */
static _Noreturn void refuse(const char *text) {
    fprintf(stderr, "WALFERRY_FAULT: cannot read \"%s\"\n", text);
    abort();
}

static uint64_t number_after(const char *text) {
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0')
        refuse(text);
    return value;
}

static double probability_after(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 1))
        refuse(text);
    return value;
}

static ErrorKind kind_named(const char *name) {
    static const ErrorKind KINDS[] = {ERR_RETRY, ERR_CONFIG, ERR_LOST, ERR_PROTOCOL, ERR_DATA, ERR_LIMIT};
    for (size_t kind = 0; kind < sizeof KINDS / sizeof *KINDS; kind++)
        if (strcmp(name, error_kind_name(KINDS[kind])) == 0)
            return KINDS[kind];
    refuse(name);
}

static void action_read(Order *order, const char *action) {
    if (strcmp(action, "kill") == 0) {
        order->action = ACTION_KILL;
    } else if (strcmp(action, "block") == 0) {
        order->action = ACTION_BLOCK;
    } else if (strcmp(action, "fail") == 0) {
        order->action = ACTION_FAIL;
        order->kind = ERR_RETRY;
    } else if (strncmp(action, "fail:", 5) == 0) {
        order->action = ACTION_FAIL;
        order->kind = kind_named(action + 5);
    } else if (strncmp(action, "sleep:", 6) == 0) {
        order->action = ACTION_SLEEP;
        order->sleep_ms = (int64_t)number_after(action + 6);
    } else {
        refuse(action);
    }
}

/* point:action[@n][~p] */
static void order_read(Order *order, char *text) {
    char *rest = text;
    order->point = strsep(&rest, ":");
    if (rest == NULL || *order->point == '\0')
        refuse(text);
    char *action = strsep(&rest, "~");
    order->probability = rest != NULL ? probability_after(rest) : 1;
    rest = action;
    strsep(&rest, "@");
    order->only_hit = rest != NULL ? number_after(rest) : 0;
    if (rest != NULL && order->only_hit == 0)
        refuse(rest); /* hits are counted from 1 */
    action_read(order, action);
}

static void plan_read(void) {
    const char *seed = getenv("WALFERRY_FAULT_SEED");
    const char *text = getenv("WALFERRY_FAULT");
    plan.log_path = getenv("WALFERRY_FAULT_LOG");
    atomic_store(&plan.random, seed != NULL ? number_after(seed) : 1);
    if (text == NULL || *text == '\0')
        return;
    char *rest = memory_text(text); /* kept: the points' names lie in it */
    while (rest != NULL) {
        if (plan.count == ORDERS_MAX)
            refuse(text);
        order_read(&plan.orders[plan.count++], strsep(&rest, ","));
    }
}

/* From 0 to below 1: a counter stirred by splitmix64, so that threads share it without a lock. */
static double random_unit(void) {
    uint64_t value =
        atomic_fetch_add(&plan.random, UINT64_C(0x9E3779B97F4A7C15)) + UINT64_C(0x9E3779B97F4A7C15);
    value = (value ^ value >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ value >> 27) * UINT64_C(0x94D049BB133111EB);
    value ^= value >> 31;
    return (double)(value >> 11) / 9007199254740992.0; /* 53 bits over 2^53 */
}

/* Before the action, because it may be the last thing we do. */
static void log_acted(const char *point) {
    if (plan.log_path == NULL)
        return;
    char line[200];
    int length = snprintf(line, sizeof line, "%s\n", point);
    int fd = open(plan.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || length >= (int)sizeof line || write(fd, line, (size_t)length) != length)
        refuse(plan.log_path);
    close(fd);
}

static bool order_acts(Order *order) {
    uint64_t hit = atomic_fetch_add(&order->hits, 1) + 1;
    if (order->only_hit != 0 && order->only_hit != hit)
        return false;
    return order->probability >= 1 || random_unit() < order->probability;
}

static bool order_act(const Order *order, Error *e) {
    log_acted(order->point);
    switch (order->action) {
    case ACTION_KILL: kill(getpid(), SIGKILL); break;
    case ACTION_SLEEP: clock_sleep_ms(order->sleep_ms); break;
    case ACTION_BLOCK:
        for (;;)
            clock_sleep_ms(BLOCK_STEP_MS);
    case ACTION_FAIL:
        if (e != NULL)
            fail(e, order->kind, "fault point \"%s\" was told to fail", order->point);
        return false;
    }
    return true;
}

bool fault_hit(const char *point, Error *e) {
    pthread_once(&plan.once, plan_read);
    bool go_on = true;
    /* All orders of a point count each hit, also behind one that fails. */
    for (size_t number = 0; number < plan.count; number++) {
        Order *order = &plan.orders[number];
        if (strcmp(order->point, point) == 0 && order_acts(order) && !order_act(order, e))
            go_on = false;
    }
    return go_on;
}

#endif
