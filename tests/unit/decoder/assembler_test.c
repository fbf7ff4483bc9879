#include "core/clock.h"
#include "data/assembling.h"

#define RELATION "R 1 t id* note"

static Bench *bench_new(void) {
    Bench *b = malloc(sizeof *b);
    assert_non_null(b);
    bench_init(b);
    return b;
}

static Bench *bench_ready(void) {
    Bench *b = bench_new();
    bench_begin(b, NULL);
    return b;
}

static void bench_free(Bench *b) {
    bench_end(b);
    free(b);
}

/* ---- transactions, batches and pieces ---- */

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

/* ---- streamed transactions ---- */

static void streamed_transactions_come_out_in_commit_order(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; E; S 8 first; 8:" RELATION "; 8:I 1 2 b; E");
    assert_int_equal(assembler_held(b->assembler), 2);
    bench_feed(b, "B 9 100; " RELATION "; I 1 9 i");
    assert_int_equal(assembler_held(b->assembler), 3);
    bench_feed(b, "C 100 110; S 7 again; 7:I 1 3 c; E");
    bench_gave(b, "[9 100-110 0:I t(9,i)]");
    bench_feed(b, "S 8 again; 80:I 1 4 d; E; c 8 120 130");
    bench_gave(b, "[8 120-130 0:I t(2,b) 1:I t(4,d)]");
    bench_feed(b, "c 7 140 150");
    bench_gave(b, "[7 140-150 0:I t(1,a) 1:I t(3,c)]");
    assert_int_equal(assembler_held(b->assembler), 0);
    bench_free(b);
}

static void an_aborted_stream_leaves_nothing(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; E; A 7 7; S 8 first; E; A 8 8");
    assert_int_equal(assembler_held(b->assembler), 0);
    assert_int_equal(frame_memory.gone, frame_memory.given);
    assert_int_equal(assembler_aborts_ignored(b->assembler), 0);
    bench_feed(b, "S 7 first; E; c 7 100 110"); /* the id is free again */
    bench_gave(b, "[7 100-110]");
    bench_free(b);
}

/* trap C2: numbered over the survivors, as if nothing had been streamed. */
static void trap_C2_numbers_count_only_what_survives(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 71:I 1 2 b; 72:I 1 3 c; 71:I 1 4 d; E");
    bench_feed(b, "A 7 72; S 7 again; 71:" RELATION "; 71:I 1 5 e; E; c 7 100 110");
    bench_gave(b, "[7 100-110 0:I t(1,a) 1:I t(2,b) 2:I t(5,e)]");
    bench_feed(b, "B 8 120; " RELATION "; I 1 1 a; I 1 2 b; I 1 5 e; C 120 130");
    bench_gave(b, "[8 120-130 0:I t(1,a) 1:I t(2,b) 2:I t(5,e)]");
    bench_free(b);
}

/* The children are told first; what the parent did behind its child is gone already when its own turn comes. */
static void nested_subtransactions_are_cut_with_their_parent(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 72:I 1 2 b; 71:I 1 3 c; E; A 7 72; A 7 71");
    bench_feed(b, "S 7 again; 7:" RELATION "; 7:I 1 4 d; 73:I 1 5 e; 74:I 1 6 f; E; A 7 74; A 7 75");
    bench_feed(b, "c 7 100 110");
    bench_gave(b, "[7 100-110 0:I t(1,a) 1:I t(4,d) 2:I t(5,e)]");
    assert_int_equal(assembler_aborts_ignored(b->assembler), 0);
    bench_free(b);
}

static void an_abort_of_something_unknown_is_ignored_and_counted(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "A 7 7; A 7 71; S 8 first; 8:" RELATION "; 8:I 1 1 a; E; A 9 8; c 8 100 110");
    bench_gave(b, "[8 100-110 0:I t(1,a)]");
    assert_int_equal(assembler_aborts_ignored(b->assembler), 3);
    bench_free(b);
}

/* trap A7e: the abort is longer when streaming 'parallel' was asked for. */
static void trap_A7e_the_abort_has_a_position_when_it_was_asked_for(void **unused) {
    (void)unused;
    for (int parallel = 0; parallel < 2; parallel++)
        for (int longer = 0; longer < 2; longer++) {
            Bench *b = bench_new();
            b->options.abort_has_lsn = parallel == 1;
            bench_begin(b, NULL);
            bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; E");
            writer_reset(&b->frame);
            frame_write(&b->frame, "A 7 7");
            for (int number = 0; number < 2 * longer; number++)
                writer_u64(&b->frame, 99);
            assert_int_equal(bench_frame(b, writer_slice(&b->frame)), parallel == longer);
            bench_free(b);
        }
}

static void an_origin_inside_of_a_stream_is_no_change(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "S 7 first; O; 7:" RELATION
                  "; 7:I 1 1 a; E; S 7 again; O; 71:I 1 2 b; E; A 7 71; c 7 100 110");
    bench_gave(b, "[7 100-110 0:I t(1,a)]");
    bench_free(b);
}

/* ---- relations ---- */

/* trap A7c: what a stream says about a relation is its own until its commit. */
static void trap_A7c_relations_of_a_stream_are_private(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "B 6 90; R 1 old id* note; C 90 95; S 7 first; 7:R 1 new id* note more; 7:I 1 1 a x; E");
    bench_feed(b, "B 8 100; I 1 2 b; C 100 110");
    bench_gave(b, "[6 90-95][8 100-110 0:I old(2,b)]");
    bench_feed(b, "c 7 120 130; B 9 140; I 1 3 c y; C 140 150");
    bench_gave(b, "[7 120-130 0:I new(1,a,x)][9 140-150 0:I new(3,c,y)]");
    bench_free(b);
}

static void trap_A7c_an_aborted_stream_takes_its_relations_along(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "B 6 90; R 1 old id* note; C 90 95; S 7 first; 7:R 1 new id* note more; E; A 7 7");
    bench_feed(b, "B 8 100; I 1 2 b; C 100 110");
    bench_gave(b, "[6 90-95][8 100-110 0:I old(2,b)]");
    bench_free(b);
}

static void trap_A7c_a_global_relation_that_arrived_later_stays(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "S 7 first; 7:R 1 early id*; 7:I 1 1; E; B 8 100; R 1 late id*; I 1 2; C 100 110");
    bench_feed(b, "c 7 120 130; B 9 140; I 1 3; C 140 150");
    bench_gave(b, "[8 100-110 0:I late(2)][7 120-130 0:I early(1)][9 140-150 0:I late(3)]");
    bench_free(b);
}

static void a_stream_does_not_see_global_relations(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "B 6 90; " RELATION "; C 90 95; S 7 first; 7:I 1 1 a; E");
    bench_refused(b, "c 7 120 130", "never announced in this streamed transaction");
    bench_free(b);
}

static void each_row_has_the_version_in_force(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    b->keep = true;
    bench_feed(b, "B 7 100; R 1 t id*; I 1 1; R 1 t id* more; I 1 2 x; R 1 t id* more; I 1 3 y; C 100 110");
    bench_gave(b, "[7 100-110 0:I t(1) 1:I t(2,x) 2:I t(3,y)]");
    const Change *changes = b->kept[0]->transactions[0].changes;
    assert_int_equal(changes[0].rel->number, 0);
    assert_int_equal(changes[1].rel->number, 1);
    assert_ptr_equal(changes[1].rel, changes[2].rel);
    bench_free(b);
}

static void a_relation_outside_of_transactions_is_global(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, RELATION "; Y; B 7 100; I 1 1 a; C 100 110");
    bench_gave(b, "[7 100-110 0:I t(1,a)]");
    bench_free(b);
}

/* ---- single changes ---- */

static void what_a_key_tuple_leaves_out_is_absent(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b,
               "B 7 100; R 1 t a* b c* d; U 1 K 1 - 2 - N 1 ~ - x; D 1 K - - 5 -; U 1 N 1 - 2 ~; C 100 110");
    bench_gave(b, "[7 100-110 0:U t(1,.,2,.)>(1,~,-,x) 1:D t(-,.,5,.) 2:U t(1,-,2,~)]");
    bench_feed(b,
               "B 8 120; U 1 O 1 - - 4 N 1 2 - ~; D 1 O - - - -; C 120 130"); /* under FULL they are NULLs */
    bench_gave(b, "[8 120-130 0:U t(1,-,-,4)>(1,2,-,~) 1:D t(-,-,-,-)]");
    bench_free(b);
}

static void a_row_without_columns(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "B 7 100; R 1 bare; I 1; C 100 110");
    bench_gave(b, "[7 100-110 0:I bare()]");
    bench_free(b);
}

static void a_row_must_fit_its_relation(void **unused) {
    (void)unused;
    static const char *const rows[] = {"I 1 1",         "I 1 1 a x",   "U 1 N 1", "U 1 K 1 N 1 a",
                                       "U 1 K 1 - N 1", "D 1 K 1 - -", "D 1 O 1", "I 2 1 a",
                                       "D 2 K 1 -",     "U 2 N 1 a",   "T 2",     "T 1 2"};
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        Bench *b = bench_ready();
        bench_feed(b, "B 6 80; " RELATION "; I 1 1 a; C 80 90");
        bench_feed(b, "B 7 100");
        bench_feed(b, rows[row]);
        bench_refused(b, "C 100 110",
                      strstr(rows[row], " 2") == rows[row] + 1 || rows[row][0] == 'T'
                          ? "relation 2, which was never announced"
                          : "columns, its relation 2");
        bench_free(b);
    }
}

static void truncate_leaves_the_heartbeat_table_out(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(
        b, "B 7 100; R 1 t id*; R 2 beats job*; R 3 u id*; T 1 2 3 cascade restart; T 2; T 1; T 3 restart; "
           "C 100 110");
    bench_gave(b, "[7 100-110 0:T t u cascade restart 2:T t 3:T u restart]");
    bench_free(b);
}

static void messages_come_out_but_for_our_own(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "B 7 100; M 90 app some text; M 90 walferry.other x; M 90 walferry.beat.shop 42 1234567; "
                  "M 90 walferry.beat.market 43 1; M 90 walferry 1; M 90 walferry.beat.shop 44; "
                  "M 90 walferry.beat.shop x4 1; M 90 walferry.beat.shop; M 90 app; C 100 110");
    bench_gave(b, "[7 100-110 0:M app=some text 2:beat 42 4:M walferry=1 8:M app=]");
    bench_free(b);
}

static void heartbeat_rows_of_ours_are_beats(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(
        b,
        "B 7 100; R 2 beats job* beat at; I 2 shop 1 now; U 2 N shop -2 now; U 2 K shop - - N shop #3 now; "
        "U 2 N market 9 now; I 2 market 9 now; D 2 K shop - -; U 2 N shop - now; U 2 N shop 4x now; "
        "U 2 N shop 123456789012345678901234567890 now; U 2 N - 5 now; C 100 110");
    bench_gave(b, "[7 100-110 0:beat 1 1:beat -2 2:beat 3]");
    bench_feed(b, "B 8 120; R 3 beats another; I 2 shop 6 now; R 2 beats job*; I 2 shop; C 120 130");
    bench_gave(b, "[8 120-130 0:beat 6]");
    bench_free(b);
}

static void without_a_heartbeat_table_every_row_is_data(void **unused) {
    (void)unused;
    for (int which = 0; which < 2; which++) {
        Bench *b = bench_new();
        b->options.beat_table = which == 0 ? NULL : "beats";
        b->options.beat_schema = which == 0 ? NULL : "elsewhere";
        bench_begin(b, NULL);
        bench_feed(b, "B 7 100; R 2 beats job* beat; I 2 shop 1; T 2; C 100 110");
        bench_gave(b, "[7 100-110 0:I beats(shop,1) 1:T beats]");
        bench_free(b);
    }
}

/* Its position is the end of its record, and may be where the commit that follows begins. A start beyond that would
 * lose the commit (shown on 15.20), so it ends exactly there; its identity lies inside of its record. */
static void trap_C2_a_message_outside_is_a_transaction_of_its_own(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "m 100 app now; B 7 100; " RELATION "; I 1 1 a; C 100 110; m 130 walferry.x y");
    bench_gave(b, "[0 99-100 0:m app=now][7 100-110 0:I t(1,a)][0 129-130]");
    bench_refused(b, "m 130 app again", "not beyond");
    bench_free(b);
}

static void messages_outside_come_between_the_chunks_of_a_stream(void **unused) {
    (void)unused;
    Bench *b = bench_ready();
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 7:M 90 app inside; E; m 100 app now; c 7 120 130");
    bench_gave(b, "[0 99-100 0:m app=now][7 120-130 0:I t(1,a) 1:M app=inside]");
    bench_free(b);
}

/* ---- until, ledger ---- */

static void until_ends_with_the_last_transaction_within(void **unused) {
    (void)unused;
    static const char *const beyond[] = {"B 8 112; I 1 2 b; C 112 121", "m 121 app now", "c 9 112 121"};
    for (size_t which = 0; which < 3; which++) {
        Bench *b = bench_ready();
        assembler_until(b->assembler, (Lsn){120});
        bench_feed(b, "S 9 first; 9:" RELATION "; 9:I 1 1 a; E; B 7 100; " RELATION "; I 1 1 a; C 100 110");
        bench_feed(b, "B 6 112; I 1 1 a; C 112 120");
        assert_false(assembler_passed(b->assembler));
        bench_feed(b, beyond[which]);
        assert_true(assembler_passed(b->assembler));
        bench_feed(b, "B 10 200; I 1 1 a; C 200 210");
        bench_gave(b, "[7 100-110 0:I t(1,a)][6 112-120 0:I t(1,a)]");
        bench_free(b);
    }
}

/* What `until` leaves out is never durable: the idle positions behind it must not be confirmed. */
static void until_keeps_what_it_leaves_out_in_flight(void **unused) {
    (void)unused;
    static const char *const beyond[] = {"B 8 112; C 112 121", "m 121 app now", "c 9 112 121"};
    for (size_t which = 0; which < 3; which++) {
        Bench *b = bench_new();
        Ledger *ledger = ledger_new(1, (Lsn[]){{50}}, (Lsn){50});
        bench_begin(b, ledger);
        assembler_until(b->assembler, (Lsn){120});
        bench_feed(b, "S 9 first; E");
        assert_false(ledger_in_flight(ledger));
        bench_feed(b, beyond[which]);
        assert_true(ledger_in_flight(ledger));
        ledger_idle(ledger, (Lsn){1 << 30});
        assert_true(lsn_is_none(ledger_promise_wanted(ledger, 0)));
        assert_int_equal(ledger_last_commit(ledger).at, 0);
        bench_free(b);
        ledger_free(ledger);
    }
}

/* trap B11: the ledger hears of a commit when its frame is read, not when its batch is taken. */
static void trap_B11_the_ledger_hears_of_frames(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    Ledger *ledger = ledger_new(1, (Lsn[]){{50}}, (Lsn){50});
    bench_begin(b, ledger);
    bench_feed(b, "S 7 first; E");
    assert_false(ledger_in_flight(ledger)); /* the server keeps its WAL */
    bench_feed(b, "B 8 100");
    assert_true(ledger_in_flight(ledger));
    bench_feed(b, "C 100 110");
    assert_int_equal(ledger_last_commit(ledger).at, 110);
    assert_int_equal(b->batches, 0);
    ledger_durable(ledger, 0, (Lsn){110});
    assert_false(ledger_in_flight(ledger));
    bench_feed(b, "m 115 walferry.x y");
    assert_int_equal(ledger_last_commit(ledger).at, 115);
    bench_feed(b, "c 7 120 130");
    assert_int_equal(ledger_last_commit(ledger).at, 130);
    bench_free(b);
    ledger_free(ledger);
}

/* ---- the protocol's order, and memory ---- */

static void two_phase_is_refused(void **unused) {
    (void)unused;
    static const char *const kinds[] = {"b 7 1 2", "P 7 1 2", "K 7 1 2", "r 7 1 2", "p 7 1 2"};
    for (size_t kind = 0; kind < 5; kind++) {
        Bench *b = bench_ready();
        bench_refused(b, kinds[kind], "prepared transaction, which was not asked for");
        assert_string_equal(b->e.hint, "the slot must be made without two_phase");
        bench_free(b);
    }
}

static const struct {
    const char *before, *line, *says;
} OUT_OF_PLACE[] = {
    {NULL, "I 1 1 a", "'I' outside of a transaction"},
    {NULL, "M 90 app x", "'M' outside of a transaction"},
    {NULL, "O", "'O' outside of a transaction"},
    {NULL, "T 1", "'T' outside of a transaction"},
    {NULL, "C 100 110", "'C' without BEGIN"},
    {NULL, "E", "'E' without STREAM START"},
    {NULL, "S 7 again", "transaction 7 is not the first, but nothing of it is known"},
    {NULL, "c 7 100 110", "transaction 7, of which nothing is known"},
    {"B 7 100", "B 8 200", "'B' inside a transaction"},
    {"B 7 100", "S 8 first", "'S' inside a transaction"},
    {"B 7 100", "E", "'E' without STREAM START"},
    {"B 7 100", "A 8 8", "'A' inside a transaction"},
    {"B 7 100", "C 99 110", "COMMIT at 0/63 of a transaction that began for 0/64"},
    {"B 7 100", "C 100 100", "ends at 0/64, not beyond its record 0/64"},
    {"B 7 100", "C 100 90", "ends at 0/5A, not beyond its record"},
    {"S 7 first; E", "S 7 first", "transaction 7 is a first one again"},
    {"S 7 first; E", "c 8 100 110", "transaction 8, of which nothing is known"},
    {"S 7 first; E; S 8 first; E", "B 9 100; c 8 100 110", "'c' inside a transaction"},
    {"S 7 first", "B 8 100", "'B' inside a transaction"},
    {"S 7 first", "S 8 first", "'S' inside a transaction"},
    {"S 7 first", "C 100 110", "'C' without BEGIN"},
    {"S 7 first", "c 7 100 110", "'c' inside a transaction"},
    {"S 7 first", "A 7 7", "'A' inside a transaction"},
    {"B 7 100; C 100 110; S 8 first; E", "c 8 105 110", "and the commit before 0/6E"},
    {"B 7 100; C 100 110; B 8 90", "C 90 100", "and the commit before 0/6E"},
    {"m 100 app x", "m 100 app x", "and the commit before 0/64"},
    {NULL, "m 0 app x", "not beyond its record 0/0"},
};

static void messages_out_of_place_are_refused(void **unused) {
    (void)unused;
    for (size_t row = 0; row < sizeof OUT_OF_PLACE / sizeof OUT_OF_PLACE[0]; row++) {
        Bench *b = bench_ready();
        char line[100];
        strcpy(line, OUT_OF_PLACE[row].line);
        char *second = strstr(line, "; ");
        if (OUT_OF_PLACE[row].before != NULL)
            bench_feed(b, OUT_OF_PLACE[row].before);
        if (second != NULL)
            bench_feed(b, strtok(line, ";"));
        bench_refused(b, second == NULL ? line : second + 2, OUT_OF_PLACE[row].says);
        bench_free(b);
    }
}

static void broken_frames_are_refused_and_released(void **unused) {
    (void)unused;
    static const char *const lines[] = {"B 7 100", "m 100 app x", RELATION, "A 7 7"};
    for (size_t line = 0; line < 4; line++) {
        Writer whole = writer_new(1 << 16);
        frame_write(&whole, lines[line]);
        for (size_t length = 0; length < whole.len; length++) {
            Bench *b = bench_ready();
            assert_false(bench_frame(b, (Slice){whole.at, length}));
            assert_int_equal(b->e.kind, ERR_PROTOCOL);
            bench_free(b);
        }
        writer_free(&whole);
    }
    Bench *b = bench_ready();
    assert_false(bench_frame(b, slice_text("?")));
    bench_free(b);
    b = bench_ready();
    bench_feed(b, "B 7 100");
    assert_true(bench_frame(b, slice_text("Inonsense")));
    bench_refused(b, "C 100 110", "pgoutput message");
    bench_free(b);
    b = bench_ready();
    bench_feed(b, "S 7 first");
    bench_refused(b, "0:I 1 1 a", "transaction id 0");
    bench_free(b);
}

/* Everything that can be open at once, thrown away at any moment. */
static void a_session_may_end_at_any_frame(void **unused) {
    (void)unused;
    static const char *const lines[] = {
        "S 7 first", "7:" RELATION, "7:I 1 1 a",  "E",       "S 8 first",   "8:" RELATION, "81:I 1 1 a",
        "E",         "A 8 81",      "m 50 app x", "B 9 100", RELATION,      "I 1 1 a",     "I 1 2 a",
        "C 100 110", "S 7 again",   "7:I 1 9 a",  "E",       "c 7 120 130", "B 10 140",    "C 140 150"};
    static const size_t held[] = {1 << 20, 200, 0};
    for (size_t memory = 0; memory < 3; memory++)
        for (size_t count = 0; count <= sizeof lines / sizeof lines[0]; count++) {
            Bench *b = bench_new();
            b->options.held_bytes = held[memory];
            bench_begin(b, NULL);
            for (size_t line = 0; line < count; line++)
                bench_feed(b, lines[line]);
            bench_free(b);
        }
    assembler_free(NULL);
}

/* A batch may outlive the frames that follow it, but not the assembler: relations live there. */
static void a_batch_keeps_its_own_memory(void **unused) {
    (void)unused;
    for (int spilled = 0; spilled < 2; spilled++) {
        Bench *b = bench_new();
        b->options.held_bytes = spilled ? 0 : 1 << 20;
        b->options.batch_changes = 2;
        b->keep = true;
        bench_begin(b, NULL);
        bench_feed(b, "B 7 100; " RELATION "; I 1 1 first; I 1 2 second; I 1 3 third; C 100 110");
        bench_feed(b, "B 8 120; I 1 4 xxxxx; I 1 5 xxxxxx; C 120 130");
        assert_true(bench_take(b, true));
        writer_reset(&b->out);
        for (uint32_t batch = 0; batch < b->batches; batch++)
            for (uint32_t tx = 0; tx < b->kept[batch]->count; tx++)
                text_transaction(&b->out, &b->kept[batch]->transactions[tx], true, false);
        assert_string_equal(writer_string(&b->out),
                            "[7 100-110 0:I t(1,first) 1:I t(2,second) 2:I t(3,third)]"
                            "[8 120-130 0:I t(4,xxxxx) 1:I t(5,xxxxxx)]");
        bench_free(b);
    }
}

static void spilled_transactions_come_out_whole(void **unused) {
    (void)unused;
    Bench *b = bench_new();
    b->options.held_bytes = 500;
    bench_begin(b, NULL);
    char row[300];
    snprintf(row, sizeof row, "7:I 1 1 %0200d", 5);
    bench_feed(b, "S 7 first; 7:" RELATION);
    for (int number = 0; number < 500; number++)
        bench_feed(b, row);
    bench_feed(b, "71:I 1 2 b; E");
    assert_true(assembler_spilled_bytes(b->assembler) > 0);
    bench_feed(b, "A 7 71; c 7 100 110; B 8 120; C 120 130");
    assert_true(bench_take(b, true));
    assert_int_equal(assembler_spilled_bytes(b->assembler), 0);
    assert_non_null(strstr(writer_string(&b->out), " 499:I t(1,0000"));
    assert_null(strstr(writer_string(&b->out), " 500:"));
    bench_free(b);
}

/* The spill fails: the frame that asked for room is released like the others. */
static void a_spill_that_fails_ends_the_session(void **unused) {
    (void)unused;
    static const char *const last[] = {"m 100 app x", "I 1 1 a", "7:I 1 1 a"};
    static const char *const before[] = {"Y", "B 7 100", "S 7 first"};
    for (size_t which = 0; which < 3; which++) {
        Bench *b = bench_new();
        b->options.held_bytes = 0;
        b->spill.dir = "/proc/nowhere";
        bench_begin(b, NULL);
        bench_feed(b, before[which]);
        assert_false(bench_line(b, last[which]));
        assert_int_equal(b->e.kind, ERR_LIMIT);
        bench_free(b);
    }
}

/* ---- parts (trap A7) ---- */

/* A sink that takes parts, each of two changes, and gives nothing up. */
static Bench *bench_parts(bool whole) {
    Bench *b = bench_new();
    b->options.early_most = 2;
    b->options.early_changes = 2;
    b->options.early_from = (Lsn){50};
    b->options.early_alone = !whole;
    b->steady = b->bare = true;
    b->whole = whole;
    return b;
}

static void what_fits_into_one_part_is_held(void **unused) {
    (void)unused;
    Bench *b = bench_parts(false);
    bench_begin(b, NULL);
    assembler_reached(b->assembler, (Lsn){50});
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; E; c 7 100 110");
    bench_gave(b, "[7 100-110 I t(1,a)]");
    assert_int_equal(b->parts_applied, 0);
    bench_feed(b, "S 8 first; 8:" RELATION "; 8:I 1 1 a; 8:I 1 2 b; E; c 8 120 130");
    bench_gave(b, "[8 120-130 I t(1,a) I t(2,b)]");
    assert_int_equal(b->parts_applied, 1);
    bench_free(b);
}

/* The part may rest on what was committed before it. */
static void what_was_committed_goes_out_before_a_part(void **unused) {
    (void)unused;
    Bench *b = bench_parts(false);
    bench_begin(b, NULL);
    assembler_reached(b->assembler, (Lsn){50});
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; E; B 8 100; " RELATION "; I 1 9 i; C 100 110");
    assert_string_equal(writer_string(&b->out), "");
    bench_feed(b, "S 7 again; 7:I 1 2 b; E");
    assert_string_equal(writer_string(&b->out), "[8 100-110 I t(9,i)]");
    bench_feed(b, "c 7 120 130");
    bench_gave(b, "[8 100-110 I t(9,i)][7 120-130 I t(1,a) I t(2,b)]");
    assert_int_equal(b->parts_applied, 1);
    bench_free(b);
}

static void trap_A7a_no_parts_before_the_server_has_come_so_far(void **unused) {
    (void)unused;
    Bench *b = bench_parts(false);
    bench_begin(b, NULL);
    assembler_reached(b->assembler, (Lsn){49});
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 7:I 1 2 b; E");
    assembler_reached(b->assembler, (Lsn){50}); /* too late for 7 */
    bench_feed(b, "S 8 first; 8:" RELATION "; 8:I 1 3 c; 8:I 1 4 d; E");
    bench_feed(b, "S 7 again; 7:I 1 5 e; 7:I 1 6 f; E; c 7 100 110; c 8 120 130");
    bench_gave(b, "[7 100-110 I t(1,a) I t(2,b) I t(5,e) I t(6,f)][8 120-130 I t(3,c) I t(4,d)]");
    assert_int_equal(b->parts_applied, 1);
    bench_free(b);
}

static void so_many_at_a_time(void **unused) {
    (void)unused;
    Bench *b = bench_parts(false);
    bench_begin(b, NULL);
    assembler_reached(b->assembler, (Lsn){50});
    for (int xid = 7; xid <= 9; xid++) {
        char lines[100];
        snprintf(lines, sizeof lines, "S %d first; %d:%s; %d:I 1 1 a; %d:I 1 2 b; E", xid, xid, RELATION, xid,
                 xid);
        bench_feed(b, lines);
    }
    bench_feed(b, "c 9 100 110; c 8 120 130; A 7 7");
    assert_int_equal(b->parts_applied, 1);
    assert_int_equal(b->parts_aborted, 1);
    bench_feed(b, "S 10 first; 10:" RELATION "; 10:I 1 1 a; 10:I 1 2 b; E; c 10 140 150");
    assert_int_equal(b->parts_applied, 2);
    bench_free(b);
}

static void trap_A7d_truncate_and_messages_end_the_parts(void **unused) {
    (void)unused;
    static const char *const lines[] = {"7:T 1", "7:M 1 app x"};
    for (int which = 0; which < 2; which++) {
        Bench *b = bench_parts(false);
        bench_begin(b, NULL);
        assembler_reached(b->assembler, (Lsn){50});
        bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 7:I 1 2 b");
        bench_feed(b, lines[which]);
        assert_int_equal(b->parts_aborted, 1);
        bench_feed(b, "7:I 1 3 c; 7:I 1 4 d; E; c 7 100 110");
        bench_gave(b, which == 0 ? "[7 100-110 I t(1,a) I t(2,b) T t I t(3,c) I t(4,d)]"
                                 : "[7 100-110 I t(1,a) I t(2,b) M app=x I t(3,c) I t(4,d)]");
        bench_free(b);
    }
}

static void parts_beyond_until_are_undone(void **unused) {
    (void)unused;
    Bench *b = bench_parts(false);
    bench_begin(b, NULL);
    assembler_until(b->assembler, (Lsn){105});
    assembler_reached(b->assembler, (Lsn){50});
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 7:I 1 2 b; E; c 7 100 110");
    bench_gave(b, "");
    assert_true(assembler_passed(b->assembler));
    assert_int_equal(b->parts_aborted, 1);
    bench_free(b);
}

/* A spill that is full lets go of what is in parts; whoever then gives it up reads it from the source again. */
static Bench *bench_full_spill(bool whole) {
    Bench *b = bench_parts(whole);
    b->options.held_bytes = 0;
    b->spill.max_bytes = 250;
    bench_begin(b, NULL);
    assembler_reached(b->assembler, (Lsn){50});
    bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 7:I 1 2 b");
    return b;
}

static void trap_A7d_a_full_spill_lets_go_of_what_is_in_parts(void **unused) {
    (void)unused;
    Bench *b = bench_full_spill(false);
    bench_feed(b,
               "7:I 1 3 c; 7:I 1 4 d; 71:I 1 5 e; 71:I 1 6 f; E; A 7 71; S 7 again; 7:I 1 7 g; 7:I 1 8 h; E");
    assert_int_equal(b->spill.used_bytes, 0);
    bench_feed(b, "c 7 100 110");
    bench_gave(b, "[7 100-110 I t(1,a) I t(2,b) I t(3,c) I t(4,d) I t(7,g) I t(8,h)]");
    assert_int_equal(assembler_unheld(b->assembler), 0);
    bench_free(b);
}

static void trap_A7d_what_is_not_held_and_given_up_is_read_again(void **unused) {
    (void)unused;
    static const char *const lines[] = {"7:T 1", "7:I 1 9 i"};
    for (int which = 0; which < 2; which++) {
        Bench *b = bench_full_spill(false);
        bench_feed(b, "7:I 1 3 c; 7:I 1 4 d; 7:I 1 5 e; 7:I 1 6 f");
        if (which == 1) { /* it is noticed with the next part */
            ticket_settle(b->parts[0].ticket, TICKET_GIVEN_UP);
            bench_feed(b, "7:I 1 8 h");
        }
        assert_false(bench_line(b, lines[which]));
        assert_int_equal(b->e.kind, ERR_RETRY);
        assert_int_equal(assembler_unheld(b->assembler), 7);
        bench_free(b);
        b = bench_parts(false);
        b->options.early_never = 7;
        bench_begin(b, NULL);
        assembler_reached(b->assembler, (Lsn){50});
        bench_feed(b, "S 7 first; 7:" RELATION "; 7:I 1 1 a; 7:I 1 2 b; 7:I 1 3 c; E; c 7 100 110");
        bench_gave(b, "[7 100-110 I t(1,a) I t(2,b) I t(3,c)]");
        assert_int_equal(b->parts_applied, 0);
        bench_free(b);
    }
}

static void a_full_spill_is_an_error_where_the_whole_is_needed(void **unused) {
    (void)unused;
    Bench *b = bench_full_spill(true);
    bool ok = true;
    for (int row = 0; ok && row < 5; row++)
        ok = bench_line(b, "7:I 1 3 c");
    assert_false(ok);
    assert_int_equal(b->e.kind, ERR_LIMIT);
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
        cmocka_unit_test(streamed_transactions_come_out_in_commit_order),
        cmocka_unit_test(an_aborted_stream_leaves_nothing),
        cmocka_unit_test(trap_C2_numbers_count_only_what_survives),
        cmocka_unit_test(nested_subtransactions_are_cut_with_their_parent),
        cmocka_unit_test(an_abort_of_something_unknown_is_ignored_and_counted),
        cmocka_unit_test(trap_A7e_the_abort_has_a_position_when_it_was_asked_for),
        cmocka_unit_test(an_origin_inside_of_a_stream_is_no_change),
        cmocka_unit_test(trap_A7c_relations_of_a_stream_are_private),
        cmocka_unit_test(trap_A7c_an_aborted_stream_takes_its_relations_along),
        cmocka_unit_test(trap_A7c_a_global_relation_that_arrived_later_stays),
        cmocka_unit_test(a_stream_does_not_see_global_relations),
        cmocka_unit_test(each_row_has_the_version_in_force),
        cmocka_unit_test(a_relation_outside_of_transactions_is_global),
        cmocka_unit_test(what_a_key_tuple_leaves_out_is_absent),
        cmocka_unit_test(a_row_without_columns),
        cmocka_unit_test(a_row_must_fit_its_relation),
        cmocka_unit_test(truncate_leaves_the_heartbeat_table_out),
        cmocka_unit_test(messages_come_out_but_for_our_own),
        cmocka_unit_test(heartbeat_rows_of_ours_are_beats),
        cmocka_unit_test(without_a_heartbeat_table_every_row_is_data),
        cmocka_unit_test(trap_C2_a_message_outside_is_a_transaction_of_its_own),
        cmocka_unit_test(messages_outside_come_between_the_chunks_of_a_stream),
        cmocka_unit_test(until_ends_with_the_last_transaction_within),
        cmocka_unit_test(until_keeps_what_it_leaves_out_in_flight),
        cmocka_unit_test(trap_B11_the_ledger_hears_of_frames),
        cmocka_unit_test(two_phase_is_refused),
        cmocka_unit_test(messages_out_of_place_are_refused),
        cmocka_unit_test(broken_frames_are_refused_and_released),
        cmocka_unit_test(a_session_may_end_at_any_frame),
        cmocka_unit_test(a_batch_keeps_its_own_memory),
        cmocka_unit_test(spilled_transactions_come_out_whole),
        cmocka_unit_test(a_spill_that_fails_ends_the_session),
        cmocka_unit_test(what_fits_into_one_part_is_held),
        cmocka_unit_test(what_was_committed_goes_out_before_a_part),
        cmocka_unit_test(trap_A7a_no_parts_before_the_server_has_come_so_far),
        cmocka_unit_test(so_many_at_a_time),
        cmocka_unit_test(trap_A7d_truncate_and_messages_end_the_parts),
        cmocka_unit_test(parts_beyond_until_are_undone),
        cmocka_unit_test(trap_A7d_a_full_spill_lets_go_of_what_is_in_parts),
        cmocka_unit_test(trap_A7d_what_is_not_held_and_given_up_is_read_again),
        cmocka_unit_test(a_full_spill_is_an_error_where_the_whole_is_needed),
    };
    return cmocka_run_group_tests_name("assembler", tests, NULL, NULL);
}
