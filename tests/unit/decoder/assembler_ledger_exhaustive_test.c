/* Assembler, ledger and a sink together, with a server and crashes: three transactions, one whole behind a message
 * outside of it, two streamed, one of these with an aborted subtransaction; every order in which the server may come
 * to their parts; a keepalive behind any frame, behind each, or none; a sink that lags by 0 to 3 transactions; and
 * after every frame and every commit of the sink a crash, from which a new session begins with what was durable.
 * States of (sink, slot) that were met before are not begun from again.
 *
 * The sink's content is checked as it grows: each commit must be the next one of the history (I1, I2, I4). After every
 * step nothing that the sink lacks may lie where the server would leave it out (I6). */
#include "core/ledger.h"
#include "data/assembling.h"

enum {
    PARTS = 9,        /* of the three transactions */
    TRANSACTIONS = 4, /* with the message */
    FRAMES_MAX = 60,
    STATES_MAX = 200,
    LAGS = 4,
    WHOLE = 0,
    STREAM_A = 1,        /* without, */
    STREAM_B = 2,        /* with a subtransaction */
    SUB_ROW = 2,         /* what that does */
    MANY_KEEPALIVES = -2 /* one behind each frame; -1: none; else the frame that one is behind */
};
#define UNIT (UINT64_C(50) << 20) /* far enough for an idle position to be worth a promise */

/* Slow builds try one order of many. */
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
enum { ORDERS_LEFT_OUT = 24 };
#else
enum { ORDERS_LEFT_OUT = 1 };
#endif

typedef enum PartKind { PART_WHOLE, PART_CHUNK, PART_SUB_ABORT, PART_COMMIT } PartKind;

typedef struct Part {
    int tx;
    PartKind kind;
    int row;
} Part;

static const Part PARTS_OF[3][5] = {
    {{WHOLE, PART_WHOLE, 1}},
    {{STREAM_A, PART_CHUNK, 1}, {STREAM_A, PART_CHUNK, 2}, {STREAM_A, PART_COMMIT, 0}},
    {{STREAM_B, PART_CHUNK, 1},
     {STREAM_B, PART_CHUNK, SUB_ROW},
     {STREAM_B, PART_SUB_ABORT, 0},
     {STREAM_B, PART_CHUNK, 3},
     {STREAM_B, PART_COMMIT, 0}}};
static const int PART_COUNTS[3] = {1, 3, 5};

/* What the sink must have in the end, oldest first. */
typedef struct Wanted {
    char text[120];
    Lsn record, end; /* where the server looks to leave it out; and where it ends */
} Wanted;

typedef struct History {
    Part parts[PARTS];
    Wanted wanted[TRANSACTIONS];
} History;

static Lsn place(int part) {
    return (Lsn){(uint64_t)(part + 1) * UNIT};
}

static int xid_of(int tx) {
    return 10 * (tx + 1);
}

/* ---- the history ---- */

static Wanted *want(History *h, int *count, Lsn record, Lsn end) {
    Wanted *w = &h->wanted[(*count)++];
    w->record = record;
    w->end = end;
    return w;
}

/* The message's record ends where the next commit record begins, as it does on a busy server. */
static void history_want(History *h) {
    int count = 0;
    for (int part = 0; part < PARTS; part++) {
        unsigned long long at = place(part).at;
        int xid = xid_of(h->parts[part].tx);
        if (h->parts[part].kind == PART_WHOLE) {
            Wanted *w = want(h, &count, (Lsn){at - 100}, (Lsn){at});
            snprintf(w->text, sizeof w->text, "[0 %llu-%llu 0:m app=x]", at - 1, at);
            w = want(h, &count, (Lsn){at}, (Lsn){at + 8});
            snprintf(w->text, sizeof w->text, "[%d %llu-%llu 0:I t(10,1)]", xid, at, at + 8);
        } else if (h->parts[part].kind == PART_COMMIT) {
            Wanted *w = want(h, &count, (Lsn){at}, (Lsn){at + 8});
            snprintf(w->text, sizeof w->text, "[%d %llu-%llu 0:I t(%d,1) 1:I t(%d,%d)]", xid, at, at + 8, xid,
                     xid, h->parts[part].tx == STREAM_A ? 2 : 3);
        }
    }
    assert_int_equal(count, TRANSACTIONS);
}

/* ---- the server ---- */

typedef struct Sent {
    Slice bytes[FRAMES_MAX];
    Lsn position[FRAMES_MAX]; /* what a keepalive behind the frame would say */
    int count;
    Writer memory; /* of the frames */
} Sent;

typedef struct Progress {
    bool streamed, sub_streamed, left_out;
    int rows[4]; /* not sent yet */
    int row_count;
} Progress;

typedef struct Server {
    const History *h;
    Lsn start;
    bool stray_aborts; /* PostgreSQL 18 */
    Progress progress[3];
    Sent *sent;
    size_t offsets[FRAMES_MAX + 1];
} Server;

__attribute__((format(printf, 3, 4))) static void say(Server *s, Lsn position, const char *format, ...) {
    char line[100];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    Sent *sent = s->sent;
    assert_true(sent->count < FRAMES_MAX);
    frame_write(&sent->memory, line);
    sent->position[sent->count++] = position;
    s->offsets[sent->count] = sent->memory.len;
}

/* The transaction, or the subtransaction where the row is hers. */
static int xid_of_row(int tx, int row) {
    return xid_of(tx) + (tx == STREAM_B && row == SUB_ROW ? 1 : 0);
}

static void say_chunk(Server *s, int tx, Lsn at) {
    Progress *p = &s->progress[tx];
    say(s, at, "S %d %s", xid_of(tx), p->streamed ? "again" : "first");
    say(s, at, "%d:R 1 t id* note", xid_of_row(tx, p->rows[0]));
    for (int row = 0; row < p->row_count; row++) {
        say(s, at, "%d:I 1 %d %d", xid_of_row(tx, p->rows[row]), xid_of(tx), p->rows[row]);
        p->sub_streamed = p->sub_streamed || xid_of_row(tx, p->rows[row]) != xid_of(tx);
    }
    say(s, (Lsn){at.at + UNIT / 2}, "E");
    p->streamed = true;
    p->row_count = 0;
}

/* Inside of it a keepalive must not count: there it lies, and says it is beyond all. */
static void say_whole(Server *s, int tx, Lsn at) {
    Progress *p = &s->progress[tx];
    Lsn lie = place(PARTS);
    say(s, lie, "B %d %llu", xid_of(tx), (unsigned long long)at.at);
    say(s, lie, "R 1 t id* note");
    for (int row = 0; row < p->row_count; row++)
        say(s, lie, "I 1 %d %d", xid_of(tx), p->rows[row]);
    say(s, (Lsn){at.at + UNIT / 2}, "C %llu %llu", (unsigned long long)at.at, (unsigned long long)at.at + 8);
}

/* The server streams only what it decodes from `start` on; what lies before comes with the next chunk or, when there
 * is none, whole. A transaction whose commit record lies before `start` does not come at all. */
static void serve_stream(Server *s, const Part *part, Lsn at) {
    Progress *p = &s->progress[part->tx];
    bool before = lsn_before(at, s->start);
    if (p->left_out)
        return;
    if (part->kind == PART_CHUNK) {
        p->rows[p->row_count++] = part->row;
        if (!before)
            say_chunk(s, part->tx, at);
    } else if (part->kind == PART_SUB_ABORT) {
        if (p->sub_streamed || (s->stray_aborts && !before))
            say(s, (Lsn){at.at + UNIT / 2}, "A %d %d", xid_of(part->tx), xid_of(part->tx) + 1);
        if (p->row_count > 0 && p->rows[p->row_count - 1] == SUB_ROW)
            p->row_count--;
    } else if (p->streamed) {
        say(s, (Lsn){at.at + UNIT / 2}, "c %d %llu %llu", xid_of(part->tx), (unsigned long long)at.at,
            (unsigned long long)at.at + 8);
    } else {
        say_whole(s, part->tx, at);
    }
}

static void serve(const History *h, Lsn start, bool stray_aborts, Sent *sent) {
    Server s = {.h = h, .start = start, .stray_aborts = stray_aborts, .sent = sent};
    sent->count = 0;
    writer_reset(&sent->memory);
    for (int part = 0; part < PARTS; part++)
        if (h->parts[part].kind == PART_COMMIT)
            s.progress[h->parts[part].tx].left_out = lsn_before(place(part), start);
    for (int part = 0; part < PARTS; part++) {
        Lsn at = place(part);
        if (h->parts[part].kind != PART_WHOLE) {
            serve_stream(&s, &h->parts[part], at);
            continue;
        }
        if (!lsn_before((Lsn){at.at - 100}, start))
            say(&s, at, "m %llu app x", (unsigned long long)at.at);
        s.progress[WHOLE] = (Progress){.rows = {1}, .row_count = 1};
        if (!lsn_before(at, start))
            say_whole(&s, WHOLE, at);
    }
    for (int frame = 0; frame < sent->count; frame++)
        sent->bytes[frame] =
            (Slice){sent->memory.at + s.offsets[frame], s.offsets[frame + 1] - s.offsets[frame]};
}

/* ---- a session ---- */

/* What survives a crash. */
typedef struct State {
    int has; /* transactions in the sink */
    Lsn slot;
} State;

typedef struct Search {
    History history;
    State states[STATES_MAX];
    int state_count;
    uint64_t orders, all_states, sessions, steps;
} Search;

typedef struct Session {
    Search *search;
    const History *h;
    State state;
    Lsn slot_before; /* at its begin: the source may crash as well */
    Lsn applied;     /* at its begin: what ends here or before is skipped */
    Bench b;
    Ledger *ledger;
    int lag;
    int64_t now_ms;
    Writer piece; /* the transaction that is being received */
    struct {
        char text[120];
        Lsn end;
    } received[TRANSACTIONS];
    int received_count;
} Session;

static Lsn end_of(const History *h, int has) {
    return has == 0 ? LSN_NONE : h->wanted[has - 1].end;
}

static void state_note(Search *s, int has, Lsn slot) {
    for (int number = 0; number < s->state_count; number++)
        if (s->states[number].has == has && lsn_equal(s->states[number].slot, slot))
            return;
    assert_true(s->state_count < STATES_MAX);
    s->states[s->state_count++] = (State){has, slot};
}

/* It may end here: with what the source was told last, or with less. */
static void crash_note(Session *s) {
    s->search->steps++;
    state_note(s->search, s->state.has, s->state.slot);
    state_note(s->search, s->state.has, s->slot_before);
}

static void oracle(const Session *s) {
    Lsn confirmed = ledger_confirmed(s->ledger);
    for (int missing = s->state.has; missing < TRANSACTIONS; missing++)
        if (lsn_before(s->h->wanted[missing].record, confirmed))
            fail_test("%llu is confirmed, %s is not durable", (unsigned long long)confirmed.at,
                      s->h->wanted[missing].text);
}

static void sink_receive(Session *s, const Transaction *tx) {
    if (tx->begins)
        writer_reset(&s->piece);
    text_transaction(&s->piece, tx, true, false);
    if (!tx->ends || !lsn_before(s->applied, tx->end))
        return;
    assert_true(s->received_count < TRANSACTIONS && s->piece.len < sizeof s->received[0].text);
    strcpy(s->received[s->received_count].text, writer_string(&s->piece));
    s->received[s->received_count++].end = tx->end;
}

/* Commits all but the youngest `lag`; each must be the next of the history. */
static void sink_commit(Session *s, int lag) {
    while (s->received_count > lag) {
        assert_true(s->state.has < TRANSACTIONS);
        assert_string_equal(s->received[0].text, s->h->wanted[s->state.has].text);
        s->state.has++;
        crash_note(s);
        ledger_durable(s->ledger, 0, s->received[0].end);
        oracle(s);
        memmove(&s->received[0], &s->received[1], (size_t)--s->received_count * sizeof s->received[0]);
    }
}

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

/* Promises are made as soon as they are wanted, and the source hears at once of what is confirmed. */
static void tell(Session *s) {
    Lsn wanted = ledger_promise_wanted(s->ledger, s->now_ms += LEDGER_IDLE_MS);
    if (!lsn_is_none(wanted))
        ledger_promised(s->ledger, 0, wanted);
    oracle(s);
    assert_false(lsn_before(ledger_confirmed(s->ledger), s->state.slot));
    s->state.slot = ledger_confirmed(s->ledger);
    crash_note(s);
}

static void session_begin(Session *s, Search *search, const State *from, int lag) {
    *s = (Session){.search = search, .h = &search->history, .state = *from, .lag = lag};
    s->slot_before = from->slot;
    s->applied = end_of(s->h, from->has);
    s->ledger = ledger_new(1, &s->applied, lsn_max(s->applied, from->slot));
    s->piece = writer_new(1 << 12);
    bench_init(&s->b);
    s->b.options.batch_changes = lag % 2 == 0 ? 1000 : 1;
    bench_begin(&s->b, s->ledger);
}

static void session_end(Session *s) {
    take_all(s, true);
    sink_commit(s, 0);
    tell(s);
    assert_int_equal(s->state.has, TRANSACTIONS);
    assert_false(ledger_in_flight(s->ledger));
    assert_false(lsn_before(s->state.slot, end_of(s->h, TRANSACTIONS)));
    writer_free(&s->piece);
    bench_end(&s->b);
    ledger_free(s->ledger);
}

static void session_run(Search *search, const State *from, const Sent *sent, int lag, int keepalive) {
    Session s;
    session_begin(&s, search, from, lag);
    for (int frame = 0; frame < sent->count; frame++) {
        Slice bytes;
        void *memory = frame_give(sent->bytes[frame], &bytes);
        if (!assembler_feed(s.b.assembler, LSN_NONE, bytes, memory, bytes.len, &s.b.e))
            fail_test("%s", s.b.e.text);
        take_all(&s, lag < 2);
        if (keepalive == frame || keepalive == MANY_KEEPALIVES) {
            ledger_idle(s.ledger, sent->position[frame]);
            take_all(&s, true);
        }
        sink_commit(&s, lag);
        tell(&s);
    }
    session_end(&s);
    search->sessions++;
}

/* `start` of the server: where this sink is, or where the slot is because another sink is behind (A7a). */
static void expand(Search *search, const State *from, Sent *sent) {
    Lsn starts[2] = {lsn_max(from->slot, end_of(&search->history, from->has)), from->slot};
    for (int which = 0; which < (lsn_equal(starts[0], starts[1]) ? 1 : 2); which++)
        for (int lag = 0; lag < LAGS; lag++) {
            serve(&search->history, starts[which], lag == 0 || lag == 3, sent);
            for (int keepalive = MANY_KEEPALIVES; keepalive < sent->count; keepalive++)
                session_run(search, from, sent, lag, keepalive);
        }
}

/* ---- all of it ---- */

static void order_try(Search *search, Sent *sent) {
    if (search->orders++ % ORDERS_LEFT_OUT != 0)
        return;
    history_want(&search->history);
    search->state_count = 0;
    state_note(search, 0, LSN_NONE);
    for (int number = 0; number < search->state_count; number++) {
        State from = search->states[number];
        expand(search, &from, sent);
    }
    search->all_states += (uint64_t)search->state_count;
}

/* Every order in which the parts can follow each other. */
static void orders_try(Search *search, int part, int *next, Sent *sent) {
    if (part == PARTS) {
        order_try(search, sent);
        return;
    }
    for (int tx = 0; tx < 3; tx++) {
        if (next[tx] == PART_COUNTS[tx])
            continue;
        search->history.parts[part] = PARTS_OF[tx][next[tx]++];
        orders_try(search, part + 1, next, sent);
        next[tx]--;
    }
}

static void no_crash_loses_or_doubles_anything(void **unused) {
    (void)unused;
    static Search search;
    static Sent sent;
    sent.memory = writer_new(1 << 16);
    orders_try(&search, 0, (int[3]){0}, &sent);
    writer_free(&sent.memory);
    printf(
        "assembler and ledger: %llu orders, %llu states after a crash, %llu sessions, %llu places to crash\n",
        (unsigned long long)(search.orders / ORDERS_LEFT_OUT), (unsigned long long)search.all_states,
        (unsigned long long)search.sessions, (unsigned long long)search.steps);
    assert_int_equal(search.orders, 504);
    assert_true(search.all_states > 5 * search.orders / ORDERS_LEFT_OUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_crash_loses_or_doubles_anything)};
    return cmocka_run_group_tests_name("assembler_ledger_exhaustive", tests, NULL, NULL);
}
