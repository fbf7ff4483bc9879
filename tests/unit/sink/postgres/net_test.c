#include "batches.h"
#include "sink/postgres/net.h"
#include "testing.h"

/* A plan for s.t (id, v, w): id is the key. */
typedef struct Fixture {
    Arena *arena;
    Net *net;
    Plan plan, other; /* the same table; other: another version of it */
    PlanColumn columns[3];
    Maker m;
    Writer said;
} Fixture;

static int fixture_make(void **state) {
    Arena *arena = arena_new();
    Fixture *f = arena_alloc(arena, sizeof *f);
    f->arena = arena;
    f->net = net_new();
    f->m = maker_new(100);
    f->said = writer_new(4096);
    for (int column = 0; column < 3; column++)
        f->columns[column] = (PlanColumn){.writable = true, .key = column == 0};
    f->plan = (Plan){.rel = relation_make(arena, 0, "s", "t", 'd', "id*,v,w"),
                     .table = "\"s\".\"t\"",
                     .where = PLAN_WHERE_KEY,
                     .columns = f->columns};
    f->other = f->plan;
    *state = f;
    return 0;
}

static int fixture_free(void **state) {
    Fixture *f = *state;
    net_free(f->net);
    batch_drop(maker_batch(&f->m));
    writer_free(&f->said);
    arena_free(f->arena);
    return 0;
}

static bool insert(Fixture *f, const char *after) {
    maker_insert(&f->m, f->plan.rel, after);
    return net_add(f->net, &f->plan, &f->m.changes[f->m.change_count - 1]);
}

static bool update(Fixture *f, const char *before, const char *after) {
    maker_update(&f->m, f->plan.rel, before, after);
    return net_add(f->net, &f->plan, &f->m.changes[f->m.change_count - 1]);
}

static bool delete (Fixture *f, const char *before) {
    maker_delete(&f->m, f->plan.rel, before);
    return net_add(f->net, &f->plan, &f->m.changes[f->m.change_count - 1]);
}

static void row_say(Writer *out, const Value *values) {
    for (int column = 0; column < 3; column++) {
        const Value *value = &values[column];
        const char *sign = value->kind == VALUE_NULL ? "\\N" : value->kind == VALUE_UNCHANGED ? "?" : "-";
        if (value->kind == VALUE_TEXT)
            writer_bytes(out, value->bytes);
        else
            writer_text(out, sign);
        writer_text(out, column < 2 ? "|" : "");
    }
}

/* "update 1: 1|x|?; ..." */
static const char *settled(Fixture *f) {
    static const char *const kinds[] = {"nothing", "probe", "delete", "update", "insert"};
    NetTable *tables, *lacking = NULL;
    writer_reset(&f->said);
    if (!net_settle(f->net, &tables, &lacking))
        return "refused";
    for (const NetTable *table = tables; table != NULL; table = table->next)
        for (const NetRow *row = table->rows; row != NULL; row = row->next) {
            writer_format(&f->said, "%s%s%s", f->said.len > 0 ? "; " : "", kinds[row->kind],
                          row->moved      ? " moved"
                          : row->sets_key ? " with key"
                                          : "");
            if (row->origin != NULL) {
                writer_text(&f->said, " of ");
                writer_bytes(&f->said, row->origin[0].bytes);
            }
            if (row->kind == NET_UPDATE || row->kind == NET_INSERT) {
                writer_text(&f->said, ": ");
                row_say(&f->said, row->values);
            }
        }
    return writer_string(&f->said);
}

static void a_row_is_what_it_came_to(void **state) {
    Fixture *f = *state;
    assert_true(update(f, NULL, "1|a|?"));
    assert_true(update(f, NULL, "1|?|b"));
    assert_true(insert(f, "2|x|y"));
    assert_true(update(f, NULL, "2|?|z"));
    assert_true(delete (f, "3|-|-"));
    assert_string_equal(settled(f), "update of 1: 1|a|b; delete of 3; insert: 2|x|z");
    assert_int_equal(net_changes(f->net), 5);
}

static void rows_that_are_looked_up_are_sorted_by_their_first_key(void **state) {
    Fixture *f = *state;
    assert_true(update(f, NULL, "300|a|b"));
    assert_true(insert(f, "5|a|b"));
    assert_true(update(f, NULL, "20|a|b"));
    assert_true(delete (f, "100|-|-"));
    assert_string_equal(settled(f),
                        "update of 20: 20|a|b; delete of 100; update of 300: 300|a|b; insert: 5|a|b");
}

/* DELETE 2; UPDATE 1 to 2 with a value that was not sent: it is that of 1, never that of the row that was 2. */
static void trap_A4_a_value_that_was_not_sent_is_that_of_the_origin(void **state) {
    Fixture *f = *state;
    assert_true(delete (f, "2|-|-"));
    assert_true(update(f, "1|-|-", "2|n|?"));
    assert_string_equal(settled(f), "update with key of 1: 2|n|?; delete of 2");
}

static void trap_A4_a_row_that_moves_and_is_known_goes_and_comes(void **state) {
    Fixture *f = *state;
    assert_true(update(f, "1|-|-", "2|n|m"));
    assert_true(update(f, "2|-|-", "3|?|o"));
    assert_string_equal(settled(f), "insert moved of 1: 3|n|o; probe");
}

static void trap_A15_a_key_on_the_way_is_looked_for(void **state) {
    Fixture *f = *state;
    assert_true(insert(f, "1|a|b"));
    assert_true(update(f, "1|-|-", "2|a|b"));
    assert_string_equal(settled(f), "insert: 2|a|b; probe");
}

static void nothing_is_looked_for_where_the_destination_held_a_row(void **state) {
    Fixture *f = *state;
    assert_true(delete (f, "2|-|-"));
    assert_true(insert(f, "2|a|b"));
    assert_true(update(f, "2|-|-", "3|a|b"));
    assert_string_equal(settled(f), "delete of 2; insert: 3|a|b; nothing");
}

static void a_row_that_moves_and_comes_back_keeps_its_place(void **state) {
    Fixture *f = *state;
    assert_true(update(f, "1|-|-", "2|n|?"));
    assert_true(update(f, "2|-|-", "1|o|?"));
    assert_string_equal(settled(f), "update of 1: 1|o|?; probe");
}

static void with_columns_of_the_destination_alone_a_row_is_moved_in_place(void **state) {
    Fixture *f = *state;
    f->plan.beside_count = 1;
    assert_true(update(f, "1|-|-", "2|n|m"));
    assert_string_equal(settled(f), "update with key of 1: 2|n|m");
}

static void trap_A15_what_came_and_went_is_looked_for(void **state) {
    Fixture *f = *state;
    assert_true(insert(f, "1|a|b"));
    assert_true(delete (f, "1|-|-"));
    assert_string_equal(settled(f), "probe");
}

static void what_came_and_went_in_the_place_of_another_is_nothing(void **state) {
    Fixture *f = *state;
    assert_true(delete (f, "1|-|-"));
    assert_true(insert(f, "1|a|b"));
    assert_true(delete (f, "1|-|-"));
    assert_string_equal(settled(f), "delete of 1; nothing");
}

static void a_key_is_given_on(void **state) {
    Fixture *f = *state;
    assert_true(delete (f, "1|-|-"));
    assert_true(insert(f, "1|a|b"));
    assert_true(update(f, NULL, "1|c|?"));
    assert_string_equal(settled(f), "delete of 1; insert: 1|c|b");
}

static void what_does_not_fit_the_run_is_refused(void **state) {
    Fixture *f = *state;
    assert_true(insert(f, "1|a|b"));
    assert_false(insert(f, "1|a|b"));
    net_clear(f->net);
    assert_true(delete (f, "1|-|-"));
    assert_false(update(f, NULL, "1|a|b"));
    net_clear(f->net);
    assert_true(delete (f, "1|-|-"));
    assert_false(delete (f, "1|-|-"));
    net_clear(f->net);
    assert_true(update(f, NULL, "2|a|b"));
    assert_false(update(f, "1|-|-", "2|n|m"));
    net_clear(f->net);
    assert_false(update(f, NULL, "?|a|b"));
    net_clear(f->net);
    assert_true(insert(f, "1|a|?"));
    assert_string_equal(settled(f), "refused");
}

static void keys_are_never_taken_for_each_other(void **state) {
    Fixture *f = *state;
    f->columns[1].key = true;
    assert_true(insert(f, "1|23|x"));
    assert_true(insert(f, "12|3|x"));
    assert_true(insert(f, "\\N|3|x"));
    assert_true(insert(f, "|3|x"));
    assert_false(insert(f, "\\N|3|x"));
}

static void full_identity_knows_the_old_values(void **state) {
    Fixture *f = *state;
    assert_true(update(f, "1|old|big", "1|new|?"));
    assert_string_equal(settled(f), "update of 1: 1|new|big");
}

static void tables_without_a_key_take_rows_as_they_come(void **state) {
    Fixture *f = *state;
    f->plan.where = PLAN_WHERE_NONE;
    f->columns[0].key = false;
    assert_true(insert(f, "1|a|b"));
    assert_true(insert(f, "1|a|b"));
    assert_string_equal(settled(f), "insert: 1|a|b; insert: 1|a|b");
}

static void another_version_of_a_table_is_seen(void **state) {
    Fixture *f = *state;
    assert_false(net_has_table(f->net, &f->plan));
    assert_true(insert(f, "1|a|b"));
    assert_true(net_has_table(f->net, &f->plan) && net_has_table(f->net, &f->other));
    assert_true(net_has_other_version(f->net, &f->other) && !net_has_other_version(f->net, &f->plan));
    net_clear(f->net);
    assert_false(net_has_table(f->net, &f->plan) || net_has_other_version(f->net, &f->other));
    assert_int_equal(net_changes(f->net), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_row_is_what_it_came_to),
        TEST(rows_that_are_looked_up_are_sorted_by_their_first_key),
        TEST(trap_A4_a_value_that_was_not_sent_is_that_of_the_origin),
        TEST(trap_A4_a_row_that_moves_and_is_known_goes_and_comes),
        TEST(trap_A15_a_key_on_the_way_is_looked_for),
        TEST(nothing_is_looked_for_where_the_destination_held_a_row),
        TEST(a_row_that_moves_and_comes_back_keeps_its_place),
        TEST(with_columns_of_the_destination_alone_a_row_is_moved_in_place),
        TEST(trap_A15_what_came_and_went_is_looked_for),
        TEST(what_came_and_went_in_the_place_of_another_is_nothing),
        TEST(a_key_is_given_on),
        TEST(what_does_not_fit_the_run_is_refused),
        TEST(keys_are_never_taken_for_each_other),
        TEST(full_identity_knows_the_old_values),
        TEST(tables_without_a_key_take_rows_as_they_come),
        TEST(another_version_of_a_table_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
