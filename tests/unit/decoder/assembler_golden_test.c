/* What PostgreSQL itself sent (tests/unit/data), through the whole assembler. */
#include "data/golden.h"

#include "data/assembling.h"

/* The workload of capture.sql, transaction for transaction, read against its statements by a person. */
static const char *const EXPECTED[] = {
    "[ 0:I plain(1,eins,12.50,ok,(7,left),label text,\\x00ff00,2020-02-29) 1:I plain(2,-,-,-,-,-,-,-)"
    " 2:I plain(3,,-,-,-,-,-,-) 3:I bare() 4:I no_identity(1,never changed)]",
    "[ 0:U plain(2,zwei,-,-,-,-,-,-)]",
    "[ 0:U plain(3,.,.,.,.,.,.,.)>(30,,-,-,-,-,-,-)]",
    "[ 0:D plain(30,.,.,.,.,.,.,.)]",
    "[ 0:I toasted(1,0,[2560])]",
    "[ 0:U toasted(1,1,~)]",
    "[ 0:U toasted(1,.,.)>(2,1,~)]",
    "[ 0:I full_identity(1,-,x) 1:I full_identity(1,-,x)]",
    "[ 0:U full_identity(1,-,x)>(1,-,y)]",
    "[ 0:D full_identity(1,-,x)]",
    "[ 0:I index_identity(1,one,v)]",
    "[ 0:U index_identity(1,one,w)]",
    "[ 0:U index_identity(1,one,.)>(1,two,w)]",
    "[ 0:D index_identity(1,two,.)]",
    "[ 0:I Tab.le \"q\" ä(1,groß,x,tab\there)]",
    "[ 0:U Tab.le \"q\" ä(1,klein,x,tab\there)]",
    "[ 0:T parent child cascade restart]",
    "[ 0:T plain]",
    "[]", /* walferry.test: our own messages are not for the sinks */
    "[]",
    "[ 0:m =]",
    "[ 0:I changing(1,a) 1:I changing(2,b,5) 2:I changing(3,c)]",
    "[ 0:I plain(4,from elsewhere,-,-,-,-,-,-)]",
    NULL, /* the streamed one */
    "[ 0:I plain(300,prepared,-,-,-,-,-,-)]",
    "[ 0:I plain(302,prepared,-,-,-,-,-,-)]",
    "[ 0:I plain(401,commits first,-,-,-,-,-,-) 1:I plain(402,commits first,-,-,-,-,-,-)]",
    "[ 0:I plain(400,commits last,-,-,-,-,-,-) 1:I plain(403,commits last,-,-,-,-,-,-)]",
};

static const char WHOLE[] =
    "[ 0:I plain(100,streamed,-,-,-,-,-,-) 1:I plain(102,survives,-,-,-,-,-,-)"
    " 2:U plain(102,.,.,.,.,.,.,.)>(104,survives,-,-,-,-,-,-) 3:D plain(100,.,.,.,.,.,.,.)"
    " 5:T parent child 6:I changing(4,d,new column)]";

/* The savepoint's first change was a message, and in a stream PostgreSQL does not say which subtransaction sent a
 * message (listings.h): it survives its savepoint, and what follows is numbered one higher. */
static const char STREAMED[] =
    "[ 0:I plain(100,streamed,-,-,-,-,-,-) 1:I plain(102,survives,-,-,-,-,-,-)"
    " 3:U plain(102,.,.,.,.,.,.,.)>(104,survives,-,-,-,-,-,-) 4:D plain(100,.,.,.,.,.,.,.)"
    " 6:T parent child 7:I changing(4,d,new column)]";

/* In place of the two that are prepared and committed; with those that are prepared and rolled back. */
static const char *const PREPARED[] = {
    "[ 0:I plain(300,prepared,-,-,-,-,-,-) prepares][ commits prepared]"
    "[ 0:I plain(301,prepared,-,-,-,-,-,-) prepares][ rolls back prepared]",
    "[ 0:I plain(302,prepared,-,-,-,-,-,-) prepares][ commits prepared]"
    "[ 0:I plain(303,prepared,-,-,-,-,-,-) prepares][ rolls back prepared]"};
enum { MORE_WITH_TWO_PHASE = 6 };

static void expected_write(Writer *out, const char *streamed, bool two_phase) {
    size_t prepared = 0;
    for (size_t tx = 0; tx < sizeof EXPECTED / sizeof EXPECTED[0]; tx++) {
        const char *text = EXPECTED[tx] == NULL ? streamed : EXPECTED[tx];
        bool was_prepared = two_phase && strstr(text, ",prepared,") != NULL;
        writer_text(out, was_prepared ? PREPARED[prepared++] : text);
    }
}

static void feed_golden(Bench *b, const Golden *golden) {
    for (size_t frame = 0; frame < golden->count; frame++)
        if (!bench_frame(b, golden->frames[frame].bytes))
            fail_test("frame %zu: %s", frame, b->e.text);
    assert_true(bench_take(b, true));
    assert_int_equal(assembler_held(b->assembler), 0);
    assert_int_equal(assembler_aborts_ignored(b->assembler), 0);
}

/* In memory and whole; in pieces of one change; on disk. */
static void run(const char *file, const char *streamed, bool two_phase) {
    static const struct {
        size_t held_bytes;
        uint32_t batch_changes;
    } forms[] = {{1 << 20, 1000}, {1 << 20, 1}, {0, 1000}, {300, 2}};
    Golden *golden = golden_load(file);
    Writer expected = writer_new(1 << 20);
    expected_write(&expected, streamed, two_phase);
    for (size_t form = 0; form < sizeof forms / sizeof forms[0]; form++) {
        Bench b;
        bench_init(&b);
        b.heads = false;
        b.options.two_phase = two_phase;
        b.options.held_bytes = forms[form].held_bytes;
        b.options.batch_changes = forms[form].batch_changes;
        bench_begin(&b, NULL);
        feed_golden(&b, golden);
        assert_string_equal(writer_string(&b.out), writer_string(&expected));
        bench_end(&b);
    }
    writer_free(&expected);
    golden_free(golden);
}

static void every_transaction_of_protocol_1(void **unused) {
    (void)unused;
    run("pgoutput_1_text.hex", WHOLE, false);
}

static void every_transaction_of_a_stream(void **unused) {
    (void)unused;
    run("pgoutput_2_stream.hex", STREAMED, false);
}

static TransactionEnd ending_of(char kind) {
    switch (kind) {
    case 'P':
    case 'p': return TRANSACTION_PREPARES;
    case 'K': return TRANSACTION_COMMITS_PREPARED;
    case 'r': return TRANSACTION_ROLLS_BACK_PREPARED;
    default: return TRANSACTION_COMMITS;
    }
}

/* The ends, against the positions that the server reports beside its frames. */
static void ends_are_what_the_server_says(void **unused) {
    (void)unused;
    static const char *const files[] = {"pgoutput_1_text.hex", "pgoutput_2_stream.hex",
                                        "pgoutput_3_binary.hex", "pgoutput_3_two_phase.hex"};
    for (size_t file = 0; file < 4; file++) {
        Golden *golden = golden_load(files[file]);
        Bench b;
        bench_init(&b);
        b.keep = true;
        b.options.two_phase = file == 3;
        bench_begin(&b, NULL);
        feed_golden(&b, golden);
        assert_int_equal(b.batches, 1);
        uint32_t tx = 0;
        for (size_t frame = 0; frame < golden->count; frame++) {
            const GoldenFrame *g = &golden->frames[frame];
            char kind = g->bytes.at[0];
            if (strchr("CcPpKr", kind) != NULL || (kind == 'M' && !g->in_stream && g->bytes.at[1] == 0)) {
                assert_true(tx < b.kept[0]->count);
                const Transaction *out = &b.kept[0]->transactions[tx++];
                assert_int_equal(out->end.at, g->lsn.at);
                assert_int_equal(out->xid, kind == 'M' ? 0 : g->xid);
                assert_int_equal(out->ending, ending_of(kind));
                /* Two of the capture share a position: the message's end and the next commit's record. */
                assert_true(tx < 2 || lsn_before(out[-1].commit, out->commit));
            }
        }
        assert_int_equal(tx, b.kept[0]->count);
        assert_int_equal(tx, sizeof EXPECTED / sizeof EXPECTED[0] + (file == 3 ? MORE_WITH_TWO_PHASE : 0));
        bench_end(&b);
        golden_free(golden);
    }
}

static void binary_values_stay_binary(void **unused) {
    (void)unused;
    Golden *golden = golden_load("pgoutput_3_binary.hex");
    Bench b;
    bench_init(&b);
    b.heads = false;
    bench_begin(&b, NULL);
    feed_golden(&b, golden);
    const char *text = writer_string(&b.out);
    assert_non_null(strstr(text, "[ 0:U plain(00000002,7a776569,-,-,-,-,-,-)]"));
    assert_non_null(strstr(text, "[ 0:U plain(00000003,.,.,.,.,.,.,.)>(0000001e,,-,-,-,-,-,-)]"));
    assert_non_null(strstr(text, "[ 0:U toasted(00000001,.,.)>(00000002,00000001,~)]"));
    bench_end(&b);
    golden_free(golden);
}

static void every_prepared_transaction_of_a_two_phase_slot(void **unused) {
    (void)unused;
    run("pgoutput_3_two_phase.hex", STREAMED, true);
}

static void a_two_phase_slot_is_refused_at_its_first_prepare(void **unused) {
    (void)unused;
    Golden *golden = golden_load("pgoutput_3_two_phase.hex");
    Bench b;
    bench_init(&b);
    bench_begin(&b, NULL);
    size_t frame = 0;
    while (frame < golden->count && bench_frame(&b, golden->frames[frame].bytes))
        frame++;
    assert_true(frame < golden->count);
    assert_int_equal(golden->frames[frame].bytes.at[0], 'b');
    assert_int_equal(b.e.kind, ERR_PROTOCOL);
    bench_end(&b);
    golden_free(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transaction_of_protocol_1),
        cmocka_unit_test(every_transaction_of_a_stream),
        cmocka_unit_test(ends_are_what_the_server_says),
        cmocka_unit_test(binary_values_stay_binary),
        cmocka_unit_test(every_prepared_transaction_of_a_two_phase_slot),
        cmocka_unit_test(a_two_phase_slot_is_refused_at_its_first_prepare),
    };
    return cmocka_run_group_tests_name("assembler_golden", tests, NULL, NULL);
}
