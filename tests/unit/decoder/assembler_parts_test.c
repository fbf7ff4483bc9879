/* Parts of streamed transactions, given out before their commit (trap A7). */
#include "decoder/bench.h"

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
    return cmocka_run_group_tests_name("assembler_parts", tests, NULL, NULL);
}
