#include "job/supervise.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/retry.h"
#include "job/check.h"
#include "job/phases.h"
#include "job/reload_ask.h"

enum { WAIT_STEP_MS = 50, CHECK_AGAIN_MS = 250 };

static bool wait_or_stop(Job *job, int64_t wait_ms) {
    int64_t until_ms = clock_ms() + wait_ms;
    while (clock_ms() < until_ms && !atomic_load(&job->stop))
        clock_sleep_ms(WAIT_STEP_MS);
    return !atomic_load(&job->stop);
}

static const CheckItem *first_failed(const CheckReport *report) {
    for (int item = 0; item < report->count; item++)
        if (report->items[item].state == CHECK_FAILED)
            return &report->items[item];
    return NULL;
}

/* Without the name, where it begins with that: an error of Kafka's says where it comes from, and so does its item. */
static const char *seen_of(const CheckItem *item) {
    size_t length = strlen(item->name);
    bool twice = strncmp(item->seen, item->name, length) == 0 && strncmp(item->seen + length, ": ", 2) == 0;
    return twice ? item->seen + length + 2 : item->seen;
}

static bool check_result(const CheckReport *report, Error *e) {
    const CheckItem *failed = first_failed(report);
    for (int item = 0; item < report->count; item++)
        if (report->items[item].state == CHECK_ALERT)
            log_warn("check: %s: %s", report->items[item].name, seen_of(&report->items[item]));
    if (failed == NULL)
        return true;
    fail(e,
         report->lost          ? ERR_LOST
         : report->unreachable ? ERR_RETRY
                               : ERR_CONFIG,
         "check failed: %s: %s", failed->name, seen_of(failed));
    return fail_hint(e, "%s", failed->fix);
}

/* `run` makes the check itself; a Failed item ends it before anything is made. A server that goes down in the midst of it
 * is waited for as one that is not up yet. */
static bool check_passes(Job *job, Error *e) {
    CheckReport report;
    CheckOptions options = {.wait_ms = job->first_wait_ms};
    int64_t until_ms = clock_ms() + job->first_wait_ms;
    for (;;) {
        if (!check_run(job->cfg, &options, &report, e))
            return false;
        bool again = first_failed(&report) != NULL && report.unreachable && clock_ms() < until_ms;
        if (!again || !wait_or_stop(job, CHECK_AGAIN_MS))
            break;
        check_free(&report);
    }
    bool ok = check_result(&report, e);
    check_free(&report);
    return ok;
}

static uint64_t random_number(void) {
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint64_t)clock_us();
    return number;
}

/* Always false. */
static bool used_up(const Config *cfg, Error *e) {
    if (e->hint[0] == '\0')
        fail_hint(
            e,
            "it went on for longer than retry.%s (%lld s) allows: see to it and start again, which goes on "
            "from here",
            e->connection ? "connection" : "other",
            (long long)(e->connection ? cfg->retry.connection_ms : cfg->retry.other_ms) / 1000);
    return false;
}

/* True: try again. */
static bool try_again(Job *job, Retry *retry, int *protocol_errors, Error *e) {
    int64_t wait_ms = 0;
    if (!job->connected_once || atomic_load(&job->stop))
        return false;
    bool once_more = e->kind == ERR_PROTOCOL && (*protocol_errors)++ == 0;
    if (!once_more && e->kind != ERR_RETRY)
        return false;
    if (!once_more && !retry_again(retry, e, clock_ms(), random_number(), &wait_ms))
        return used_up(job->cfg, e);
    log_failure(LOG_WARN, e);
    atomic_fetch_add(&job->metrics->retries, 1);
    metrics_state(job->metrics, RUN_RETRYING, e->text);
    log_info("trying again in %lld ms (attempt %d)", (long long)wait_ms, retry->attempts);
    return wait_or_stop(job, wait_ms);
}

bool supervise(Job *job, Error *e) {
    const Config *cfg = job->cfg;
    Retry retry = retry_new(cfg->retry.connection_ms, cfg->retry.other_ms);
    int protocol_errors = 0;
    if (!check_passes(job, e))
        return false;
    for (;;) {
        Walk walk = {.job = job};
        bool ok = phases_walk(&walk, e);
        /* The stream ends for the tables; what waited for Kafka or a registry may have given up for that, too. */
        if ((ok || e->kind == ERR_STOPPED) && reload_is_wanted(job) && !atomic_load(&job->stop))
            continue;
        if (ok)
            return true;
        if (walk.progressed) {
            retry_progress(&retry);
            protocol_errors = 0;
        }
        if (e->kind == ERR_STOPPED)
            return true;
        if (!try_again(job, &retry, &protocol_errors, e))
            return atomic_load(&job->stop);
    }
}
