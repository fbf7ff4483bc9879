#include "proto/event.h"

#include "proto/events.h"
#include "testing.h"

static const ColumnMake COLUMNS[] = {
    {.name = "a", .oid = 23, .key = true}, {.name = "b", .oid = 25}, {.name = "c", .oid = 25, .key = true}};

static int arena_make(void **state) {
    *state = arena_new();
    return 0;
}

static int arena_drop(void **state) {
    arena_free(*state);
    return 0;
}

static bool changes(Arena *arena, EventOp op, const char *before, const char *after) {
    const EventTable *table = table_make(arena, COLUMNS, 3);
    const Event event = {
        .op = op, .before = values_make(arena, table, before), .after = values_make(arena, table, after)};
    return event_changes_key(table, &event);
}

static void a_key_changes_where_both_are_known_and_differ(void **state) {
    assert_false(changes(*state, EVENT_UPDATE, NULL, "1|x|k"));
    assert_false(changes(*state, EVENT_UPDATE, "1|x|k", "1|y|k"));
    assert_true(changes(*state, EVENT_UPDATE, "1|x|k", "2|x|k"));
    assert_true(changes(*state, EVENT_UPDATE, "1|-|k", "1|x|l"));
    assert_true(changes(*state, EVENT_UPDATE, "1|-|\\N", "1|x|l"));
    assert_false(changes(*state, EVENT_UPDATE, "1|-|\\N", "1|x|\\N"));
    assert_false(changes(*state, EVENT_UPDATE, "1|x|k", "1|x|?")); /* a long key that was not touched */
    assert_false(changes(*state, EVENT_UPDATE, "1|x|-", "1|x|k")); /* the identity is another index */
    assert_false(changes(*state, EVENT_DELETE, "1|x|k", NULL));
    assert_false(changes(*state, EVENT_CREATE, NULL, "1|x|k"));
}

static void schemas_leave_out_what_has_no_kind(void **state) {
    static const ColumnMake columns[] = {
        {.name = "id", .oid = 23, .key = true}, {.name = "lsn", .oid = 3220}, {.name = "v", .oid = 25}};
    const EventTable *table = table_make(*state, columns, 3);
    const Kind *envelope = event_envelope(*state, table), *flat = event_flat(*state, table);
    const Kind *value = envelope->fields[0].kind;
    assert_int_equal(envelope->field_count, 8);
    assert_int_equal(envelope->version, 2);
    assert_ptr_equal(value, envelope->fields[1].kind);
    assert_int_equal(value->field_count, 2);
    assert_string_equal(value->fields[1].name, "v");
    assert_false(value->fields[0].kind->optional);
    assert_int_equal(flat->field_count, 6);
    assert_true(flat->fields[0].kind->optional);
    assert_string_equal(flat->fields[2].name, "__op");
    assert_string_equal(event_key(*state, table)->name, "shop.public.t.Key");
    assert_null(event_key(*state, table_make(*state, columns + 1, 2)));
}

static void keys_are_required(void **state) {
    ColumnMake column = {.name = "id", .oid = 23, .key = true};
    EventTable *table = table_make(*state, &column, 1);
    EventColumn optional = {"id", kind_optional(*state, table->columns[0].kind, true)};
    table->columns = &optional;
    assert_false(event_key(*state, table)->fields[0].kind->optional);
}

static void snapshots_have_names(void **state) {
    (void)state;
    assert_string_equal(event_snapshot_name(SNAPSHOT_FALSE), "false");
    assert_string_equal(event_snapshot_name(SNAPSHOT_FIRST_IN_TABLE), "first_in_data_collection");
    assert_string_equal(event_snapshot_name(SNAPSHOT_LAST_IN_TABLE), "last_in_data_collection");
    assert_string_equal(event_snapshot_name(SNAPSHOT_INCREMENTAL), "incremental");
    assert_string_equal(event_source.fields[4].kind->parameters[0].value,
                        "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_make, arena_drop)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(a_key_changes_where_both_are_known_and_differ),
                                       TEST(schemas_leave_out_what_has_no_kind), TEST(keys_are_required),
                                       TEST(snapshots_have_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
