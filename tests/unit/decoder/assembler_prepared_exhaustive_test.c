/* Assembler, ledger, a server that sends prepared transactions, and a destination that prepares them, with crashes of
 * all three: a transaction whose rows come with its PREPARE, one that is streamed, one that only locks rows (its COMMIT
 * PREPARED is all of it), and an ordinary one; every order of their parts and every outcome; two-phase asked for at any
 * point of the history, up to which a job without it has applied everything; and after each of the destination's
 * commits a crash, which also takes back what was not flushed, from which a new session begins.
 *
 * The server's rule (PostgreSQL 15 to 18): a PREPARE is sent iff its record is not before the point where decoding
 * begins; at COMMIT PREPARED the rows come (again) iff the PREPARE's record is before the point where the slot was first
 * asked for two-phase. The destination does what sink/postgres/apply_prepared.h says: PREPARE TRANSACTION and its outcome are
 * flushed commits of their own, the progress moves in the next one, which need not be flushed.
 *
 * Checked: each commit at the destination is the next of the source's, once (I1, I2, I4); nothing that it lacks is
 * confirmed (I6); at the end all of it is there, and nothing is left prepared. */
#include "core/ledger.h"
#include "data/assembling.h"

enum { WHOLE, STREAMED, LOCKS, ORDINARY, TRANSACTIONS };
enum { PARTS = 7, OUTCOMES = 8, LAGS = 3, FRAMES_MAX = 80, STATES_MAX = 4000, UNFLUSHED_MAX = PARTS + 1 };
#define UNIT (UINT64_C(50) << 20) /* far enough for an idle position to be worth a promise */

/* Slow builds try one order of many. */
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
enum { ORDERS_LEFT_OUT = 37 };
#else
enum { ORDERS_LEFT_OUT = 1 };
#endif

typedef enum PartKind { PART_ROWS, PART_PREPARE, PART_DECIDE, PART_COMMIT } PartKind;

typedef struct Part {
    int tx;
    PartKind kind;
} Part;

static const Part PARTS_OF[TRANSACTIONS][3] = {
    {{WHOLE, PART_PREPARE}, {WHOLE, PART_DECIDE}},
    {{STREAMED, PART_ROWS}, {STREAMED, PART_PREPARE}, {STREAMED, PART_DECIDE}},
    {{LOCKS, PART_DECIDE}},
    {{ORDINARY, PART_COMMIT}}};
static const int PART_COUNTS[TRANSACTIONS] = {2, 3, 1, 1};

typedef struct History {
    Part parts[PARTS];
    unsigned outcomes; /* a bit for each transaction that is committed */
    int began;         /* two-phase was first asked for in front of this part */
    int promised;      /* 1, 2: and the slot stood there; 0: where the last transaction before it ended */
    Lsn two_phase_at;
    int place_of[TRANSACTIONS][PART_COMMIT + 1];
} History;

static Lsn place(int part) {
    return (Lsn){(uint64_t)(part + 1) * UNIT};
}
static Lsn end_of(int part) {
    return (Lsn){place(part).at + 8};
}
static unsigned bit(int tx) {
    return 1u << tx;
}
static int xid_of(int tx) {
    return 10 * (tx + 1);
}
static bool has_outcome(PartKind kind) {
    return kind == PART_DECIDE || kind == PART_COMMIT;
}

/* ---- the server ---- */

typedef struct Sent {
    Slice bytes[FRAMES_MAX];
    Lsn position[FRAMES_MAX]; /* what a keepalive behind the frame would say */
    size_t offsets[FRAMES_MAX + 1];
    int count;
    Writer memory;
} Sent;

__attribute__((format(printf, 3, 4))) static void say(Sent *sent, Lsn position, const char *format, ...) {
    char line[100];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert_true(sent->count < FRAMES_MAX);
    frame_write(&sent->memory, line);
    sent->position[sent->count++] = position;
    sent->offsets[sent->count] = sent->memory.len;
}

/* Inside of it a keepalive must not count: there it lies, and says it is beyond all. */
static void say_rows(Sent *sent, int tx, char begin, int part) {
    Lsn lie = place(PARTS), at = place(part);
    if (begin == 'B')
        say(sent, lie, "B %d %llu", xid_of(tx), (unsigned long long)at.at);
    else
        say(sent, lie, "b %d %llu %llu", xid_of(tx), (unsigned long long)at.at,
            (unsigned long long)at.at + 8);
    say(sent, lie, "R 1 t id*");
    say(sent, lie, "I 1 %d", tx);
}

/* b … P of what is prepared at `part`, sent when the record of `now` is read. */
static void say_prepared(Sent *sent, int tx, int part, int now) {
    Lsn behind = part == now ? (Lsn){place(now).at + UNIT / 2} : place(PARTS);
    say_rows(sent, tx, 'b', part);
    say(sent, behind, "P %d %llu %llu", xid_of(tx), (unsigned long long)place(part).at,
        (unsigned long long)end_of(part).at);
}

static void say_stream(Sent *sent, int tx, int part) {
    say(sent, place(part), "S %d first", xid_of(tx));
    say(sent, place(part), "%d:R 1 t id*", xid_of(tx));
    say(sent, place(part), "%d:I 1 %d", xid_of(tx), tx);
    say(sent, (Lsn){place(part).at + UNIT / 2}, "E");
}

static void serve_part(const History *h, int number, bool *streamed, Sent *sent) {
    const Part *part = &h->parts[number];
    int tx = part->tx, prepared_at = h->place_of[tx][PART_PREPARE];
    Lsn at = place(number), behind = {at.at + UNIT / 2};
    unsigned long long record = at.at, end = end_of(number).at;
    bool commits = (h->outcomes & bit(tx)) != 0;
    switch (part->kind) {
    case PART_ROWS:
        say_stream(sent, tx, number);
        *streamed = true;
        break;
    case PART_PREPARE:
        if (tx == STREAMED && *streamed)
            say(sent, behind, "p %d %llu %llu", xid_of(tx), record, end);
        else
            say_prepared(sent, tx, number, number);
        break;
    case PART_DECIDE:
        if (tx != LOCKS && commits && lsn_before(place(prepared_at), h->two_phase_at))
            say_prepared(sent, tx, prepared_at, number);
        if (commits)
            say(sent, behind, "K %d %llu %llu", xid_of(tx), record, end);
        else
            say(sent, behind, "r %d %llu %llu", xid_of(tx), record - UNIT / 2, end);
        break;
    case PART_COMMIT:
        say_rows(sent, tx, 'B', number);
        say(sent, behind, "C %llu %llu", record, end);
        break;
    }
}

static void serve(const History *h, Lsn start, Sent *sent) {
    bool streamed = false;
    sent->count = 0;
    writer_reset(&sent->memory);
    for (int part = 0; part < PARTS; part++)
        if (!lsn_before(place(part), start))
            serve_part(h, part, &streamed, sent);
    for (int frame = 0; frame < sent->count; frame++)
        sent->bytes[frame] =
            (Slice){sent->memory.at + sent->offsets[frame], sent->offsets[frame + 1] - sent->offsets[frame]};
}

/* ---- the destination ---- */

typedef struct Target {
    unsigned committed, aborted; /* transactions, as it knows them itself */
    unsigned prepared;           /* waiting there */
    unsigned noted;              /* in the table */
    Lsn applied;
} Target;

/* What survives a crash. */
typedef struct State {
    Target target;
    Lsn slot;
} State;

typedef struct Search {
    History history;
    State states[STATES_MAX];
    int state_count;
    uint64_t histories, all_states, sessions, steps;
} Search;

typedef struct Session {
    Search *search;
    const History *h;
    Target target;
    Target unflushed[UNFLUSHED_MAX]; /* what a crash may bring back, the flushed one first */
    int unflushed_count;
    Lsn slot, slot_before, skip;
    Bench b;
    Ledger *ledger;
    int lag; /* so many commits of the progress stay unflushed */
    int64_t now_ms;
    unsigned rows; /* bits of the rows in the transaction that is being received */
} Session;

static void state_note(Search *s, const Target *target, Lsn slot) {
    for (int number = 0; number < s->state_count; number++) {
        const State *known = &s->states[number];
        if (known->target.committed == target->committed && known->target.aborted == target->aborted &&
            known->target.prepared == target->prepared && known->target.noted == target->noted &&
            lsn_equal(known->target.applied, target->applied) && lsn_equal(known->slot, slot))
            return;
    }
    assert_true(s->state_count < STATES_MAX);
    s->states[s->state_count++] = (State){*target, slot};
}

/* walferry may end here, the source, or the destination with anything that was not flushed. */
static void crash_note(Session *s) {
    s->search->steps++;
    for (int back = 0; back < s->unflushed_count; back++) {
        state_note(s->search, &s->unflushed[back], s->slot);
        state_note(s->search, &s->unflushed[back], s->slot_before);
    }
}

/* Everything up to now is on the disk. */
static void target_flush(Session *s) {
    s->unflushed[0] = s->target;
    s->unflushed_count = 1;
}

static void target_write(Session *s) {
    assert_true(s->unflushed_count < UNFLUSHED_MAX);
    s->unflushed[s->unflushed_count++] = s->target;
    while (s->unflushed_count > s->lag + 1)
        memmove(&s->unflushed[0], &s->unflushed[1], (size_t)--s->unflushed_count * sizeof s->unflushed[0]);
}

/* The next that the source has committed, of those that change something. */
static int next_commit(const History *h, unsigned committed) {
    for (int part = 0; part < PARTS; part++) {
        int tx = h->parts[part].tx;
        if (has_outcome(h->parts[part].kind) && tx != LOCKS && (h->outcomes & bit(tx)) != 0 &&
            (committed & bit(tx)) == 0)
            return tx;
    }
    return TRANSACTIONS;
}

static void target_commit(Session *s, int tx) {
    assert_int_equal(tx, next_commit(s->h, s->target.committed));
    s->target.committed |= bit(tx);
}

static void progress_move(Session *s, Lsn end) {
    assert_true(lsn_before(s->target.applied, end));
    s->target.applied = end;
    target_write(s);
    crash_note(s);
    ledger_durable(s->ledger, 0, s->unflushed[0].applied);
}

static void sink_prepare(Session *s, int tx) {
    assert_int_equal(s->rows, bit(tx));
    assert_int_equal((s->target.committed | s->target.prepared) & bit(tx), 0);
    s->target.prepared |= bit(tx);
    target_flush(s);
    crash_note(s);
    s->target.noted |= bit(tx);
}

static void sink_finish(Session *s, int tx, bool commits) {
    assert_int_equal(s->rows, 0);
    if ((s->target.noted & bit(tx)) == 0)
        return;
    if ((s->target.prepared & bit(tx)) == 0) { /* finished before a crash */
        assert_true(((commits ? s->target.committed : s->target.aborted) & bit(tx)) != 0);
    } else {
        s->target.prepared &= ~bit(tx);
        if (commits)
            target_commit(s, tx);
        else
            s->target.aborted |= bit(tx);
        target_flush(s);
        crash_note(s);
    }
    s->target.noted &= ~bit(tx);
}

static void sink_transaction(Session *s, const Transaction *tx) {
    int which = (int)tx->xid / 10 - 1;
    assert_true(which >= 0 && which < TRANSACTIONS);
    switch (tx->ending) {
    case TRANSACTION_COMMITS:
        assert_int_equal(s->rows, bit(which));
        target_commit(s, which);
        break;
    case TRANSACTION_PREPARES: sink_prepare(s, which); break;
    case TRANSACTION_COMMITS_PREPARED: sink_finish(s, which, true); break;
    case TRANSACTION_ROLLS_BACK_PREPARED: sink_finish(s, which, false); break;
    }
    progress_move(s, tx->end);
}

static void sink_receive(Session *s, const Transaction *tx) {
    if (tx->begins)
        s->rows = 0;
    for (uint32_t change = 0; change < tx->count; change++)
        s->rows |= bit(tx->changes[change].row.after[0].bytes.at[0] - '0');
    if (tx->ends && lsn_before(s->skip, tx->end))
        sink_transaction(s, tx);
}

/* Rolls back what is prepared beyond the progress. */
static void target_recover(const History *h, Target *target) {
    for (int tx = 0; tx < LOCKS; tx++)
        if ((target->prepared & bit(tx)) != 0 &&
            lsn_before(target->applied, end_of(h->place_of[tx][PART_PREPARE])))
            target->prepared &= ~bit(tx);
}

/* ---- a session ---- */

static void take_all(Session *s, bool flush) {
    for (;;) {
        Batch *batch;
        if (!assembler_take(s->b.assembler, flush, &batch, &s->b.e))
            fail_test("%s", s->b.e.text);
        if (batch == NULL)
            return;
        for (uint32_t tx = 0; tx < batch->count; tx++)
            sink_receive(s, &batch->transactions[tx]);
        batch_drop(batch);
    }
}

/* The record of everything that is not on the destination's disk lies where the server would still send it. */
static void oracle(const Session *s) {
    Lsn confirmed = ledger_confirmed(s->ledger);
    for (int part = s->h->began; part < PARTS; part++) {
        bool ends = s->h->parts[part].kind != PART_ROWS;
        if (ends && lsn_before(s->unflushed[0].applied, end_of(part)) && lsn_before(place(part), confirmed))
            fail_test("%llu is confirmed, the part at %llu is not durable", (unsigned long long)confirmed.at,
                      (unsigned long long)place(part).at);
    }
}

/* Promises are made as soon as they are wanted, and the source hears at once of what is confirmed. */
static void tell(Session *s) {
    Lsn wanted = ledger_promise_wanted(s->ledger, s->now_ms += LEDGER_IDLE_MS);
    if (!lsn_is_none(wanted)) {
        target_flush(s);
        ledger_promised(s->ledger, 0, wanted);
    }
    oracle(s);
    s->slot = ledger_confirmed(s->ledger);
    crash_note(s);
}

static void session_begin(Session *s, Search *search, const State *from, Lsn start, int lag) {
    *s = (Session){.search = search, .h = &search->history, .target = from->target, .lag = lag};
    s->slot = s->slot_before = from->slot;
    target_recover(s->h, &s->target);
    target_flush(s);
    s->skip = s->target.applied;
    s->ledger = ledger_new(1, &s->skip, lsn_max(s->skip, from->slot));
    bench_init(&s->b);
    s->b.options.batch_changes = lag % 2 == 0 ? 1000 : 1;
    s->b.options.two_phase = true;
    s->b.options.late_before = start;
    bench_begin(&s->b, s->ledger);
}

/* The commit that the settling of an idle sink makes. */
static void session_end(Session *s) {
    take_all(s, true);
    target_flush(s);
    ledger_durable(s->ledger, 0, s->target.applied);
    tell(s);
    assert_int_equal(next_commit(s->h, s->target.committed), TRANSACTIONS);
    assert_int_equal(s->target.prepared | s->target.noted, 0);
    assert_false(ledger_in_flight(s->ledger));
    bench_end(&s->b);
    ledger_free(s->ledger);
}

static void session_run(Search *search, const State *from, Lsn start, const Sent *sent, int lag,
                        bool keepalives) {
    Session s;
    session_begin(&s, search, from, start, lag);
    for (int frame = 0; frame < sent->count; frame++) {
        Slice bytes;
        void *memory = frame_give(sent->bytes[frame], &bytes);
        if (!assembler_feed(s.b.assembler, LSN_NONE, bytes, memory, bytes.len, &s.b.e))
            fail_test("%s", s.b.e.text);
        take_all(&s, lag < 2);
        if (keepalives)
            ledger_idle(s.ledger, sent->position[frame]);
        tell(&s);
    }
    session_end(&s);
    search->sessions++;
}

/* The server begins where the destination is, or where the slot is when that is farther. */
static void expand(Search *search, const State *from, Sent *sent) {
    Lsn start = lsn_max(from->target.applied, from->slot);
    serve(&search->history, start, sent);
    for (int lag = 0; lag < LAGS; lag++)
        for (int keepalives = 0; keepalives < 2; keepalives++)
            session_run(search, from, start, sent, lag, keepalives == 1);
}

/* ---- all of it ---- */

/* What a job without two-phase has applied in front of the part where it is asked for. */
static State state_first(History *h) {
    State first = {.slot = {UNIT / 2}};
    first.target.applied = first.slot;
    for (int part = 0; part < h->began; part++) {
        int tx = h->parts[part].tx;
        if (!has_outcome(h->parts[part].kind) || tx == LOCKS || (h->outcomes & bit(tx)) == 0)
            continue;
        first.target.committed |= bit(tx);
        first.target.applied = first.slot = end_of(part);
    }
    if (h->promised > 0)
        first.slot = (Lsn){place(h->began).at - (h->promised == 1 ? UNIT / 4 : 0)};
    h->two_phase_at = lsn_max(first.target.applied, first.slot);
    return first;
}

static void history_try(Search *search, Sent *sent) {
    State first = state_first(&search->history);
    search->state_count = 0;
    state_note(search, &first.target, first.slot);
    for (int number = 0; number < search->state_count; number++) {
        State from = search->states[number];
        expand(search, &from, sent);
    }
    search->all_states += (uint64_t)search->state_count;
    search->histories++;
}

static void order_try(Search *search, uint64_t order, Sent *sent) {
    History *h = &search->history;
    if (order % ORDERS_LEFT_OUT != 0)
        return;
    for (int part = 0; part < PARTS; part++)
        h->place_of[h->parts[part].tx][h->parts[part].kind] = part;
    for (unsigned outcomes = 0; outcomes < OUTCOMES; outcomes++)
        for (h->began = 0; h->began < PARTS; h->began++) {
            h->outcomes = outcomes | bit(ORDINARY);
            h->promised = (int)((order + outcomes) % 3);
            history_try(search, sent);
        }
}

/* Every order in which the parts can follow each other. */
static void orders_try(Search *search, int part, int *next, uint64_t *orders, Sent *sent) {
    if (part == PARTS) {
        order_try(search, (*orders)++, sent);
        return;
    }
    for (int tx = 0; tx < TRANSACTIONS; tx++) {
        if (next[tx] == PART_COUNTS[tx])
            continue;
        search->history.parts[part] = PARTS_OF[tx][next[tx]++];
        orders_try(search, part + 1, next, orders, sent);
        next[tx]--;
    }
}

static void no_crash_loses_doubles_or_leaves_anything_prepared(void **unused) {
    (void)unused;
    static Search search;
    static Sent sent;
    uint64_t orders = 0;
    sent.memory = writer_new(1 << 16);
    orders_try(&search, 0, (int[TRANSACTIONS]){0}, &orders, &sent);
    writer_free(&sent.memory);
    printf("prepared: %llu histories, %llu states after a crash, %llu sessions, %llu places to crash\n",
           (unsigned long long)search.histories, (unsigned long long)search.all_states,
           (unsigned long long)search.sessions, (unsigned long long)search.steps);
    assert_int_equal(orders, 420);
    assert_true(search.all_states > 5 * search.histories);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_crash_loses_doubles_or_leaves_anything_prepared)};
    return cmocka_run_group_tests_name("assembler_prepared_exhaustive", tests, NULL, NULL);
}
