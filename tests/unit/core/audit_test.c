#include <stdlib.h>
#include <string.h>

#include "core/audit.h"
#include "testing.h"

/* A stream of random transactions over a few tables, taken in by an audit that is cut into groups, pieces and sessions. */
enum { TABLES = 3, TRANSACTIONS = 60, CHANGES_MAX = 9, ROUNDS = 200, BASE = 0x1000, KEPT_MAX = 1 << 20 };

typedef struct Stream {
    unsigned seed;
    TableRecord rows[TABLES];
    TableRecords records;
    Relation relations[TABLES];
    const Relation *pointers[TABLES];
    Transaction transactions[TRANSACTIONS];
    Change changes[TRANSACTIONS][CHANGES_MAX];
} Stream;

static char schema_name[] = "s", names[TABLES][2] = {"a", "b", "c"};

static int pick(Stream *s, int below) {
    return rand_r(&s->seed) % below;
}

static void change_make(Stream *s, Change *change) {
    change->kind = (ChangeKind)pick(s, CHANGE_BEAT + 1);
    if (change->kind < CHANGE_TRUNCATE)
        change->rel = s->pointers[pick(s, TABLES)];
    if (change->kind != CHANGE_TRUNCATE)
        return;
    change->truncate.rels = s->pointers;
    change->truncate.count = 1u + (uint32_t)pick(s, TABLES);
}

static void stream_make(Stream *s, unsigned seed) {
    *s = (Stream){.seed = seed};
    for (int table = 0; table < TABLES; table++) {
        s->rows[table] = (TableRecord){.schema = schema_name,
                                       .name = names[table],
                                       .loaded = true,
                                       .source_oid = 100u + (unsigned)table,
                                       .start = {BASE + 0x100u * (unsigned)table}};
        s->relations[table] =
            (Relation){.oid = 100u + (unsigned)table, .schema = schema_name, .name = names[table]};
        s->pointers[table] = &s->relations[table];
    }
    s->records = (TableRecords){.count = TABLES, .rows = s->rows};
    for (unsigned at = 0; at < TRANSACTIONS; at++) {
        Transaction *tx = &s->transactions[at];
        uint64_t end = BASE + 0x10u * (at + 1);
        *tx = (Transaction){.commit = {end - 8}, .end = {end}, .changes = s->changes[at]};
        tx->count = (uint32_t)pick(s, CHANGES_MAX + 1);
        tx->begins = tx->ends = true;
        for (uint32_t change = 0; change < tx->count; change++)
            change_make(s, &s->changes[at][change]);
    }
}

static void applied_one(Audit *a, AuditDelta *d, const Transaction *tx, const Change *change, bool left_out) {
    if (change->kind < CHANGE_TRUNCATE)
        audit_apply(a, d, tx, change->rel, change->kind, left_out);
    for (uint32_t table = 0; change->kind == CHANGE_TRUNCATE && table < change->truncate.count; table++)
        audit_apply(a, d, tx, change->truncate.rels[table], CHANGE_TRUNCATE, left_out);
}

static void applied(Audit *a, AuditDelta *d, const Transaction *tx) {
    for (uint32_t at = 0; at < tx->count; at++)
        applied_one(a, d, tx, &tx->changes[at], false);
}

/* A transaction in pieces, some of which are refused and done again. */
static void in_pieces(Stream *s, Audit *a, AuditDelta *d, const Transaction *tx) {
    Transaction piece = *tx;
    for (uint32_t done = 0; done < tx->count; done += piece.count) {
        piece.changes = tx->changes + done;
        piece.count = 1u + (uint32_t)pick(s, (int)(tx->count - done));
        audit_mark_behind(d, 0);
        audit_receive(a, d, &piece);
        applied(a, d, &piece);
        if (pick(s, 3) == 0) {
            audit_return(d);
            applied(a, d, &piece);
        }
    }
}

static void in_part(Audit *a, AuditDelta *d, const Transaction *part) {
    audit_receive(a, d, part);
    applied(a, d, part);
}

/* As it is applied while it arrives: nobody knows its end, and parts are undone and come again, the last one or all behind
 * a savepoint. */
static void in_parts(Stream *s, Audit *a, AuditDelta *d, const Transaction *tx) {
    Transaction part = *tx;
    part.commit = part.end = LSN_NONE;
    uint32_t saved = 0, saved_done = 0;
    for (uint32_t done = 0; done < tx->count; done += part.count) {
        part.changes = tx->changes + done;
        part.count = 1u + (uint32_t)pick(s, (int)(tx->count - done));
        audit_mark_behind(d, saved);
        uint32_t before = d->count;
        in_part(a, d, &part);
        switch (pick(s, 4)) {
        case 0:
            audit_cut(d, before);
            in_part(a, d, &part);
            break;
        case 1:
            audit_mark(d);
            saved = d->count;
            saved_done = done + part.count;
            break;
        case 2:
            audit_cut(d, saved);
            part.changes = tx->changes + saved_done;
            part.count += done - saved_done;
            in_part(a, d, &part);
            part.count -= done - saved_done;
            break;
        }
        assert_true(d->count <= saved + 3 * TABLES);
    }
    audit_known(d, tx);
}

/* What the row of progress keeps is all that the next session has. */
static void restarted(const Stream *s, Audit *a, Slice kept, Lsn from, Lsn end) {
    Audit next;
    audit_begin(&next, &s->records, NULL);
    next.since = a->since;
    next.end = from;
    for (int table = 0; table < TABLES; table++)
        audit_table(&next, schema_name, names[table])->sums = audit_table(a, schema_name, names[table])->sums;
    audit_read(&next, kept, from, end);
    audit_end(a);
    *a = next;
}

static void all(Stream *s, Audit *a, bool by_chance) {
    AuditDelta d = {0};
    Writer kept = writer_new(KEPT_MAX);
    audit_begin(a, &s->records, NULL);
    a->end = (Lsn){BASE};
    for (unsigned at = 0; at < TRANSACTIONS; at++) {
        const Transaction *tx = &s->transactions[at];
        bool by_itself = false;
        bool behind_snapshots = tx->end.at > s->rows[TABLES - 1].start.at;
        if (by_chance && behind_snapshots && d.count == 0 && pick(s, 2) == 0) {
            in_parts(s, a, &d, tx);
            by_itself = true;
        } else if (by_chance && pick(s, 3) == 0) {
            in_pieces(s, a, &d, tx);
        } else {
            audit_receive(a, &d, tx);
            applied(a, &d, tx);
        }
        if (by_chance && !by_itself && pick(s, 4) != 0 && at + 1 < TRANSACTIONS)
            continue;
        writer_reset(&kept);
        audit_write(&d, tx->end, &kept);
        if (by_chance && pick(s, 3) == 0) {
            audit_cut(&d, 0);
            restarted(s, a, writer_slice(&kept), a->end, tx->end);
        } else {
            audit_commit(a, &d, tx->end);
        }
    }
    audit_delta_free(&d);
    writer_free(&kept);
}

static const AuditThree *sums_of(Audit *a, int table) {
    return &audit_table(a, schema_name, names[table])->sums;
}

static void sums_are_the_same_however_the_stream_is_cut(void **unused) {
    (void)unused;
    for (unsigned round = 0; round < ROUNDS; round++) {
        Stream s;
        Audit plain, cut;
        stream_make(&s, round);
        all(&s, &plain, false);
        all(&s, &cut, true);
        assert_string_equal(cut.broken, "");
        assert_true(lsn_equal(cut.end, plain.end));
        for (int table = 0; table < TABLES; table++) {
            assert_memory_equal(sums_of(&plain, table), sums_of(&cut, table), sizeof(AuditThree));
            assert_true(audit_even(sums_of(&cut, table)));
        }
        audit_end(&plain);
        audit_end(&cut);
    }
}

static void what_the_snapshot_has_counts_nowhere(void **unused) {
    (void)unused;
    Stream s;
    Audit a;
    uint64_t expected[TABLES][AUDIT_KINDS] = {{0}};
    stream_make(&s, 7);
    all(&s, &a, true);
    for (unsigned at = 0; at < TRANSACTIONS; at++)
        for (uint32_t number = 0; number < s.transactions[at].count; number++) {
            const Change *change = &s.changes[at][number];
            for (int table = 0; table < TABLES; table++)
                if (s.transactions[at].end.at > s.rows[table].start.at && change->kind <= CHANGE_TRUNCATE &&
                    (change->kind == CHANGE_TRUNCATE ? (uint32_t)table < change->truncate.count
                                                     : change->rel == s.pointers[table]))
                    expected[table][change->kind]++;
        }
    for (int table = 0; table < TABLES; table++)
        assert_memory_equal(sums_of(&a, table)->applied.counts, expected[table], sizeof expected[table]);
    assert_true(audit_total(&sums_of(&a, 2)->received) < audit_total(&sums_of(&a, 0)->received));
    audit_end(&a);
}

/* Inserts into the first table, one a transaction; what comes and what is applied are given one by one. */
static void inserts(Stream *s, Audit *a, const int *come, const int *go, int count) {
    AuditDelta d = {0};
    audit_begin(a, &s->records, NULL);
    for (int at = 0; at < TRANSACTIONS; at++) {
        s->transactions[at].count = 1;
        s->changes[at][0] = (Change){.kind = CHANGE_INSERT, .rel = s->pointers[0]};
    }
    for (int at = 0; at < count; at++) {
        audit_receive(a, &d, &s->transactions[come[at]]);
        if (go[at] >= 0)
            applied(a, &d, &s->transactions[go[at]]);
    }
    audit_commit(a, &d, s->transactions[count].end);
    audit_delta_free(&d);
}

static void what_is_lost_doubled_or_taken_for_another_is_seen(void **unused) {
    (void)unused;
    Stream s;
    Audit a;
    stream_make(&s, 1);
    inserts(&s, &a, (int[]){0, 1, 2}, (int[]){2, 0, 1}, 3);
    assert_true(audit_even(sums_of(&a, 0)));
    audit_end(&a);
    inserts(&s, &a, (int[]){0, 1, 2}, (int[]){0, -1, 2}, 3);
    assert_false(audit_even(sums_of(&a, 0)));
    audit_end(&a);
    inserts(&s, &a, (int[]){0, 1, 2}, (int[]){0, 0, 2}, 3);
    assert_int_equal(sums_of(&a, 0)->applied.counts[CHANGE_INSERT], 3);
    assert_false(audit_even(sums_of(&a, 0)));
    audit_end(&a);
}

static void what_is_left_out_belongs_to_what_came(void **unused) {
    (void)unused;
    Stream s;
    Audit a, next;
    AuditDelta d = {0};
    Writer kept = writer_new(KEPT_MAX);
    stream_make(&s, 3);
    audit_begin(&a, &s.records, NULL);
    for (unsigned at = 0; at < TRANSACTIONS; at++) {
        audit_receive(&a, &d, &s.transactions[at]);
        for (uint32_t number = 0; number < s.transactions[at].count; number++)
            applied_one(&a, &d, &s.transactions[at], &s.changes[at][number], number % 2 == 0);
    }
    audit_write(&d, (Lsn){0x9000}, &kept);
    audit_commit(&a, &d, (Lsn){0x9000});
    audit_begin(&next, &s.records, NULL);
    audit_read(&next, writer_slice(&kept), LSN_NONE, (Lsn){0x9000});
    for (int table = 0; table < TABLES; table++) {
        assert_true(audit_even(sums_of(&a, table)));
        assert_true(audit_total(&sums_of(&a, table)->left_out) > 0);
        assert_memory_equal(sums_of(&a, table), sums_of(&next, table), sizeof(AuditThree));
    }
    audit_end(&a);
    audit_end(&next);
    audit_delta_free(&d);
    writer_free(&kept);
}

/* As on several connections: each counts for itself, the progress moves in order. */
static void deltas_share_nothing(void **unused) {
    (void)unused;
    enum { WORKERS = 4 };
    Stream s;
    Audit plain, shared;
    AuditDelta d[WORKERS] = {{0}};
    stream_make(&s, 11);
    all(&s, &plain, false);
    audit_begin(&shared, &s.records, NULL);
    for (uint32_t first = 0; first < TRANSACTIONS; first += WORKERS) {
        for (uint32_t change = 0; change < CHANGES_MAX; change++)
            for (uint32_t worker = WORKERS; worker-- > 0;) {
                Transaction piece = s.transactions[first + worker];
                if (change >= piece.count)
                    continue;
                piece.changes += change;
                piece.count = 1;
                in_part(&shared, &d[worker], &piece);
                assert_true(d[worker].count <= TABLES);
            }
        for (uint32_t worker = 0; worker < WORKERS; worker++)
            audit_commit(&shared, &d[worker], s.transactions[first + worker].end);
    }
    for (int table = 0; table < TABLES; table++)
        assert_memory_equal(sums_of(&plain, table), sums_of(&shared, table), sizeof(AuditThree));
    for (int worker = 0; worker < WORKERS; worker++)
        audit_delta_free(&d[worker]);
    audit_end(&plain);
    audit_end(&shared);
}

static void a_table_keeps_its_sums_under_another_name(void **unused) {
    (void)unused;
    Stream s;
    Audit a;
    AuditDelta d = {0};
    char other[] = "another";
    stream_make(&s, 1);
    Relation renamed = s.relations[0], swapped = s.relations[1], made_again = s.relations[2];
    renamed.name = other;
    swapped.name = names[0];
    made_again.oid = 7;
    audit_begin(&a, &s.records, NULL);
    Transaction *tx = &s.transactions[TRANSACTIONS - 1];
    const Relation *came[] = {&s.relations[0], &renamed, &swapped, &made_again};
    for (size_t at = 0; at < sizeof came / sizeof *came; at++) {
        s.changes[TRANSACTIONS - 1][0] = (Change){.kind = CHANGE_UPDATE, .rel = came[at]};
        tx->count = 1;
        in_part(&a, &d, tx);
    }
    audit_commit(&a, &d, tx->end);
    assert_int_equal(sums_of(&a, 0)->applied.counts[CHANGE_UPDATE], 2);
    assert_int_equal(sums_of(&a, 1)->received.counts[CHANGE_UPDATE], 1);
    assert_int_equal(audit_total(&sums_of(&a, 2)->received), 0);
    audit_delta_free(&d);
    audit_end(&a);
}

static void read_back(const Stream *s, Slice kept, Lsn from, Lsn end, const char *reason) {
    Audit a;
    audit_begin(&a, &s->records, NULL);
    a.end = (Lsn){BASE};
    audit_read(&a, kept, from, end);
    if (strstr(a.broken, reason) == NULL || (*reason == '\0' && a.broken[0] != '\0'))
        fail_test("\"%s\" instead of \"%s\"", a.broken, reason);
    audit_end(&a);
}

static void progress_that_does_not_follow_breaks_the_sums(void **unused) {
    (void)unused;
    Stream s;
    Audit a;
    AuditDelta d = {0};
    Writer kept = writer_new(KEPT_MAX);
    stream_make(&s, 5);
    audit_begin(&a, &s.records, NULL);
    for (int at = 0; at < TRANSACTIONS; at++)
        audit_receive(&a, &d, &s.transactions[at]);
    Lsn end = s.transactions[TRANSACTIONS - 1].end, base = {BASE}, other = {BASE + 1};
    audit_write(&d, end, &kept);
    Slice whole = writer_slice(&kept);
    read_back(&s, whole, base, end, "");
    read_back(&s, whole, other, end, "a gap at 0/1001");
    read_back(&s, whole, base, other, "nothing was counted at 0/1001");
    read_back(&s, (Slice){NULL, 0}, base, end, "nothing was counted");
    for (size_t length = sizeof(uint64_t) + 1; length < sizeof(uint64_t) + 20; length++)
        read_back(&s, (Slice){whole.at, length}, base, end, "cannot be read");
    audit_end(&a);
    audit_delta_free(&d);
    writer_free(&kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_are_the_same_however_the_stream_is_cut),
                                       cmocka_unit_test(what_the_snapshot_has_counts_nowhere),
                                       cmocka_unit_test(what_is_lost_doubled_or_taken_for_another_is_seen),
                                       cmocka_unit_test(what_is_left_out_belongs_to_what_came),
                                       cmocka_unit_test(deltas_share_nothing),
                                       cmocka_unit_test(a_table_keeps_its_sums_under_another_name),
                                       cmocka_unit_test(progress_that_does_not_follow_breaks_the_sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
