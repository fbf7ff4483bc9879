#include <stdlib.h>

#include "core/audit.h"
#include "live_fixture.h"

/* Trap A15: whatever comes, both gears leave the same rows, the same position and the same kind of refusal. Random work of a
 * source that keeps its own rules (keys, a second unique column), in transactions whole and in pieces, against a
 * destination that somebody has changed now and then. */

enum { KEYS = 12, UNIQUES = 20, OPS_MAX = 400, ROW = 80, ROUNDS = 100, STEP = 0x10000 };

typedef struct Row {
    bool there;
    int unique; /* -1: NULL */
    char text[16];
} Row;

typedef struct Op {
    ChangeKind kind;
    int relation;
    char before[ROW], after[ROW];
    bool has_before, cut, ends; /* cut: a piece ends behind it; ends: the transaction does */
} Op;

typedef struct Play {
    unsigned seed;
    Row a[KEYS];
    bool b[KEYS];
    int c[4]; /* how many of each row that is like others */
    Op ops[OPS_MAX];
    int count;
} Play;

static const char TABLES[] = "CREATE TABLE s.a (k int PRIMARY KEY, u int UNIQUE, v text, w numeric(6,2));"
                             "CREATE TABLE s.b (g text, n int, PRIMARY KEY (g, n));"
                             "CREATE TABLE s.c (x int, y text)";
static const char ROWS[] =
    "SELECT coalesce((SELECT string_agg(a::text, ' ' ORDER BY k) FROM s.a), '') || '|' ||"
    " coalesce((SELECT string_agg(b::text, ' ' ORDER BY g, n) FROM s.b), '') || '|' ||"
    " coalesce((SELECT string_agg(c::text, ' ') FROM (SELECT x, y, count(*) FROM s.c GROUP BY x, y ORDER BY "
    "x, y) c), '')";

static int pick(Play *p, int below) {
    return rand_r(&p->seed) % below;
}

static int unique_free(Play *p) {
    for (int tries = 0; tries < 10; tries++) {
        int wanted = pick(p, UNIQUES);
        bool used = false;
        for (int key = 0; key < KEYS; key++)
            used = used || (p->a[key].there && p->a[key].unique == wanted);
        if (!used)
            return wanted;
    }
    return -1;
}

static void unique_write(char *out, size_t size, int unique) {
    if (unique < 0)
        snprintf(out, size, "\\N");
    else
        snprintf(out, size, "%d", unique);
}

static Op *op_new(Play *p, ChangeKind kind, int relation) {
    Op *op = &p->ops[p->count++];
    *op = (Op){.kind = kind, .relation = relation};
    return op;
}

static void row_write(const Row *row, int key, bool unsent, char *out) {
    char unique[12];
    unique_write(unique, sizeof unique, row->unique);
    snprintf(out, ROW, "%d|%s|%s|%d.5", key, unique, unsent ? "?" : row->text, row->unique);
}

static void play_a(Play *p) {
    int key = pick(p, KEYS), relation = pick(p, 40) == 0 ? 3 : 0; /* 3: another version of the same */
    Row *row = &p->a[key];
    if (!row->there) {
        *row = (Row){.there = true, .unique = unique_free(p)};
        snprintf(row->text, sizeof row->text, "t%d", pick(p, 1000));
        row_write(row, key, false, op_new(p, CHANGE_INSERT, relation)->after);
        return;
    }
    if (pick(p, 4) == 0) {
        Op *op = op_new(p, CHANGE_DELETE, relation);
        op->has_before = true;
        snprintf(op->before, ROW, "%d|-|-|-", key);
        row->there = false;
        return;
    }
    Op *op = op_new(p, CHANGE_UPDATE, relation);
    int to = pick(p, 4) == 0 ? pick(p, KEYS) : key;
    bool unsent = pick(p, 3) == 0;
    if (p->a[to].there)
        to = key;
    op->has_before = to != key;
    snprintf(op->before, ROW, "%d|-|-|-", key);
    Row moved = *row;
    row->there = false;
    p->a[to] = moved;
    if (pick(p, 2) == 0) {
        p->a[to].there = false;
        p->a[to].unique = unique_free(p);
        p->a[to].there = true;
    }
    if (!unsent)
        snprintf(p->a[to].text, sizeof p->a[to].text, "t%d", pick(p, 1000));
    row_write(&p->a[to], to, unsent, op->after);
}

/* A table whose columns are all of its key. */
static void play_b(Play *p) {
    int key = pick(p, KEYS), to = pick(p, KEYS);
    Op *op = op_new(p, !p->b[key] ? CHANGE_INSERT : p->b[to] ? CHANGE_DELETE : CHANGE_UPDATE, 1);
    op->has_before = op->kind != CHANGE_INSERT;
    snprintf(op->before, ROW, "g|%d", key);
    snprintf(op->after, ROW, "g|%d", op->kind == CHANGE_INSERT ? key : to);
    p->b[key] = op->kind == CHANGE_INSERT;
    if (op->kind == CHANGE_UPDATE)
        p->b[to] = true;
}

/* FULL identity, rows that are alike. */
static void play_c(Play *p) {
    int which = pick(p, 4), to = pick(p, 4), kind = pick(p, 3);
    Op *op = op_new(p, p->c[which] == 0 ? CHANGE_INSERT : (ChangeKind)kind, 2);
    op->has_before = op->kind != CHANGE_INSERT;
    snprintf(op->before, ROW, "%d|y", which);
    snprintf(op->after, ROW, "%d|y", op->has_before ? to : which);
    p->c[which] -= op->has_before ? 1 : 0;
    p->c[op->has_before ? to : which] += op->kind != CHANGE_DELETE ? 1 : 0;
}

static void play(Play *p, int ops) {
    p->count = 0;
    while (p->count < ops) {
        int table = pick(p, 30);
        if (table < 20)
            play_a(p);
        else if (table < 26)
            play_b(p);
        else if (table < 29)
            play_c(p);
        else if (pick(p, 5) == 0) {
            op_new(p, CHANGE_TRUNCATE, 1);
            memset(p->b, 0, sizeof p->b);
        } else
            continue;
        Op *op = &p->ops[p->count - 1];
        op->ends = pick(p, 4) == 0 || p->count == ops;
        op->cut = op->ends || pick(p, 12) == 0;
    }
}

/* What both destinations hold at first: what the source does, but for what somebody did there. */
static void destination_fill(Fixture *f, const Play *p, int harm) {
    run(f, "TRUNCATE s.a, s.b, s.c");
    for (int key = 0; key < KEYS; key++) {
        char sql[200], unique[12];
        unique_write(unique, sizeof unique, p->a[key].unique);
        snprintf(sql, sizeof sql, "INSERT INTO s.a VALUES (%d, nullif('%s', '\\N')::int, '%s', %d.5)", key,
                 unique, p->a[key].text, p->a[key].unique);
        if (p->a[key].there)
            run(f, sql);
        snprintf(sql, sizeof sql, "INSERT INTO s.b VALUES ('g', %d)", key);
        if (p->b[key])
            run(f, sql);
    }
    for (int which = 0; which < 4; which++)
        for (int copy = 0; copy < p->c[which]; copy++) {
            char sql[80];
            snprintf(sql, sizeof sql, "INSERT INTO s.c VALUES (%d, 'y')", which);
            run(f, sql);
        }
    static const char *const harms[] = {
        "DELETE FROM s.a WHERE k = 3", "INSERT INTO s.b SELECT 'g', 5 ON CONFLICT DO NOTHING",
        "INSERT INTO s.a VALUES (7, 900, 'x', 1) ON CONFLICT DO NOTHING", "DELETE FROM s.c WHERE x = 2"};
    if (harm < 4)
        run(f, harms[harm]);
}

typedef struct Outcome {
    char rows[2000];
    uint64_t applied;
    ErrorKind kind;
    char said[600];
} Outcome;

static Change *change_add(Maker *m, const Op *op, const Relation *rel) {
    Change *change = maker_add(m, op->kind, op->kind == CHANGE_TRUNCATE ? NULL : rel);
    if (op->kind == CHANGE_TRUNCATE) {
        change->truncate.rels = arena_alloc(m->arena, sizeof(Relation *));
        memcpy((void *)(uintptr_t)change->truncate.rels, &rel, sizeof rel);
        change->truncate.count = 1;
        return change;
    }
    change->row.before = op->has_before ? row_make(m->arena, rel, op->before) : NULL;
    change->row.after = op->kind == CHANGE_DELETE ? NULL : row_make(m->arena, rel, op->after);
    return change;
}

/* What the record at the destination says now. */
static void audit_look(Fixture *f, AuditThree out[3]) {
    static const char *const names[] = {"a", "b", "c"};
    TableRecords tables;
    Audit audit;
    assert_true(state_tables(f->eye, &f->cfg, &tables, &f->e));
    audit_begin(&audit, &tables, NULL);
    assert_true(audit_load(&audit, f->eye, &f->cfg, f->at.applied, &f->e));
    assert_string_equal(audit.broken, "");
    for (int table = 0; table < 3; table++)
        out[table] = audit_table(&audit, "s", names[table])->sums;
    audit_end(&audit);
    state_tables_free(&tables);
}

/* Every change of every transaction up to `applied`, and nothing else, was counted since `before`. */
static void assert_audited(Fixture *f, const Play *p, uint64_t applied, const AuditThree before[3]) {
    AuditThree now[3];
    uint64_t expected[3][AUDIT_KINDS] = {{0}};
    for (int at = 0, first = 0; at < p->count; at++) {
        if (!p->ops[at].ends)
            continue;
        for (; first <= at; first++)
            if (0x10 * (uint64_t)(at + 1) <= applied)
                expected[p->ops[first].relation % 3]
                        [p->ops[first].kind]++; /* the fourth is the first's next version */
    }
    audit_look(f, now);
    for (int table = 0; table < 3; table++) {
        assert_true(audit_even(&now[table]));
        for (int kind = 0; kind < AUDIT_KINDS; kind++)
            assert_int_equal(now[table].received.counts[kind] - before[table].received.counts[kind],
                             expected[table][kind]);
    }
}

/* The work in several batches, by a sink in this gear, on so many connections. */
static void work(Fixture *f, const Play *p, GearChoice gear, int workers, uint64_t base, Outcome *out) {
    AuditThree before[3];
    f->cfg.target.gear = gear;
    f->cfg.target.workers = workers;
    start(f);
    audit_look(f, before);
    Relation *const rels[] = {relation(f, "a", 'd', "k*,u,v,w"), relation(f, "b", 'd', "g*,n*"),
                              relation(f, "c", 'f', "x,y"), relation(f, "a", 'd', "k*,u,v,w")};
    Maker m = maker_new(OPS_MAX);
    bool begins = true, ok = true;
    uint64_t last = 0;
    error_clear(&f->e);
    for (int at = 0; ok && at < p->count; at++) {
        const Op *op = &p->ops[at];
        change_add(&m, op, rels[op->relation]);
        if (!op->cut)
            continue;
        int end = at;
        while (!p->ops[end].ends)
            end++;
        maker_piece(&m, (uint32_t)end, base + 0x10 * (uint64_t)(end + 1), begins, op->ends);
        begins = op->ends;
        if (m.transaction_count < 7 && at + 1 < p->count)
            continue;
        ok = write_batch(f, &m);
        m = maker_new(OPS_MAX);
    }
    batch_drop(maker_batch(&m));
    ok = ok && try_settle(f, true, 0, &last);
    out->kind = ok ? ERR_NONE : f->e.kind;
    snprintf(out->said, sizeof out->said, "%s", ok ? "" : f->e.text);
    start(f);
    out->applied = f->at.applied.at > base ? f->at.applied.at - base : 0;
    assert_audited(f, p, out->applied, before);
    Error e;
    if (!pg_value(f->eye, ROWS, 0, NULL, out->rows, sizeof out->rows, &e))
        fail_test("%s", e.text);
}

static void assert_same(const Outcome *live, const Outcome *sets, const char *which) {
    if (strcmp(live->rows, sets->rows) != 0 || live->applied != sets->applied || live->kind != sets->kind)
        fail_test("%s: %s %llx one by one, %s %llx in sets: %s\n%s\n%s", which, error_kind_name(live->kind),
                  (unsigned long long)live->applied, error_kind_name(sets->kind),
                  (unsigned long long)sets->applied, sets->said, live->rows, sets->rows);
}

static void trap_A15_both_gears_have_the_same_outcome(void **state) {
    Fixture *f = *state;
    Play before = {.seed = 20261121}, after;
    Outcome live, sets;
    char which[60];
    int refused = 0;
    start_with(f, TABLES, "a,b,c");
    uint64_t base = STEP;
    for (int round = 0; round < ROUNDS; round++) {
        after = before;
        play(&after, 1 + pick(&after, round % 2 == 0 ? 40 : OPS_MAX - 1));
        int harm = pick(&after, 20);
        f->cfg.memory_bytes =
            round % 3 == 0 ? 0 : 100000; /* runs of a batch or so, one under way beside the next */
        destination_fill(f, &before, harm);
        work(f, &after, GEAR_CHOICE_LIVE, 1, base += STEP, &live);
        for (int workers = 1; workers <= 4; workers += workers > 1 ? 4 : 1 + round % 2 * 2) {
            snprintf(which, sizeof which, "round %d, harm %d, %d ops, %d connections", round, harm,
                     after.count, workers);
            destination_fill(f, &before, harm);
            work(f, &after, GEAR_CHOICE_CATCH_UP, workers, base += STEP, &sets);
            assert_same(&live, &sets, which);
        }
        refused += live.kind == ERR_NONE ? 0 : 1;
        before = after;
    }
    assert_in_range(refused, 5, ROUNDS / 2);
    assert_true(atomic_load(&f->metrics->runs_early) > ROUNDS);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(trap_A15_both_gears_have_the_same_outcome)};
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
