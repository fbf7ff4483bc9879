#include "sink/postgres/runs.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sqlstate.h"
#include "sink/postgres/alone.h"
#include "sink/postgres/apply_commit.h"
#include "sink/postgres/catchup.h"
#include "sink/postgres/touched.h"

enum {
    LEARNT_RUNS = 8, /* a table's rows are bound for so many runs, */
    LEARNT_RUNS_MAX = 1024
};

typedef enum LaneState { LANE_PARTLY, LANE_WHOLE, LANE_BACK } LaneState;

typedef struct Lane {
    ApplySession own;      /* pg NULL: not connected */
    ApplySession *session; /* own, or the in-order one */
    Group group;           /* of its run */
    LaneState state;       /* of that run, as runs.h tells */
    Error failure;         /* of what was sent, seen before its turn; ERR_NONE: none */
    bool unsendable;
    Touched *touched;
} Lane;

/* By the table's name at the destination, because each session has plans of its own. */
typedef struct Learnt {
    char *table;
    uint64_t until; /* this run */
    uint32_t runs;
    UT_hash_handle hh;
} Learnt;

struct Runs {
    Lane lanes[WORKERS_MOST];
    Live *lives[WORKERS_MOST]; /* of the lanes */
    int count;
    int first, under_way; /* from the oldest on; the lane behind them is the next */
    bool alone;           /* the youngest is */
    uint64_t number;      /* runs so far */
    int64_t waited_ms;    /* for the oldest, with the next one collected */
    Workers workers;
    Learnt *learnt;
};

static Lane *lane_at(Runs *runs, int number) {
    return &runs->lanes[(runs->first + number) % runs->count];
}

int runs_lanes(const Sink *s) {
    return s->runs->count;
}

/* ---- what is learnt ---- */

static void learn(Runs *runs, const Plan *plan) {
    Learnt *learnt;
    if (plan == NULL)
        return;
    HASH_FIND_STR(runs->learnt, plan->table, learnt);
    if (learnt == NULL) {
        learnt = memory_new(sizeof *learnt);
        learnt->table = memory_text(plan->table);
        learnt->runs = LEARNT_RUNS / 2;
        HASH_ADD_KEYPTR(hh, runs->learnt, learnt->table, strlen(learnt->table), learnt);
    }
    learnt->runs = learnt->runs * 2 > LEARNT_RUNS_MAX ? LEARNT_RUNS_MAX : learnt->runs * 2;
    learnt->until = runs->number + learnt->runs;
    log_debug("rows of %s wait for earlier runs, for %" PRIu32 " runs from here on", plan->table,
              learnt->runs);
}

static void tables_bind(Runs *runs, NetTable *tables) {
    for (NetTable *table = tables; table != NULL; table = table->next) {
        Learnt *learnt;
        HASH_FIND_STR(runs->learnt, table->plan->table, learnt);
        table->bound = learnt != NULL && runs->number < learnt->until;
    }
}

static void learnt_free(Runs *runs) {
    Learnt *learnt, *next;
    HASH_ITER (hh, runs->learnt, learnt, next) {
        HASH_DEL(runs->learnt, learnt);
        free(learnt->table);
        free(learnt);
    }
}

/* ---- lanes ---- */

static void lanes_use(Sink *s, int count) {
    Runs *runs = s->runs;
    for (int at = 0; at < count; at++) {
        Lane *lane = &runs->lanes[at];
        lane->session = count == 1 ? &s->session : &lane->own;
        lane->session->sent_bytes_max = SETS_SENT_BYTES_MAX / (size_t)count;
        runs->lives[at] = lane->session->live;
        live_beside(lane->session->live, runs->lives, &runs->count);
        if (lane->touched == NULL)
            lane->touched = touched_new();
    }
    runs->count = count;
    runs->first = 0;
    atomic_store(&s->options.metrics->workers, count);
}

static bool lane_connect(Sink *s, Lane *lane, Error *e) {
    if (lane->own.pg != NULL)
        return true;
    if (!apply_open_beside(s, &lane->own, e)) {
        apply_session_close(&lane->own);
        return false;
    }
    lane->own.end_other = runs_end;
    lane->own.end_form = runs_end_here;
    return true;
}

/* How many of them there are now. A single one is the in-order connection's. */
static int lanes_connect(Sink *s, int wanted) {
    Error e;
    int had = 0;
    while (wanted > 1 && had < wanted && lane_connect(s, &s->runs->lanes[had], &e))
        had++;
    had = had > 1 ? had : 1;
    if (had < wanted) {
        log_info("changes are applied on %d connections, not on %d: %s", had, wanted, e.text);
        workers_limit(&s->runs->workers, had);
    }
    for (int at = had > 1 ? had : 0; at < WORKERS_MOST; at++)
        apply_session_close(&s->runs->lanes[at].own);
    return had;
}

Runs *runs_new(Sink *s) {
    Runs *runs = s->runs = memory_new(sizeof *s->runs);
    int wanted = s->options.cfg->target.workers;
    workers_begin(&runs->workers, wanted, workers_cores());
    s->session.end_other = runs_end;
    s->session.end_form = runs_end_here;
    lanes_use(s, 1);
    return runs;
}

void runs_free(Sink *s) {
    Runs *runs = s->runs;
    if (runs == NULL)
        return;
    for (int at = 0; at < WORKERS_MOST; at++) {
        group_free(&runs->lanes[at].group);
        touched_free(runs->lanes[at].touched);
        apply_session_close(&runs->lanes[at].own);
    }
    learnt_free(runs);
    free(runs);
    s->runs = NULL;
}

bool runs_begin(Sink *s, Error *e) {
    Runs *runs = s->runs;
    if (runs->workers.now != runs->count) {
        if (!runs_end(s, e))
            return false;
        lanes_use(s, lanes_connect(s, runs->workers.now));
        log_debug("changes are applied on %d connections", runs->count);
    }
    s->at = lane_at(runs, runs->under_way)->session;
    return true;
}

void runs_rest(Sink *s) {
    workers_rest(&s->runs->workers);
}

/* ---- sending ---- */

static bool lane_roll_back(Sink *s, Lane *lane, Error *e) {
    live_cancel(lane->session->live);
    catchup_take_back(lane->session);
    bool ok = apply_session_roll_back(lane->session, e) && group_prepare_on(s, lane->session, e);
    lane->state = LANE_BACK;
    lane->failure = (Error){.kind = ERR_NONE};
    lane->session->doubted = NULL; /* the cancelled one */
    return ok;
}

/* Everything that is not sent yet, of the oldest. Its own earlier statements are no other ones. */
static bool oldest_send(Sink *s, Lane *lane, Error *e) {
    ApplySession *session = lane->session;
    assert(!s->broken);
    session->end_other = NULL;
    lane->state = LANE_WHOLE;
    bool ok = catchup_send_rest(session, e) && apply_session_begin(session, e) &&
              group_send_progress(s, session, &lane->group, e) && live_push(session->live, e);
    session->end_other = runs_end;
    if (!ok)
        lane->failure = *e;
    return ok;
}

/* What may go although older runs are not committed. */
static bool younger_send(Lane *lane, Error *e) {
    ApplySession *session = lane->session;
    session->end_other = NULL;
    session->hurried = true;
    atomic_fetch_add(&session->options->metrics->runs_early, 1);
    lane->state = LANE_PARTLY;
    bool ok = catchup_send_free(session, e) && live_push(session->live, e) && FAULT("runs.sent_early", e);
    session->end_other = runs_end;
    if (!ok)
        lane->failure = *e;
    return ok;
}

/* ---- the oldest ---- */

/* What the run did not do by itself: it was hurried, or it and a younger one waited for each other. */
static bool is_worth_its_turn(const Sink *s, const Lane *lane, const Error *e) {
    bool deadlock = sqlstate_is(e, SQLSTATE_DEADLOCK_DETECTED);
    if (lane->unsendable || !lsn_before(s->applied, lane->group.end))
        return false;
    return (e->kind == ERR_DATA && lane->session->hurried) ||
           (deadlock && (lane->session->hurried || s->runs->under_way > 1));
}

static bool younger_roll_back(Sink *s, Error *e) {
    Runs *runs = s->runs;
    for (int number = 1; number < runs->under_way; number++) {
        Lane *lane = lane_at(runs, number);
        if (lane->session->open && !lane_roll_back(s, lane, e))
            return false;
    }
    return true;
}

static bool oldest_again(Sink *s, Lane *lane, Error *e) {
    Runs *runs = s->runs;
    bool all = sqlstate_is(e, SQLSTATE_DEADLOCK_DETECTED);
    log_debug("a run of %" PRIu32 " transactions that was sent before its turn is sent again: %s",
              lane->group.transactions, e->text);
    atomic_fetch_add(&s->options.metrics->runs_again, 1);
    learn(runs, lane->session->doubted);
    error_clear(e);
    return (!all || younger_roll_back(s, e)) && lane_roll_back(s, lane, e);
}

static void oldest_pop(Runs *runs) {
    Lane *lane = lane_at(runs, 0);
    lane->session->hurried = false;
    touched_clear(lane->touched);
    runs->first = (runs->first + 1) % runs->count;
    runs->under_way--;
    runs->alone = runs->alone && runs->under_way > 0;
}

/* The one behind the oldest has become the oldest. What fails of it is told when it is its turn to be committed. */
static void next_send(Sink *s) {
    Lane *lane = lane_at(s->runs, 0);
    Error kept;
    if (s->runs->under_way > 0 && lane->state != LANE_WHOLE && lane->failure.kind == ERR_NONE)
        oldest_send(s, lane, &kept);
}

/* Nothing behind what was refused may be tried. */
static void runs_drop(Runs *runs) {
    for (; runs->under_way > 0; oldest_pop(runs)) {
        collected_sent_forget(lane_at(runs, 0)->session->collected);
        group_clear(&lane_at(runs, 0)->group);
    }
}

/* It is right to refuse it: nothing may run beside what is done then on the in-order connection. */
static bool oldest_refused(Sink *s, Lane *lane, Error *e) {
    Runs *runs = s->runs;
    Error refused = *e;
    Group group = lane->group;
    lane->group = (Group){0};
    bool ok = younger_roll_back(s, e) &&
              (lane->session == &s->session ||
               (apply_session_reset(lane->session, e) && group_prepare_on(s, lane->session, e)));
    oldest_pop(runs);
    int hidden = runs->under_way;
    runs->under_way = 0;
    if (ok) {
        *e = refused;
        ok = alone_again(s, &group, group.end, false, e);
    }
    runs->under_way = hidden;
    group_free(&group);
    if (ok)
        next_send(s);
    else
        runs_drop(runs);
    return ok;
}

static bool oldest_commit(Sink *s, Lane *lane, Error *e) {
    if (lane->failure.kind != ERR_NONE) {
        *e = lane->failure;
        return false;
    }
    return (lane->state == LANE_WHOLE || oldest_send(s, lane, e)) &&
           group_commit_sent(s, lane->session, &lane->group, e);
}

static bool oldest_end(Sink *s, Error *e) {
    Runs *runs = s->runs;
    Lane *lane = lane_at(runs, 0);
    bool ok = false, again = true;
    apply_tell_who_works(lane->session);
    while (!ok && again) {
        ok = oldest_commit(s, lane, e);
        again = !ok && !apply_session_is_lost(lane->session, e) && is_worth_its_turn(s, lane, e) &&
                oldest_again(s, lane, e);
    }
    apply_tell_who_works(&s->session);
    if (!ok)
        return e->kind == ERR_DATA && !apply_session_is_lost(lane->session, e) && oldest_refused(s, lane, e);
    workers_note(&runs->workers, clock_ms(), (int64_t)lane->group.changes, runs->waited_ms);
    runs->waited_ms = 0;
    group_clear(&lane->group);
    oldest_pop(runs);
    next_send(s);
    return group_trim(s, e);
}

bool runs_end(void *sink, Error *e) {
    Sink *s = sink;
    while (s->runs->under_way > 0)
        if (!oldest_end(s, e))
            return false;
    return true;
}

bool runs_end_here(void *sink, Error *e) {
    Sink *s = sink;
    Runs *runs = s->runs;
    if (runs->alone)
        return runs_end(s, e);
    return runs->under_way == 0 || lane_at(runs, 0)->session != s->at || oldest_end(s, e);
}

bool runs_go_on(Sink *s, Error *e) {
    Runs *runs = s->runs;
    for (int number = 0; number < runs->under_way; number++)
        live_pump(lane_at(runs, number)->session->live);
    while (runs->count > 1 && runs->under_way > 0 &&
           live_outstanding(lane_at(runs, 0)->session->live) == NULL)
        if (!oldest_end(s, e))
            return false;
    return true;
}

/* ---- the youngest ---- */

/* A lane is free. */
static bool lane_wait(Sink *s, Error *e) {
    Runs *runs = s->runs;
    int64_t began_ms = clock_ms();
    bool waits = runs->under_way == runs->count;
    if (runs->alone)
        return runs_end(s, e);
    if (!waits)
        return true;
    bool ok = oldest_end(s, e);
    runs->waited_ms += clock_ms() - began_ms;
    return ok;
}

static void touched_of(Runs *runs, Lane *lane) {
    Touched *older[WORKERS_MOST];
    NetTable *tables = catchup_closed(lane->session);
    for (int number = 0; number < runs->under_way; number++)
        older[number] = lane_at(runs, number)->touched;
    tables_bind(runs, tables);
    touched_add(lane->touched, tables, older, runs->under_way);
}

static void lane_take(Sink *s, Lane *lane) {
    Group empty = lane->group;
    lane->group = s->group;
    s->group = empty;
    lane->group.left_out = lane->session->counts.left_out;
    lane->session->counts.left_out = 0;
    lane->failure = (Error){.kind = ERR_NONE};
    lane->unsendable = false;
    lane->session->doubted = NULL;
    s->runs->number++;
}

bool runs_send(Sink *s, Error *e) {
    Runs *runs = s->runs;
    Error kept;
    assert(!s->group.inside && !lsn_is_none(s->group.end));
    if (!lane_wait(s, e))
        return false;
    Lane *lane = lane_at(runs, runs->under_way);
    assert(lane->session == s->at);
    runs->alone = s->at->open;
    lane_take(s, lane);
    lane->unsendable = !catchup_close(lane->session, &lane->failure);
    if (!lane->unsendable && runs->count > 1)
        touched_of(runs, lane);
    if (runs->under_way++ == 0)
        return (!lane->unsendable && oldest_send(s, lane, &kept)) || oldest_end(s, e);
    if (!lane->unsendable)
        younger_send(lane, &kept); /* a failure is told when it is its turn */
    return true;
}

/* ---- for in_the_way.h ---- */

int runs_open(const Sink *s, const ApplySession *besides, int *pids) {
    int count = 0;
    for (int number = 1; number < s->runs->under_way; number++) {
        const ApplySession *session = lane_at(s->runs, number)->session;
        if (session->open && session != besides)
            pids[count++] = session->pg->backend_pid;
    }
    return count;
}

bool runs_give_way(Sink *s, const ApplySession *waiter, int pid, Error *e) {
    for (int number = 1; number < s->runs->under_way; number++) {
        Lane *lane = lane_at(s->runs, number);
        if (!lane->session->open || lane->session->pg->backend_pid != pid)
            continue;
        const LiveNote *note = live_outstanding(waiter->live);
        log_debug("a run of %" PRIu32 " transactions is in the way of an older one",
                  lane->group.transactions);
        atomic_fetch_add(&s->options.metrics->runs_again, 1);
        learn(s->runs, note == NULL ? NULL : catchup_plan_of(note));
        return lane_roll_back(s, lane, e);
    }
    return true;
}
