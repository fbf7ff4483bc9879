#include <stdlib.h>

#include "core/memory.h"
#include "sink/kafka/kafka_blocks.h"
#include "testing.h"

static const EventPlace PLACE = {.end = {0x2000}, .xid = 4294967295u};

static void next_is(KafkaBlocks *b, BlockTable *table, const char *id, uint64_t at, int64_t total,
                    int64_t own) {
    const EventBlock *block = kafka_blocks_next(b, table, (Lsn){at});
    assert_string_equal(block->id, id);
    assert_int_equal(block->total_order, total);
    assert_int_equal(block->data_collection_order, own);
}

static void orders_begin_at_one_and_count_what_was_written(void **unused) {
    (void)unused;
    KafkaBlocks *b = kafka_blocks_new();
    BlockTable *first = kafka_blocks_table(b, "public", "a"),
               *second = kafka_blocks_table(b, "Odd Schema", "\xc3\x9c");
    EventTransaction begin = kafka_blocks_begin(b, &PLACE, (Lsn){UINT64_MAX});
    assert_string_equal(begin.id, "4294967295:18446744073709551615");
    assert_false(begin.ends);
    assert_ptr_equal(begin.place, &PLACE);
    next_is(b, second, "4294967295:5", 5, 1, 1);
    next_is(b, second, "4294967295:6", 6, 1, 1); /* the one before was not written */
    kafka_blocks_count(b, second, 1);
    next_is(b, first, "4294967295:7", 7, 2, 1);
    kafka_blocks_count(b, first, 2); /* another key */
    next_is(b, second, "4294967295:8", 8, 4, 2);
    kafka_blocks_count(b, second, 0);
    EventTransaction end = kafka_blocks_end(b, &PLACE);
    assert_string_equal(end.id, "4294967295:8192");
    assert_true(end.ends);
    assert_int_equal(end.count, 3);
    assert_int_equal(end.table_count, 2);
    assert_string_equal(end.tables[0].table, "Odd Schema.\xc3\x9c");
    assert_int_equal(end.tables[0].count, 1);
    assert_string_equal(end.tables[1].table, "public.a");
    assert_int_equal(end.tables[1].count, 2);
    kafka_blocks_free(b);
}

/* Also where the one before was left in the middle. */
static void a_transaction_begins_anew(void **unused) {
    (void)unused;
    KafkaBlocks *b = kafka_blocks_new();
    BlockTable *table = kafka_blocks_table(b, "public", "a");
    kafka_blocks_begin(b, &PLACE, (Lsn){1});
    kafka_blocks_count(b, table, 1);
    kafka_blocks_begin(b, &PLACE, (Lsn){1});
    next_is(b, table, "4294967295:2", 2, 1, 1);
    EventTransaction end = kafka_blocks_end(b, &PLACE);
    assert_int_equal(end.count, 0);
    assert_int_equal(end.table_count, 0);
    kafka_blocks_free(b);
    kafka_blocks_free(NULL);
}

static void tables_are_known_by_their_names(void **unused) {
    (void)unused;
    KafkaBlocks *b = kafka_blocks_new();
    kafka_blocks_begin(b, &PLACE, (Lsn){1});
    for (int table = 0; table < 100; table++) {
        char *name = memory_text("t00");
        name[1] = (char)('0' + table / 10);
        name[2] = (char)('0' + table % 10);
        BlockTable *there = kafka_blocks_table(b, "public", name);
        kafka_blocks_count(b, there, table + 1);
        assert_ptr_equal(kafka_blocks_table(b, "public", name), there);
        assert_ptr_not_equal(kafka_blocks_table(b, NULL, name), there);
        free(name);
    }
    EventTransaction end = kafka_blocks_end(b, &PLACE);
    assert_int_equal(end.table_count, 100);
    assert_int_equal(end.count, 5050);
    assert_string_equal(end.tables[99].table, "public.t99");
    assert_int_equal(end.tables[99].count, 100);
    kafka_blocks_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(orders_begin_at_one_and_count_what_was_written),
                                       cmocka_unit_test(a_transaction_begins_anew),
                                       cmocka_unit_test(tables_are_known_by_their_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
