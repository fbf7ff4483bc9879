#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/screen.h"
#include "cli/view.h"
#include "core/clock.h"
#include "core/limit.h"
#include "core/log.h"
#include "job/control.h"
#include "job/plan.h"
#include "job/status.h"
#include "job/supervise.h"

enum {
    TICK_LIVE_MS = 200, /* on a terminal */
    TICK_MS = 1000,
    STOP_MS = 9000, /* a service manager's patience is 10 s */
    FIRST_LINE_MS = 10000,
    LINE_MS = 30000,
    LOAD_STEP_MS = 10000, /* a tenth more of the load is told at once, but not in a hurry */
    LINE_BYTES_MAX = 4096
};

typedef struct Run {
    const Arguments *arguments;
    Config *cfg;
    Metrics *metrics;
    Job *job;
    Control *control;
    Meter *meter;
    pthread_t main_thread;
    sigset_t awaited;
    atomic_bool ended; /* by the job's thread; ok and error are valid then */
    bool ok, live;
    Error error;
    int signals;         /* how many of them asked for the end */
    int64_t deadline_ms; /* monotonic; 0: nobody asked for the end */
    int64_t line_ms;     /* monotonic: when the last progress line was told */
    int64_t wait_ms;     /* how long after it the next one is due */
    int64_t line_bytes;  /* of the load, as it told */
} Run;

static void *job_thread(void *context) {
    Run *run = context;
    run->ok = supervise(run->job, &run->error);
    atomic_store(&run->ended, true);
    pthread_kill(run->main_thread, SIGUSR1);
    return NULL;
}

/* Every thread that is made later inherits this: signals are this thread's alone. SIGUSR1 is the job's thread
 * saying that it has ended. */
static void signals_block(Run *run) {
    sigset_t blocked;
    sigemptyset(&run->awaited);
    sigaddset(&run->awaited, SIGTERM);
    sigaddset(&run->awaited, SIGINT);
    sigaddset(&run->awaited, SIGUSR1);
    sigaddset(&run->awaited, SIGHUP);
    blocked = run->awaited;
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void signal_take(Run *run, int number) {
    if (number != SIGTERM && number != SIGINT)
        return;
    if (++run->signals > 1)
        _exit(number == SIGINT ? EXIT_INTERRUPTED : EXIT_DONE);
    log_info("stopping: what is applied is being confirmed; once more ends at once");
    metrics_activity(run->metrics, "stopping; once more ends at once");
    job_stop(run->job);
}

static void line_show(Run *run, const Progress *p, int64_t now_ms) {
    int64_t since_ms = now_ms - run->line_ms;
    bool step = progress_loads(p) && since_ms >= LOAD_STEP_MS &&
                p->load_bytes - run->line_bytes >= p->load_bytes_total / 10;
    if (since_ms < run->wait_ms && !step)
        return;
    run->line_ms = now_ms;
    run->wait_ms = LINE_MS;
    run->line_bytes = p->load_bytes;
    if (!progress_loads(p) && !progress_streams(p))
        return;
    Writer line = writer_new(LINE_BYTES_MAX);
    view_line(&line, p);
    log_info("%s", writer_string(&line));
    writer_free(&line);
}

static void progress_show(Run *run) {
    Progress p;
    meter_read(run->meter, clock_us(), &p);
    if (run->live)
        screen_draw(&p);
    else
        line_show(run, &p, clock_ms());
}

/* False: the end was asked for, and the job's thread did not come to it in time. */
static bool run_wait(Run *run) {
    int tick_ms = run->live ? TICK_LIVE_MS : TICK_MS;
    struct timespec tick = {.tv_sec = tick_ms / 1000, .tv_nsec = tick_ms % 1000 * 1000000L};
    while (!atomic_load(&run->ended)) {
        int number = sigtimedwait(&run->awaited, NULL, &tick);
        if (number > 0)
            signal_take(run, number);
        /* "walferry stop" asks, too, through the control socket */
        if (run->deadline_ms == 0 && atomic_load(&run->job->stop))
            run->deadline_ms = clock_ms() + STOP_MS;
        if (run->deadline_ms != 0 && clock_ms() >= run->deadline_ms)
            return atomic_load(&run->ended);
        progress_show(run);
    }
    return true;
}

static json_t *number_or_null(int64_t number) {
    return number < 0 ? json_null() : json_integer(number);
}

static void result_json(const Run *run, int64_t started_us, int code) {
    Metrics *m = run->metrics;
    Lsn applied = {atomic_load(&m->applied_lsn)};
    char lsn[LSN_TEXT_SIZE];
    json_t *out = json_object();
    json_object_set_new(out, "phase", json_string(phase_name((Phase)atomic_load(&m->phase))));
    json_object_set_new(out, "rows", json_integer(atomic_load(&m->rows_copied)));
    json_object_set_new(out, "changes", json_integer(atomic_load(&m->changes)));
    json_object_set_new(out, "transactions", json_integer(atomic_load(&m->transactions)));
    json_object_set_new(out, "conflicts", json_integer(atomic_load(&m->conflicts)));
    json_object_set_new(out, "dead_letters", json_integer(atomic_load(&m->dead_letters)));
    json_object_set_new(out, "left_out", json_integer(atomic_load(&m->left_out)));
    json_object_set_new(out, "bytes", json_integer(atomic_load(&m->bytes_copied) + atomic_load(&m->bytes)));
    json_object_set_new(out, "seconds", json_real((double)((clock_us() - started_us) / 1000) / 1000));
    json_object_set_new(out, "lag_ms", number_or_null(atomic_load(&m->lag_ms)));
    json_object_set_new(out, "peak_rss_bytes", json_integer(status_peak_rss_bytes()));
    json_object_set_new(out, "applied_lsn",
                        lsn_is_none(applied) ? json_null() : json_string(lsn_text(applied, lsn)));
    json_object_set_new(out, "exit", json_integer(code));
    char *text = json_dumps(out, JSON_REAL_PRECISION(15));
    puts(text);
    free(text);
    json_decref(out);
}

static void result_text(const Run *run) {
    Metrics *m = run->metrics;
    pthread_mutex_lock(&m->lock);
    int64_t retained_bytes = m->wal_status[0] == '\0' ? -1 : atomic_load(&m->retained_bytes);
    pthread_mutex_unlock(&m->lock);
    Writer line = writer_new(LINE_BYTES_MAX);
    plan_next(&line, run->cfg, arguments_job(run->arguments, 0), (Phase)atomic_load(&m->phase),
              retained_bytes);
    fputs(writer_string(&line), stdout);
    writer_free(&line);
}

/* Config, the socket and everything that the job's thread needs. */
static bool run_prepare(Run *run, Error *e) {
    run->cfg = arguments_config(run->arguments, 0, true, e);
    if (run->cfg == NULL)
        return false;
    if (run->arguments->from_debezium != NULL &&
        (run->cfg->kafka.brokers == NULL || run->cfg->target.dsn != NULL))
        return fail(e, ERR_CONFIG,
                    "\"--from-debezium\" needs a job with \"kafka.brokers\" and without \"target.dsn\"");
    if (run->arguments->until.kind != UNTIL_STOPPED && !run->cfg->phases.incremental) {
        fail(e, ERR_CONFIG, "\"--until\" needs the phase incremental, which this job does not have");
        return fail_hint(e, "without it a run ends by itself when the load is complete");
    }
    run->job = job_new(run->cfg, run->metrics);
    run->job->until = run->arguments->until;
    run->job->from_debezium = run->arguments->from_debezium;
    run->job->debezium_connector = run->arguments->debezium_connector;
    run->job->debezium_slot =
        run->arguments->debezium_slot != NULL ? run->arguments->debezium_slot : "debezium";
    run->job->first_wait_ms = run->arguments->wait_ms;
    signals_block(run);
    run->control = control_start(run->job, e);
    return run->control != NULL;
}

/* True when the job's thread is gone; else it lives on and only _exit may follow. */
static bool run_watch(Run *run) {
    pthread_t thread;
    run->main_thread = pthread_self();
    run->meter =
        meter_new(run->cfg, run->metrics, run->job->throttle, run->job->apply_throttle, run->job->started_us);
    run->live = !run->arguments->json && screen_possible();
    run->line_ms = clock_ms();
    run->wait_ms = FIRST_LINE_MS;
    if (run->live)
        screen_start();
    int why = pthread_create(&thread, NULL, job_thread, run);
    if (why != 0)
        limit_failed(&run->error, "make a thread", why);
    bool ended = why != 0 || run_wait(run);
    if (ended && why == 0)
        pthread_join(thread, NULL);
    if (run->live)
        progress_show(run);
    screen_end();
    return ended;
}

/* After the deadline the job's thread still uses everything, so nothing is freed. What it has not confirmed
 * is sent again by the source: ending here loses nothing. */
static void run_abandon(const Run *run, int64_t started_us) {
    log_warn(
        "the job did not settle within %d s: ending without it; the next run goes on from what was confirmed",
        STOP_MS / 1000);
    if (run->arguments->json)
        result_json(run, started_us, EXIT_DONE);
    fflush(stdout);
    unlink(run->cfg->control_socket);
    _exit(EXIT_DONE);
}

int cmd_run(const Arguments *arguments) {
    int64_t started_us = clock_us();
    Run run = {.arguments = arguments, .metrics = metrics_new()};
    run.ok = false;
    bool prepared = run_prepare(&run, &run.error);
    if (prepared && !run_watch(&run))
        run_abandon(&run, started_us);
    int code = run.ok ? EXIT_DONE : error_exit_code(run.error.kind);
    control_end(run.control);
    if (code != EXIT_DONE)
        cli_failed(&run.error);
    if (arguments->json)
        result_json(&run, started_us, code);
    else if (code == EXIT_DONE)
        result_text(&run);
    meter_free(run.meter);
    if (run.job != NULL)
        job_free(run.job);
    config_free(run.cfg);
    metrics_free(run.metrics);
    return code;
}
