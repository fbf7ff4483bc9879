#include "decoder/bench.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streamed_transactions_come_out_in_commit_order),
        cmocka_unit_test(an_aborted_stream_leaves_nothing),
        cmocka_unit_test(trap_C2_numbers_count_only_what_survives),
        cmocka_unit_test(nested_subtransactions_are_cut_with_their_parent),
        cmocka_unit_test(an_abort_of_something_unknown_is_ignored_and_counted),
        cmocka_unit_test(trap_A7e_the_abort_has_a_position_when_it_was_asked_for),
        cmocka_unit_test(an_origin_inside_of_a_stream_is_no_change),
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
    };
    return cmocka_run_group_tests_name("assembler", tests, NULL, NULL);
}
