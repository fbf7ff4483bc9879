/* Whole transactions: how they come out, in batches and pieces. */
#include "core/clock.h"
#include "decoder/bench.h"

static void small_transactions_share_a_batch(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    b->bars = true;
    bench_feed(b, "B 7 100; " RELATION "; I 1 1 a; C 100 110; B 8 120; I 1 2 b; U 1 N 2 c; C 120 130");
    assert_int_equal(b->batches, 0);
    assert_string_equal(writer_string(&b->out), "");
    bench_gave(b, "[7 100-110 0:I t(1,a)][8 120-130 0:I t(2,b) 1:U t(2,c)]|");
    bench_gave(b, "");
    bench_feed(b, "B 9 140; D 1 K 2 -; C 140 150");
    bench_gave(b, "[9 140-150 0:D t(2,.)]|");
    bench_free(b);
}

static void a_batch_is_closed_by_its_number_of_changes(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->bars = true;
    b->options.batch_changes = 4; /* a transaction counts as one, too */
    bench_begin(b, NULL);
    bench_feed(b, "B 7 100; " RELATION "; I 1 1 a; C 100 110; B 8 120; I 1 2 b; C 120 130");
    assert_string_equal(writer_string(&b->out), "[7 100-110 0:I t(1,a)][8 120-130 0:I t(2,b)]|");
    bench_feed(b, "B 9 140; I 1 3 c; C 140 150");
    bench_gave(b, "[7 100-110 0:I t(1,a)][8 120-130 0:I t(2,b)]|[9 140-150 0:I t(3,c)]|");
    bench_free(b);
}

/* In memory, and from the spill. */
static void a_change_knows_where_its_record_lies(void **unused) {
    (void)unused;
    for (size_t held_bytes = 0; held_bytes <= 1 << 20; held_bytes += 1 << 20) {
        Bench *b = bench_new();
        b->keep = true;
        b->options.held_bytes = held_bytes;
        bench_begin(b, NULL);
        bench_feed(b, "B 7 100; " RELATION "; I 1 1 a; U 1 N 1 b; C 100 110; B 8 120; D 1 K 1 -; C 120 130");
        assert_true(bench_take(b, true));
        assert_int_equal(b->batches, 1);
        const Transaction *first = &b->kept[0]->transactions[0], *second = &b->kept[0]->transactions[1];
        assert_int_equal(first->changes[0].at.at, 3);
        assert_int_equal(first->changes[1].at.at, 4);
        assert_int_equal(second->changes[0].at.at, 7);
        bench_free(b);
    }
}

static void a_batch_is_closed_by_its_weight(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->bars = true;
    b->options.batch_bytes = 1;
    bench_begin(b, NULL);
    bench_feed(b, "B 7 100; " RELATION "; I 1 1 a; I 1 2 b; C 100 110; B 8 120; I 1 3 c; C 120 130");
    bench_gave(b, "[7 100-110 0:I t(1,a)| 1:I t(2,b)|]|[8 120-130 0:I t(3,c)|]|");
    bench_free(b);
}

static void a_batch_says_what_it_weighs_and_when_its_transactions_began_and_ended(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    b->keep = true;
    bench_feed(b, "B 7 100; " RELATION "; I 1 1 a; C 100 110");
    bench_feed(b, "S 8 first; 8:" RELATION "; 8:I 1 1 a; E; c 8 120 130");
    assert_true(bench_take(b, true));
    const Batch *batch = b->kept[0];
    assert_int_equal(batch->count, 2);
    assert_int_equal(batch->bytes, arena_bytes(batch->arena));
    assert_true(batch->bytes > 100);
    assert_int_equal(batch->transactions[0].committed_us, CLOCK_PG_EPOCH_US + 100);
    assert_int_equal(batch->transactions[1].committed_us, CLOCK_PG_EPOCH_US + 120);
    assert_int_equal(batch->transactions[0].began.at, 1); /* the frames' own places */
    assert_int_equal(batch->transactions[1].began.at, 5);
    bench_free(b);
}

/* Three changes to a piece: flags, numbers that run on, and nothing between the pieces. */
static void a_large_transaction_comes_in_pieces(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->options.batch_changes = 3;
    b->keep = true;
    bench_begin(b, NULL);
    bench_feed(b, "B 7 100; " RELATION
                  "; I 1 1 a; I 1 2 a; I 1 3 a; I 1 4 a; I 1 5 a; I 1 6 a; I 1 7 a; C 100 110");
    bench_feed(b, "B 8 120; I 1 8 a; C 120 130");
    assert_true(bench_take(b, true));
    static const struct {
        uint32_t xid, count, first_seq;
        bool begins, ends;
    } pieces[] = {
        {7, 3, 0, true, false}, {7, 3, 3, false, false}, {7, 1, 6, false, true}, {8, 1, 0, true, true}};
    uint32_t piece = 0;
    for (uint32_t batch = 0; batch < b->batches; batch++)
        for (uint32_t number = 0; number < b->kept[batch]->count; number++, piece++) {
            const Transaction *tx = &b->kept[batch]->transactions[number];
            assert_true(piece < 4);
            assert_int_equal(tx->xid, pieces[piece].xid);
            assert_int_equal(tx->count, pieces[piece].count);
            assert_int_equal(tx->seqs, pieces[piece].first_seq + pieces[piece].count);
            assert_int_equal(tx->changes[0].seq, pieces[piece].first_seq);
            assert_int_equal(tx->begins, pieces[piece].begins);
            assert_int_equal(tx->ends, pieces[piece].ends);
            assert_int_equal(tx->end.at, tx->xid == 7 ? 110 : 130);
        }
    assert_int_equal(piece, 4);
    bench_free(b);
}

/* What others have left of a batch's weight is no reason to cut one in two. */
static void a_small_transaction_is_not_cut(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->options.batch_bytes = 64 * 1024;
    b->keep = true;
    bench_begin(b, NULL);
    for (int tx = 1; tx <= 2000; tx++) {
        char lines[160];
        snprintf(lines, sizeof lines, "B %d %d; " RELATION "; I 1 %d a; I 1 %d b; C %d %d", tx, tx * 10, tx,
                 tx, tx * 10, tx * 10 + 5);
        bench_feed(b, lines);
    }
    assert_true(bench_take(b, true));
    assert_true(b->batches > 1);
    uint32_t seen = 0;
    for (uint32_t batch = 0; batch < b->batches; batch++)
        for (uint32_t number = 0; number < b->kept[batch]->count; number++, seen++) {
            const Transaction *tx = &b->kept[batch]->transactions[number];
            assert_true(tx->begins && tx->ends);
            assert_int_equal(tx->count, 2);
        }
    assert_int_equal(seen, 2000);
    bench_free(b);
}

static void a_last_piece_may_be_empty(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->bars = true;
    b->options.batch_changes = 2;
    bench_begin(b, NULL);
    bench_feed(b, "B 7 100; " RELATION "; I 1 1 a; I 1 2 a; C 100 110");
    bench_gave(b, "[7 100-110 0:I t(1,a) 1:I t(2,a)|]|");
    bench_free(b);
}

/* feed is not to be called while there are pieces left. */
static void full_until_all_pieces_are_taken(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->options.batch_changes = 1;
    bench_begin(b, NULL);
    static const char *const lines[] = {"B 7 100", RELATION, "I 1 1 a", "I 1 2 a", "C 100 110"};
    for (size_t line = 0; line < 5; line++) {
        Slice frame;
        assert_false(assembler_full(b->assembler));
        writer_reset(&b->frame);
        frame_write(&b->frame, lines[line]);
        void *memory = frame_give(writer_slice(&b->frame), &frame);
        assert_true(assembler_feed(b->assembler, LSN_NONE, frame, memory, frame.len, &b->e));
    }
    for (int piece = 0; piece < 3; piece++) {
        Batch *batch;
        assert_true(assembler_full(b->assembler));
        assert_true(assembler_take(b->assembler, false, &batch, &b->e));
        assert_non_null(batch);
        bench_note(b, batch);
    }
    assert_false(assembler_full(b->assembler));
    bench_gave(b, "[7 100-110 0:I t(1,a) 1:I t(2,a)]");
    bench_free(b);
}

static void an_empty_transaction_comes_out(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    b->keep = true;
    bench_feed(b, "B 7 100; C 100 110; B 8 120; " RELATION "; Y; O; C 120 130; S 9 first; E; c 9 140 150");
    bench_gave(b, "[7 100-110][8 120-130][9 140-150]");
    for (uint32_t tx = 0; tx < 3; tx++) {
        assert_int_equal(b->kept[0]->transactions[tx].count, 0);
        assert_true(b->kept[0]->transactions[tx].begins);
        assert_true(b->kept[0]->transactions[tx].ends);
    }
    bench_free(b);
}

/* More transactions in a batch than it had room for at first. */
static void many_transactions_fit_into_one_batch(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    Writer expected = writer_new(1 << 20);
    for (int tx = 1; tx <= 300; tx++) {
        char lines[200];
        snprintf(lines, sizeof lines, "B %d %d; " RELATION "; I 1 %d a; C %d %d", tx, tx * 10, tx, tx * 10,
                 tx * 10 + 5);
        bench_feed(b, lines);
        writer_format(&expected, "[%d %d-%d 0:I t(%d,a)]", tx, tx * 10, tx * 10 + 5, tx);
    }
    bench_gave(b, writer_string(&expected));
    assert_int_equal(b->batches, 1);
    writer_free(&expected);
    bench_free(b);
}

/* What is not for the sinks is not kept until something is. */
static void frames_without_a_change_are_not_collected(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->options.batch_bytes = 8 * 1024;
    bench_begin(b, NULL);
    bench_feed(b, "B 7 100; R 2 beats job* beat");
    for (int row = 0; row < 1000; row++)
        bench_feed(b, "I 2 another 1");
    b->keep = true;
    bench_feed(b, RELATION "; I 1 1 a; C 100 110");
    bench_gave(b, "[7 100-110 1000:I t(1,a)]");
    for (uint32_t batch = 0; batch < b->batches; batch++)
        assert_true(b->kept[batch]->bytes < 200 * 1000); /* 1000 rows are 64 times the limit */
    assert_true(frame_memory.gone > 900);
    bench_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_transactions_share_a_batch),
        cmocka_unit_test(a_batch_is_closed_by_its_number_of_changes),
        cmocka_unit_test(a_change_knows_where_its_record_lies),
        cmocka_unit_test(a_batch_is_closed_by_its_weight),
        cmocka_unit_test(a_batch_says_what_it_weighs_and_when_its_transactions_began_and_ended),
        cmocka_unit_test(a_large_transaction_comes_in_pieces),
        cmocka_unit_test(a_small_transaction_is_not_cut),
        cmocka_unit_test(a_last_piece_may_be_empty),
        cmocka_unit_test(full_until_all_pieces_are_taken),
        cmocka_unit_test(an_empty_transaction_comes_out),
        cmocka_unit_test(many_transactions_fit_into_one_batch),
        cmocka_unit_test(frames_without_a_change_are_not_collected),
    };
    return cmocka_run_group_tests_name("assembler_delivery", tests, NULL, NULL);
}
