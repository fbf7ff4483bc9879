/* Random histories, each sent by a server of our own making as protocol 1 would (every transaction whole, at its
 * commit) and as streams in random chunks: what comes out must be equal, and equal to what the history means (C2). And
 * once more with a sink that takes parts (A7): what survives there must be the same, and so must the whole beside it. */
#include "data/assembling.h"

enum {
    EVENTS = 90,
    OPEN_MAX = 3,
    TABLES = 3, /* oid 1 … 3; the heartbeat table is 4 */
    BEATS = 4,
    SUBS_MAX = EVENTS * 2,
    FIRST_LSN = 1000,
    HISTORIES = 2000,
    STREAMINGS = 3
};

typedef enum EventKind { EVENT_ROW, EVENT_ROLLBACK, EVENT_COMMIT, EVENT_ABORT, EVENT_ALONE } EventKind;
typedef enum RowKind { ROW_INSERT, ROW_UPDATE, ROW_DELETE, ROW_TRUNCATE, ROW_MESSAGE, ROW_BEAT } RowKind;

typedef struct Event {
    EventKind kind;
    int tx;  /* subtransaction number of the top one: see Sub */
    int sub; /* who did it, or what is rolled back with all below it */
    RowKind row;
    int tables[2], versions[2]; /* the second one: of a TRUNCATE */
    int value;
} Event;

/* A transaction or subtransaction; its number is its place in the array, its xid is 10 more. */
typedef struct Sub {
    int parent; /* -1: a transaction */
    bool rolled_back, has_row;
} Sub;

typedef struct Open {
    int tx, stack[SUBS_MAX], depth; /* stack[0] is tx */
    unsigned touched;               /* tables it holds a lock on */
    int altered[TABLES + 1];        /* version that it made; 0: none */
    int altered_depth[TABLES + 1];
} Open;

typedef struct History {
    Event events[EVENTS];
    int count;
    Sub subs[SUBS_MAX];
    int sub_count;
    Open open[OPEN_MAX];
    int open_count;
    int versions[TABLES + 1], version_last; /* committed; the newest ever made */
    uint64_t seed;
} History;

static uint32_t random_below(uint64_t *seed, uint32_t limit) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % limit;
}

/* ---- making a history ---- */

static Event *event_add(History *h, EventKind kind, const Open *o) {
    Event *event = &h->events[h->count];
    *event = (Event){.kind = kind, .value = h->count++};
    if (o != NULL) {
        event->tx = o->tx;
        event->sub = o->stack[o->depth - 1];
    }
    return event;
}

static int sub_add(History *h, int parent) {
    assert_true(h->sub_count < SUBS_MAX);
    h->subs[h->sub_count] = (Sub){.parent = parent};
    return h->sub_count++;
}

/* A table that this transaction may use so: nobody else has altered it or, to alter it, used it; 0: none. */
static int table_free(History *h, const Open *o, bool alter) {
    int table = 1 + (int)random_below(&h->seed, TABLES);
    for (int other = 0; other < h->open_count; other++) {
        const Open *p = &h->open[other];
        if (p != o && (p->altered[table] != 0 || (alter && (p->touched & 1u << table) != 0)))
            return 0;
    }
    return table;
}

static int version_seen(const History *h, const Open *o, int table) {
    return o->altered[table] != 0 ? o->altered[table] : h->versions[table];
}

static void row_add(History *h, Open *o) {
    RowKind row = (RowKind)random_below(&h->seed, ROW_BEAT + 1);
    Sub *sub = &h->subs[o->stack[o->depth - 1]];
    int table = table_free(h, o, false), second = table_free(h, o, false);
    /* The stream does not tell which subtransaction sent a message: only where that makes no difference. */
    if (row == ROW_MESSAGE && o->depth > 1 && !sub->has_row)
        return;
    if (table == 0 || second == 0)
        return;
    Event *event = event_add(h, EVENT_ROW, o);
    event->row = row;
    sub->has_row = sub->has_row || row != ROW_MESSAGE;
    event->tables[0] = row == ROW_BEAT ? BEATS : row == ROW_MESSAGE ? 0 : table;
    event->tables[1] = row == ROW_TRUNCATE && second != table ? second : 0;
    for (int which = 0; which < 2; which++)
        if (event->tables[which] != 0 && event->tables[which] != BEATS) {
            o->touched |= 1u << event->tables[which];
            event->versions[which] = version_seen(h, o, event->tables[which]);
        }
}

static void alter_add(History *h, Open *o) {
    int table = table_free(h, o, true);
    if (table == 0 || o->altered[table] != 0)
        return;
    o->altered[table] = ++h->version_last;
    o->altered_depth[table] = o->depth;
}

static void savepoint_add(History *h, Open *o) {
    o->stack[o->depth] = sub_add(h, o->stack[o->depth - 1]);
    o->depth++;
}

static void rollback_add(History *h, Open *o) {
    if (o->depth == 1)
        return;
    o->depth = 1 + (int)random_below(&h->seed, (uint32_t)o->depth - 1);
    Event *event = event_add(h, EVENT_ROLLBACK, o);
    event->sub = o->stack[o->depth];
    for (int table = 1; table <= TABLES; table++)
        if (o->altered_depth[table] > o->depth)
            o->altered[table] = o->altered_depth[table] = 0;
    savepoint_add(h, o); /* ROLLBACK TO leaves the savepoint there, as a new subtransaction */
}

static void release_add(Open *o) {
    if (o->depth == 1)
        return;
    o->depth--;
    for (int table = 1; table <= TABLES; table++)
        if (o->altered_depth[table] > o->depth)
            o->altered_depth[table] = o->depth;
}

static void end_add(History *h, Open *o, bool commit) {
    event_add(h, commit ? EVENT_COMMIT : EVENT_ABORT, o);
    for (int table = 1; commit && table <= TABLES; table++)
        if (o->altered[table] != 0)
            h->versions[table] = o->altered[table];
    *o = h->open[--h->open_count];
}

static void step_add(History *h) {
    uint32_t dice = random_below(&h->seed, 100);
    if (h->open_count == 0 || (dice < 10 && h->open_count < OPEN_MAX)) {
        Open *o = &h->open[h->open_count++];
        *o = (Open){.tx = sub_add(h, -1), .depth = 1};
        o->stack[0] = o->tx;
        return;
    }
    Open *o = &h->open[random_below(&h->seed, (uint32_t)h->open_count)];
    if (dice < 55)
        row_add(h, o);
    else if (dice < 62)
        alter_add(h, o);
    else if (dice < 74 && h->sub_count < SUBS_MAX - 2)
        savepoint_add(h, o);
    else if (dice < 82 && h->sub_count < SUBS_MAX - 2)
        rollback_add(h, o);
    else if (dice < 87)
        release_add(o);
    else if (dice < 97)
        end_add(h, o, dice < 94);
    else
        event_add(h, EVENT_ALONE, NULL);
}

static void history_make(History *h, uint64_t seed) {
    memset(h, 0, sizeof *h);
    h->seed = seed;
    while (h->count < EVENTS && h->sub_count < SUBS_MAX - 2)
        step_add(h);
}

static bool is_below(const History *h, int sub, int above) {
    while (sub != above && sub >= 0)
        sub = h->subs[sub].parent;
    return sub == above;
}

/* Whether the row of `event` is still there at event number `at`. */
static bool survives(const History *h, int event, int at) {
    for (int later = event + 1; later < at; later++)
        if (h->events[later].kind == EVENT_ROLLBACK &&
            is_below(h, h->events[event].sub, h->events[later].sub))
            return false;
    return true;
}

static int lsn_of(int event) {
    return FIRST_LSN + event * 10;
}

/* ---- what it means ---- */

static void meaning_row(Writer *out, const Event *event, int seq, bool bare) {
    int table = event->tables[0], version = event->versions[0], value = event->value;
    if (event->row == ROW_BEAT && value % 2 == 1)
        return; /* another job's */
    if (bare)
        writer_u8(out, ' ');
    else
        writer_format(out, " %d:", seq);
    switch (event->row) {
    case ROW_INSERT: writer_format(out, "I t%dv%d(%d,x)", table, version, value); break;
    case ROW_UPDATE: writer_format(out, "U t%dv%d(%d,.)>(%d,~)", table, version, value, value + 1); break;
    case ROW_DELETE: writer_format(out, "D t%dv%d(%d,.)", table, version, value); break;
    case ROW_TRUNCATE:
        writer_format(out, "T t%dv%d", table, version);
        if (event->tables[1] != 0)
            writer_format(out, " t%dv%d", event->tables[1], event->versions[1]);
        break;
    case ROW_MESSAGE: writer_format(out, "M app=%d", value); break;
    case ROW_BEAT: writer_format(out, "beat %d", value); break;
    }
}

static void meaning_write(Writer *out, const History *h, bool bare) {
    writer_reset(out);
    for (int at = 0; at < h->count; at++) {
        const Event *end = &h->events[at];
        if (end->kind == EVENT_ALONE)
            writer_format(out, "[0 %d-%d %sm app=%d]", lsn_of(at + 1) - 1, lsn_of(at + 1),
                          bare ? "" : "0:", at);
        if (end->kind != EVENT_COMMIT)
            continue;
        int seq = 0;
        writer_format(out, "[%d %d-%d", end->tx + 10, lsn_of(at), lsn_of(at) + 8);
        for (int event = 0; event < at; event++)
            if (h->events[event].kind == EVENT_ROW && h->events[event].tx == end->tx &&
                survives(h, event, at))
                meaning_row(out, &h->events[event], seq++, bare);
        writer_text(out, "]");
    }
}

/* ---- the server ---- */

typedef struct Server {
    const History *h;
    Bench *b;
    uint64_t seed;
    bool streaming;
    int sent[TABLES + 2];                  /* version that everybody was told, plus 1; 0: none */
    int sent_inside[SUBS_MAX][TABLES + 2]; /* by transaction */
    bool streamed[SUBS_MAX];               /* something of this (sub)transaction was sent */
    bool gone[EVENTS];                     /* the row was sent, or rolled back before that */
    uint64_t chunks, cuts;
} Server;

__attribute__((format(printf, 2, 3))) static void say(Server *s, const char *format, ...) {
    char line[200];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (!bench_line(s->b, line))
        fail_test("\"%s\": %s", line, s->b->e.text);
}

static void say_relation(Server *s, const char *who, int *sent, int table, int version) {
    if (table == 0 || (sent[table] == version + 1 && random_below(&s->seed, 10) > 0))
        return;
    sent[table] = version + 1;
    if (table == BEATS)
        say(s, "%sR %d beats job* beat", who, BEATS);
    else
        say(s, "%sR %d t%dv%d id* note", who, table, table, version);
}

/* In a stream `inside` is the transaction, else -1. */
static void say_row(Server *s, const Event *event, int inside) {
    char who[20] = "", top[20] = "";
    int table = event->tables[0], value = event->value;
    int *sent = inside >= 0 ? s->sent_inside[inside] : s->sent;
    if (inside >= 0) {
        snprintf(who, sizeof who, "%d:", event->sub + 10);
        snprintf(top, sizeof top, "%d:", inside + 10);
    }
    for (int which = 0; which < 2; which++)
        say_relation(s, who, sent, event->tables[which], event->versions[which]);
    switch (event->row) {
    case ROW_INSERT: say(s, "%sI %d %d x", who, table, value); break;
    case ROW_UPDATE: say(s, "%sU %d K %d - N %d ~", who, table, value, value + 1); break;
    case ROW_DELETE: say(s, "%sD %d K %d -", who, table, value); break;
    case ROW_TRUNCATE:
        if (event->tables[1] != 0)
            say(s, "%sT %d %d", who, table, event->tables[1]);
        else
            say(s, "%sT %d", who, table);
        break;
    case ROW_MESSAGE: say(s, "%sM 1 app %d", top, value); break;
    case ROW_BEAT: say(s, "%sI %d %s %d", who, BEATS, value % 2 == 1 ? "market" : "shop", value); break;
    }
}

/* The rows of the transaction up to event `at` that are there and were not sent yet. */
static void say_rows(Server *s, int tx, int at, int inside) {
    for (int event = 0; event < at; event++) {
        const Event *row = &s->h->events[event];
        if (row->kind != EVENT_ROW || row->tx != tx || s->gone[event])
            continue;
        s->gone[event] = true;
        if (inside >= 0 && row->row != ROW_MESSAGE)
            s->streamed[row->sub] = true;
        say_row(s, row, inside);
    }
}

static void say_chunk(Server *s, int tx, int at) {
    say(s, "S %d %s", tx + 10, s->streamed[tx] ? "again" : "first");
    s->streamed[tx] = true;
    if (random_below(&s->seed, 8) == 0)
        say(s, "O");
    say_rows(s, tx, at, tx);
    say(s, "E");
    s->chunks++;
}

/* Children first, in either order; each abort makes the server announce its relations again. PostgreSQL 18 also
 * tells of what was never sent (`stray`). */
static void say_aborts(Server *s, int tx, int above) {
    bool stray = random_below(&s->seed, 4) == 0, upwards = random_below(&s->seed, 2) == 0;
    for (int number = 0; number < s->h->sub_count; number++) {
        int sub = upwards ? number : s->h->sub_count - 1 - number;
        if (sub != above && is_below(s->h, sub, above) && (s->streamed[sub] || stray))
            say(s, "A %d %d", tx + 10, sub + 10);
    }
    if (s->streamed[above] || stray)
        say(s, "A %d %d", tx + 10, above + 10);
    memset(s->sent_inside[tx], 0, sizeof s->sent_inside[tx]);
    s->cuts++;
}

static void play_rollback(Server *s, const Event *rollback, int at) {
    if (s->streaming)
        say_aborts(s, rollback->tx, rollback->sub);
    for (int event = 0; event < at; event++)
        if (s->h->events[event].kind == EVENT_ROW && is_below(s->h, s->h->events[event].sub, rollback->sub))
            s->gone[event] = true;
}

static void play_commit(Server *s, int tx, int at) {
    if (!s->streamed[tx]) {
        say(s, "B %d %d", tx + 10, lsn_of(at));
        say_rows(s, tx, at, -1);
        say(s, "C %d %d", lsn_of(at), lsn_of(at) + 8);
        return;
    }
    say_chunk(s, tx, at);
    say(s, "c %d %d %d", tx + 10, lsn_of(at), lsn_of(at) + 8);
    for (int table = 1; table <= BEATS; table++)
        if (s->sent_inside[tx][table] != 0)
            s->sent[table] = s->sent_inside[tx][table];
}

static void play(Server *s) {
    for (int at = 0; at < s->h->count; at++) {
        const Event *event = &s->h->events[at];
        switch (event->kind) {
        case EVENT_ROW:
            if (s->streaming && random_below(&s->seed, 3) == 0)
                say_chunk(s, event->tx, at + 1);
            break;
        case EVENT_ROLLBACK: play_rollback(s, event, at); break;
        case EVENT_COMMIT: play_commit(s, event->tx, at); break;
        case EVENT_ABORT:
            if (s->streaming)
                say_aborts(s, event->tx, event->tx);
            break;
        case EVENT_ALONE: say(s, "m %d app %d", lsn_of(at + 1), at); break;
        }
    }
}

/* ---- all of it ---- */

typedef struct Totals {
    uint64_t chunks, cuts, transactions, spilled;
    uint64_t parts_applied, parts_given_up, parts_cut, parts_aborted;
} Totals;

typedef enum Way { WAY_WHOLE, WAY_STREAMED, WAY_PARTS, WAY_PARTS_AND_WHOLE } Way;

static void bench_vary(Bench *b, uint64_t *seed) {
    static const size_t held[] = {0, 300, 3000, 1 << 20}, bytes[] = {1, 20 * 1000, 1 << 24};
    static const uint32_t changes[] = {1, 2, 5, 1000};
    b->options.held_bytes = held[random_below(seed, 4)];
    b->options.batch_bytes = bytes[random_below(seed, 3)];
    b->options.batch_changes = changes[random_below(seed, 4)];
}

static void bench_vary_parts(Bench *b, Way way, uint64_t *seed) {
    static const uint32_t changes[] = {1, 2, 5};
    b->options.early_most = 1 + random_below(seed, 4);
    b->options.early_changes = changes[random_below(seed, 3)];
    b->options.batch_bytes = 20 * 1000;
    b->options.early_from = (Lsn){FIRST_LSN};
    b->part_seed = *seed;
    b->bare = way == WAY_PARTS;
    b->whole = way == WAY_PARTS_AND_WHOLE;
}

static void send_and_compare(const History *h, uint64_t seed, Way way, const char *expected, Totals *t) {
    static Server s;
    Bench b;
    bench_init(&b);
    bench_vary(&b, &seed);
    if (way >= WAY_PARTS)
        bench_vary_parts(&b, way, &seed);
    bench_begin(&b, NULL);
    assembler_reached(b.assembler, (Lsn){FIRST_LSN});
    s = (Server){.h = h, .b = &b, .seed = seed, .streaming = way != WAY_WHOLE};
    play(&s);
    t->spilled += b.options.held_bytes == 0;
    t->chunks += s.chunks;
    t->cuts += s.cuts;
    t->parts_applied += b.parts_applied;
    t->parts_given_up += b.parts_given_up;
    t->parts_cut += b.parts_cut;
    t->parts_aborted += b.parts_aborted;
    if (!bench_take(&b, true))
        fail_test("%s", b.e.text);
    if (strcmp(writer_string(&b.out), expected) != 0)
        print_error("history %llu\n", (unsigned long long)seed);
    assert_string_equal(writer_string(&b.out), expected);
    bench_end(&b);
}

static void streamed_or_not_the_same_comes_out(void **unused) {
    (void)unused;
    static History h;
    Totals t = {0};
    Writer meaning = writer_new(1 << 20);
    for (uint64_t number = 0; number < HISTORIES; number++) {
        history_make(&h, number);
        meaning_write(&meaning, &h, false);
        for (int event = 0; event < h.count; event++)
            t.transactions += h.events[event].kind == EVENT_COMMIT;
        send_and_compare(&h, number, WAY_WHOLE, writer_string(&meaning), &t);
        for (uint64_t streaming = 1; streaming <= STREAMINGS; streaming++)
            send_and_compare(&h, number * 10 + streaming, WAY_STREAMED, writer_string(&meaning), &t);
        send_and_compare(&h, number * 10 + STREAMINGS + 1, WAY_PARTS_AND_WHOLE, writer_string(&meaning), &t);
        meaning_write(&meaning, &h, true);
        for (uint64_t parts = 2; parts <= STREAMINGS; parts++)
            send_and_compare(&h, number * 10 + STREAMINGS + parts, WAY_PARTS, writer_string(&meaning), &t);
    }
    writer_free(&meaning);
    printf("assembler: %llu transactions, each whole and %d times streamed: %llu chunks, %llu rollbacks\n",
           (unsigned long long)t.transactions, STREAMINGS, (unsigned long long)t.chunks,
           (unsigned long long)t.cuts);
    printf("parts: %llu transactions, %llu given up, %llu rollbacks, %llu ended\n",
           (unsigned long long)t.parts_applied, (unsigned long long)t.parts_given_up,
           (unsigned long long)t.parts_cut, (unsigned long long)t.parts_aborted);
    /* a generator that got stuck would prove nothing */
    assert_true(t.parts_applied > HISTORIES && t.parts_given_up > HISTORIES / 10);
    assert_true(t.parts_cut > HISTORIES / 10 && t.parts_aborted > HISTORIES / 10);
    assert_true(t.transactions > 3 * HISTORIES && t.chunks > 10 * HISTORIES && t.cuts > HISTORIES);
    assert_true(t.spilled > HISTORIES / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(streamed_or_not_the_same_comes_out)};
    return cmocka_run_group_tests_name("assembler_history", tests, NULL, NULL);
}
