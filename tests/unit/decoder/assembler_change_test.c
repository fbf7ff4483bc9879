/* What becomes of single frames: relations, rows, messages, beats. */
#include "decoder/bench.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name("assembler_change", tests, NULL, NULL);
}
