#include <string.h>

#include "sink/kafka/group_list.h"
#include "testing.h"

static void says(GroupList *l, const char *expected) {
    Slice text = group_list_text(l);
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.at, expected, text.len);
}

static void a_list_says_what_each_transaction_has_in_which_topic(void **unused) {
    (void)unused;
    GroupList *l = group_list_new();
    assert_true(group_list_is_empty(l));
    group_list_record(l, 7, "s.b");
    group_list_record(l, 200, "s.\"a");
    group_list_record(l, 7, "s.b");
    assert_int_equal(group_list_records(l), 3);
    group_list_end(l, 571, (Lsn){0x1000});
    group_list_record(l, 200, "s.\"a");
    group_list_end(l, 4294967295u, (Lsn){0x100000002});
    assert_false(group_list_is_empty(l));
    says(l, "{\"version\":1,\"topics\":[\"s.b\",\"s.\\\"a\"],\"transactions\":["
            "{\"xid\":571,\"lsn\":\"0/1000\",\"count\":3,\"in\":[[0,2],[1,1]]},"
            "{\"xid\":4294967295,\"lsn\":\"1/2\",\"count\":1,\"in\":[[1,1]]}]}");
    group_list_free(l);
}

static void a_transaction_without_records_is_not_listed(void **unused) {
    (void)unused;
    GroupList *l = group_list_new();
    group_list_end(l, 5, (Lsn){5});
    assert_true(group_list_is_empty(l));
    says(l, "{\"version\":1,\"topics\":[],\"transactions\":[]}");
    group_list_free(l);
}

/* Nothing of the group before, also where that was left in the middle of a transaction. */
static void a_list_begins_anew(void **unused) {
    (void)unused;
    GroupList *l = group_list_new();
    group_list_record(l, 0, "a");
    group_list_record(l, 1, "b");
    group_list_end(l, 1, (Lsn){1});
    group_list_record(l, 1, "b");
    group_list_reset(l);
    assert_int_equal(group_list_records(l), 0);
    assert_true(group_list_is_empty(l));
    group_list_record(l, 1, "b");
    group_list_end(l, 2, (Lsn){2});
    says(l, "{\"version\":1,\"topics\":[\"b\"],\"transactions\":[{\"xid\":2,\"lsn\":\"0/"
            "2\",\"count\":1,\"in\":[[0,1]]}]}");
    assert_true(group_list_bytes(l) > 30);
    group_list_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_says_what_each_transaction_has_in_which_topic),
        cmocka_unit_test(a_transaction_without_records_is_not_listed),
        cmocka_unit_test(a_list_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
