#include "core/ledger.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/memory.h"

/* All that decides, in one plain struct: the same calls in the same order give the same state. */
typedef struct Positions {
    Lsn durable[LEDGER_SINKS_MAX], promised[LEDGER_SINKS_MAX];
    Lsn confirmed;
    Lsn last_commit; /* highest end read */
    Lsn idle;        /* the last keepalive outside BEGIN … COMMIT: every commit up to here has been read */
    Lsn wanted;      /* the position the sinks were last asked to promise */
    int64_t wanted_ms;
    int sinks;
    bool open; /* a BEGIN without its COMMIT */
} Positions;

struct Ledger {
    pthread_mutex_t lock;
    Positions at;
};

static Lsn smallest(const Lsn *positions, int count) {
    Lsn least = positions[0];
    for (int sink = 1; sink < count; sink++)
        least = lsn_min(least, positions[sink]);
    return least;
}

static bool in_flight(const Positions *p) {
    return p->open || lsn_before(smallest(p->durable, p->sinks), p->last_commit);
}

/* The only place where `confirmed` moves. */
static void advance(Positions *p) {
    Lsn upto = smallest(p->durable, p->sinks);
    /* Beyond the transactions' ends only to a position that every sink has noted; one that was never asked
     * for does not count, however many sinks noted it: only ledger_promise_wanted knows that nothing lies
     * before it. */
    if (!in_flight(p) && !lsn_before(smallest(p->promised, p->sinks), p->wanted))
        upto = lsn_max(upto, p->wanted);
    p->confirmed = lsn_max(p->confirmed, upto);
}

Ledger *ledger_new(int sinks, const Lsn *applied, Lsn confirmed) {
    assert(sinks >= 1 && sinks <= LEDGER_SINKS_MAX);
    Ledger *l = memory_new(sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    l->at.sinks = sinks;
    l->at.confirmed = confirmed;
    for (int sink = 0; sink < sinks; sink++)
        l->at.durable[sink] = applied[sink];
    advance(&l->at);
    return l;
}

void ledger_free(Ledger *l) {
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void ledger_begin(Ledger *l) {
    pthread_mutex_lock(&l->lock);
    l->at.open = true;
    pthread_mutex_unlock(&l->lock);
}

void ledger_commit(Ledger *l, Lsn end) {
    pthread_mutex_lock(&l->lock);
    l->at.open = false;
    l->at.last_commit = lsn_max(l->at.last_commit, end);
    pthread_mutex_unlock(&l->lock);
}

void ledger_idle(Ledger *l, Lsn wal_end) {
    pthread_mutex_lock(&l->lock);
    if (!l->at.open)
        l->at.idle = wal_end;
    pthread_mutex_unlock(&l->lock);
}

void ledger_durable(Ledger *l, int sink, Lsn end) {
    pthread_mutex_lock(&l->lock);
    Positions *p = &l->at;
    assert(sink >= 0 && sink < p->sinks);
    assert(!lsn_before(lsn_max(p->durable[sink], p->last_commit), end)); /* nobody has what was never read */
    p->durable[sink] = lsn_max(p->durable[sink], end);
    advance(p);
    pthread_mutex_unlock(&l->lock);
}

static Lsn promise_wanted(Positions *p, int64_t now_ms) {
    if (in_flight(p))
        return LSN_NONE;
    if (lsn_before(p->confirmed, p->wanted))
        return p->wanted;
    if (lsn_distance_bytes(p->confirmed, p->idle) < LEDGER_IDLE_BYTES)
        return LSN_NONE;
    if (!lsn_is_none(p->wanted) && now_ms - p->wanted_ms < LEDGER_IDLE_MS)
        return LSN_NONE;
    p->wanted = p->idle;
    p->wanted_ms = now_ms;
    return p->wanted;
}

Lsn ledger_promise_wanted(Ledger *l, int64_t now_ms) {
    pthread_mutex_lock(&l->lock);
    Lsn wanted = promise_wanted(&l->at, now_ms);
    pthread_mutex_unlock(&l->lock);
    return wanted;
}

void ledger_promised(Ledger *l, int sink, Lsn upto) {
    pthread_mutex_lock(&l->lock);
    assert(sink >= 0 && sink < l->at.sinks);
    l->at.promised[sink] = lsn_max(l->at.promised[sink], upto);
    advance(&l->at);
    pthread_mutex_unlock(&l->lock);
}

Lsn ledger_confirmed(Ledger *l) {
    pthread_mutex_lock(&l->lock);
    Lsn confirmed = l->at.confirmed;
    pthread_mutex_unlock(&l->lock);
    return confirmed;
}

bool ledger_in_flight(Ledger *l) {
    pthread_mutex_lock(&l->lock);
    bool busy = in_flight(&l->at);
    pthread_mutex_unlock(&l->lock);
    return busy;
}

Lsn ledger_last_commit(Ledger *l) {
    pthread_mutex_lock(&l->lock);
    Lsn last = l->at.last_commit;
    pthread_mutex_unlock(&l->lock);
    return last;
}
