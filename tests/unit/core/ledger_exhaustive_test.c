/* Every state that a source, the ledger and two sinks can reach together within small bounds: three
 * transactions, each whole or streamed; keepalives between any two frames; each sink commits and reports by
 * itself; promises; status to the source; and at any step a crash, after which a new ledger begins with what
 * is durable. Equal states are visited once. The ledger's own state is taken out of it and put back, so that
 * a state can be left in many ways; that is why its source is included here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/ledger.c"
#include "testing.h"

enum {
    TRANSACTIONS = 3,
    SINKS = 2,
    KEEPALIVES = 2,
    POLLS = 2,
    CRASHES = 2,
    /* Places are counted in units of 50 MiB: transaction n ends at 2 n, idle WAL goes on to 2 n + 1. */
    PLACE_LAST = 2 * TRANSACTIONS,
};
#define UNIT (UINT64_C(50) << 20)

typedef enum FrameKind { FRAME_CHUNK, FRAME_BEGIN, FRAME_COMMIT } FrameKind;

typedef struct Frame {
    FrameKind kind;
    int number; /* of the transaction, from 1 */
} Frame;

typedef struct Script {
    Frame frames[2 * TRANSACTIONS];
    int count;
} Script;

/* All that is true at one moment. Compared as bytes: padding that differs would only visit a state twice. */
typedef struct World {
    Positions ledger;
    Lsn slot;                       /* what the source was told last */
    Lsn asked;                      /* what the sinks are to promise */
    Lsn noted[SINKS];               /* bound: durable in the sink */
    Lsn note_told[SINKS];           /* and the ledger knows */
    int has[SINKS];                 /* transactions durable in the sink */
    int told[SINKS];                /* and the ledger knows */
    int read;                       /* highest transaction whose commit was read in this session; 0: none */
    int skip;                       /* the server sends no transaction up to this one */
    int next;                       /* frame */
    int begun;                      /* BEGIN was read, COMMIT was not */
    int keepalives, polls, crashes; /* left */
} World;

typedef enum Step {
    STEP_FRAME,
    STEP_KEEPALIVE,
    STEP_POLL,
    STEP_STATUS,
    STEP_CRASH,
    STEP_CRASH_OF_BOTH, /* the source's slot goes back to its last checkpoint */
    STEP_COMMIT,        /* the last four: one a sink */
    STEP_REPORT = STEP_COMMIT + SINKS,
    STEP_NOTE = STEP_REPORT + SINKS,
    STEP_PROMISE = STEP_NOTE + SINKS,
    STEP_COUNT = STEP_PROMISE + SINKS
} Step;

typedef struct Search {
    Script script;
    Ledger *ledger; /* the one that every state is put into */
    World *stack;
    size_t depth, stack_capacity;
    XXH128_hash_t *seen;
    size_t seen_count, seen_capacity; /* a power of two */
    uint64_t steps;
} Search;

static Lsn place(int units) {
    return (Lsn){(uint64_t)units * UNIT};
}
static int least_of(const int *values) {
    return values[0] < values[1] ? values[0] : values[1];
}

static Script script_make(unsigned streamed) {
    Script s = {.count = 0};
    for (int number = 1; number <= TRANSACTIONS; number++) /* open from the start until their commit */
        if (streamed & 1u << number)
            s.frames[s.count++] = (Frame){FRAME_CHUNK, number};
    for (int number = 1; number <= TRANSACTIONS; number++) {
        if (!(streamed & 1u << number))
            s.frames[s.count++] = (Frame){FRAME_BEGIN, number};
        s.frames[s.count++] = (Frame){FRAME_COMMIT, number};
    }
    return s;
}

/* A new session on what survived: the sinks' contents, their notes, the source's slot. */
static void session_begin(World *w) {
    Ledger *fresh = ledger_new(SINKS, (Lsn[]){place(2 * w->has[0]), place(2 * w->has[1])}, w->slot);
    w->ledger = fresh->at;
    ledger_free(fresh);
    Lsn start =
        lsn_max(w->slot, place(2 * least_of(w->has))); /* the server forwards a start below its slot */
    w->skip = (int)(start.at / UNIT / 2);
    w->next = w->begun = w->read = 0;
    w->asked = LSN_NONE;
    for (int sink = 0; sink < SINKS; sink++) {
        w->told[sink] = w->has[sink];
        w->note_told[sink] = LSN_NONE;
    }
}

static void frames_skip(const Script *script, World *w) {
    while (w->next < script->count && script->frames[w->next].number <= w->skip)
        w->next++;
}

static bool step_frame(Search *s, World *w) {
    if (w->next == s->script.count)
        return false;
    Frame frame = s->script.frames[w->next++];
    if (frame.kind == FRAME_BEGIN) {
        ledger_begin(s->ledger);
        w->begun = 1;
    } else if (frame.kind == FRAME_COMMIT) {
        ledger_commit(s->ledger, place(2 * frame.number));
        w->begun = 0;
        w->read = frame.number;
    }
    frames_skip(&s->script, w);
    return true;
}

/* The server has read the WAL up to here. Inside BEGIN … COMMIT it must not count, so there it is a lie:
 * beyond all. */
static bool step_keepalive(Search *s, World *w) {
    if (w->keepalives == 0)
        return false;
    w->keepalives--;
    int behind = w->read > w->skip ? w->read : w->skip;
    ledger_idle(s->ledger, place(w->begun ? PLACE_LAST + 1 : 2 * behind + 1));
    return true;
}

static bool is_in_flight(const World *w) {
    return w->begun || w->read > least_of(w->told);
}

static bool step_poll(Search *s, World *w) {
    if (w->polls == 0)
        return false;
    w->polls--;
    Lsn wanted = ledger_promise_wanted(s->ledger, (POLLS - w->polls) * (int64_t)LEDGER_IDLE_MS);
    if (lsn_is_none(wanted))
        return true;
    assert_false(is_in_flight(w));
    w->asked = wanted;
    return true;
}

static bool step_status(Search *s, World *w) {
    Lsn confirmed = ledger_confirmed(s->ledger);
    bool moved = lsn_before(w->slot, confirmed);
    w->slot = confirmed;
    return moved;
}

static bool step_crash(Search *s, World *w, bool slot_back) {
    if (w->crashes == 0)
        return false;
    w->crashes--;
    if (slot_back)
        w->slot = LSN_NONE;
    session_begin(w);
    frames_skip(&s->script, w);
    s->ledger->at = w->ledger;
    return true;
}

static bool step_sink(Search *s, World *w, Step first, int sink) {
    switch (first) {
    case STEP_COMMIT:
        if (w->has[sink] >= w->read)
            return false;
        w->has[sink]++;
        return true;
    case STEP_REPORT:
        if (w->told[sink] == w->has[sink])
            return false;
        w->told[sink] = w->has[sink];
        ledger_durable(s->ledger, sink, place(2 * w->has[sink]));
        return true;
    case STEP_NOTE:
        if (!lsn_before(w->noted[sink], w->asked))
            return false;
        w->noted[sink] = w->asked;
        return true;
    default:
        if (lsn_before(w->noted[sink], w->asked) || !lsn_before(w->note_told[sink], w->asked))
            return false;
        w->note_told[sink] = w->asked;
        ledger_promised(s->ledger, sink, w->asked);
        return true;
    }
}

/* False: not possible now. */
static bool step_take(Search *s, World *w, Step step) {
    switch (step) {
    case STEP_FRAME: return step_frame(s, w);
    case STEP_KEEPALIVE: return step_keepalive(s, w);
    case STEP_POLL: return step_poll(s, w);
    case STEP_STATUS: return step_status(s, w);
    case STEP_CRASH: return step_crash(s, w, false);
    case STEP_CRASH_OF_BOTH: return step_crash(s, w, true);
    default: {
        int number = (int)step - STEP_COMMIT;
        return step_sink(s, w, (Step)(STEP_COMMIT + number / SINKS * SINKS), number % SINKS);
    }
    }
}

static void oracle(Search *s, const World *w, Lsn confirmed_before) {
    Lsn confirmed = ledger_confirmed(s->ledger);
    assert_false(lsn_before(confirmed, confirmed_before)); /* never goes back */
    assert_false(lsn_before(confirmed, w->slot));
    for (int sink = 0; sink < SINKS; sink++) {
        for (int number = 1; number <= TRANSACTIONS; number++) /* I6, also of what was not read yet */
            assert_true(w->has[sink] >= number || lsn_before(confirmed, place(2 * number)));
        /* A9: the slot never stands beyond a sink's bound. */
        assert_false(lsn_before(lsn_max(w->noted[sink], place(2 * w->has[sink])), confirmed));
    }
    assert_int_equal(ledger_in_flight(s->ledger), is_in_flight(w));
}

/* The faults are over: everything that can happen happens, and confirmed reaches the end of all there is. */
static void oracle_of_liveness(Search *s, World w) {
    while (step_frame(s, &w))
        continue;
    for (int sink = 0; sink < SINKS; sink++) {
        while (step_sink(s, &w, STEP_COMMIT, sink))
            continue;
        step_sink(s, &w, STEP_REPORT, sink);
    }
    assert_false(lsn_before(ledger_confirmed(s->ledger), place(PLACE_LAST)));
    assert_false(ledger_in_flight(s->ledger));
    ledger_idle(s->ledger, place(PLACE_LAST + 1));
    /* An older wish may still stand; the second one is for the last keepalive. */
    for (int wish = 1; wish <= 2; wish++) {
        Lsn wanted = ledger_promise_wanted(s->ledger, (POLLS + wish) * (int64_t)LEDGER_IDLE_MS);
        for (int sink = 0; sink < SINKS && !lsn_is_none(wanted); sink++)
            ledger_promised(s->ledger, sink, wanted);
    }
    assert_true(lsn_equal(ledger_confirmed(s->ledger), place(PLACE_LAST + 1)));
}

static XXH128_hash_t *seen_slot(XXH128_hash_t *seen, size_t capacity, XXH128_hash_t hash) {
    size_t at = (size_t)hash.low64 & (capacity - 1);
    while ((seen[at].low64 | seen[at].high64) != 0 && !XXH128_isEqual(seen[at], hash))
        at = (at + 1) & (capacity - 1);
    return &seen[at];
}

static void seen_grow(Search *s) {
    size_t capacity = s->seen_capacity == 0 ? 1 << 16 : s->seen_capacity * 2;
    XXH128_hash_t *larger = calloc(capacity, sizeof *larger);
    assert_non_null(larger);
    for (size_t at = 0; at < s->seen_capacity; at++)
        if ((s->seen[at].low64 | s->seen[at].high64) != 0)
            *seen_slot(larger, capacity, s->seen[at]) = s->seen[at];
    free(s->seen);
    s->seen = larger;
    s->seen_capacity = capacity;
}

/* Puts a state that is new on the stack. */
static void visit(Search *s, const World *w) {
    if (s->seen_count * 2 >= s->seen_capacity)
        seen_grow(s);
    XXH128_hash_t hash = XXH3_128bits(w, sizeof *w);
    XXH128_hash_t *slot = seen_slot(s->seen, s->seen_capacity, hash);
    if (XXH128_isEqual(*slot, hash))
        return;
    *slot = hash;
    s->seen_count++;
    if (s->depth == s->stack_capacity) {
        s->stack_capacity = s->stack_capacity == 0 ? 1024 : s->stack_capacity * 2;
        s->stack = realloc(s->stack, s->stack_capacity * sizeof *s->stack);
        assert_non_null(s->stack);
    }
    s->stack[s->depth++] = *w;
}

static void expand(Search *s) {
    World here = s->stack[--s->depth];
    for (int step = 0; step < STEP_COUNT; step++) {
        World w = here;
        s->ledger->at = here.ledger;
        Lsn before = step == STEP_CRASH || step == STEP_CRASH_OF_BOTH ? LSN_NONE : here.ledger.confirmed;
        if (!step_take(s, &w, (Step)step))
            continue;
        oracle(s, &w, before);
        w.ledger = s->ledger->at;
        s->steps++;
        visit(s, &w);
    }
    s->ledger->at = here.ledger;
    oracle_of_liveness(s, here);
}

static void every_reachable_state_keeps_the_promises(void **unused) {
    (void)unused;
    uint64_t states = 0, steps = 0;
    for (unsigned streamed = 0; streamed < 2u << TRANSACTIONS; streamed += 2) {
        Search s = {.script = script_make(streamed)};
        s.ledger = ledger_new(SINKS, (Lsn[SINKS]){LSN_NONE}, LSN_NONE);
        World w;
        memset(&w, 0, sizeof w);
        w.keepalives = KEEPALIVES;
        w.polls = POLLS;
        w.crashes = CRASHES;
        session_begin(&w);
        visit(&s, &w);
        while (s.depth > 0)
            expand(&s);
        states += s.seen_count;
        steps += s.steps;
        ledger_free(s.ledger);
        free(s.stack);
        free(s.seen);
    }
    printf("ledger: %llu states, %llu steps between them\n", (unsigned long long)states,
           (unsigned long long)steps);
    assert_true(states > 100000); /* a model that got stuck would prove nothing */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_reachable_state_keeps_the_promises)};
    return cmocka_run_group_tests_name("ledger_exhaustive", tests, NULL, NULL);
}
