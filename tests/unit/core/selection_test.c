#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/selection.h"
#include "fake_server.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

/* OID, schema, name, unlogged, children, security, owned, readable, setting, rows, bytes; by OID. */
static const char TABLES[] = "10|s|z|f|t|f|t|t|d|5|8192\n"     /* primary key */
                             "11|s|deferred|t|f|t|f|f|d|0|0\n" /* no index that counts */
                             "12|s|chosen|f|f|f|t|t|i|0|0\n"   /* USING INDEX, the second index */
                             "13|s|nothing|f|f|f|t|t|n|0|0\n"  /* has a key, and does not use it */
                             "14|s|whole|f|f|f|t|t|f|0|0\n"    /* FULL */
                             "15|a|bare|f|f|f|t|t|d|0|0\n"     /* no columns, no index */
                             "16|s|lost|f|f|f|t|t|i|0|0";      /* its chosen index is gone */
/* OID, number, name, type text, type, not null, generated, always; by OID and number. */
static const char COLUMNS[] = "10|1|a|integer|23|t|f|f\n10|3|b|text|25|t|f|f\n10|11|c|s.odd|70000|f|f|t\n"
                              "11|1|a|integer|23|t|f|f\n"
                              "12|1|a|integer|23|t|f|f\n12|2|b|integer|23|t|t|f\n"
                              "13|1|a|integer|23|t|f|f\n"
                              "14|1|a|integer|23|t|f|f\n14|2|b|s.mood|60000|f|f|f\n"
                              "16|1|a|integer|23|t|f|f";
/* Table, index, primary, chosen, keys; the best first. Also of tables that were not selected. */
static const char INDEXES[] =
    "9|other|t|f|1\n10|z_key|t|f|1 3\n10|z_more|f|f|11\n12|c_key|t|f|1\n12|c_two|f|t|2\n"
    "13|n_key|t|f|1\n16|l_key|t|f|1\n17|other|t|f|1";
static const char TYPES[] = "16\n23\n25\n60000";

static char state_schema[] = "st", beat_schema[] = "public", beat_table[] = "beats";

static Selection *load(FakeServer *f, FakeRule *rules, IdentityPolicy policy, Error *e) {
    const Config cfg = {.identity = policy,
                        .target = {.state_schema = state_schema},
                        .source = {.heartbeat_schema = beat_schema, .heartbeat_table = beat_table}};
    *f = (FakeServer){.rules = rules};
    fake_start(f);
    const PgAddress to = {.dsn = f->dsn, .side = "source"};
    Pg *pg = pg_open(&to, 5000, e);
    assert_non_null(pg);
    Selection *s = selection_load(pg, &cfg, e);
    pg_close(pg);
    fake_stop(f);
    return s;
}

static Selection *load_all(IdentityPolicy policy) {
    FakeRule rules[] = {{.contains = "relreplident", .rows = TABLES},
                        {.contains = "format_type", .rows = COLUMNS},
                        {.contains = "indisunique", .rows = INDEXES},
                        {.contains = "pg_type", .rows = TYPES},
                        {0}};
    FakeServer f;
    Error e;
    Selection *s = load(&f, rules, policy, &e);
    assert_non_null(s);
    assert_non_null(strstr(f.statements[1], "REPEATABLE READ, READ ONLY"));
    assert_string_equal(f.statements[f.count - 1], "ROLLBACK");
    fake_free(&f);
    return s;
}

static const Table *find(const Selection *s, const char *name) {
    const Table *t = selection_find(s, "s", name);
    assert_non_null(t);
    return t;
}

static void tables_are_ordered_and_found(void **state) {
    (void)state;
    static const char *const order[] = {"a.bare",    "s.chosen", "s.deferred", "s.lost",
                                        "s.nothing", "s.whole",  "s.z"};
    Selection *s = load_all(IDENTITY_FAIL);
    assert_int_equal(s->count, 7);
    for (int n = 0; n < s->count; n++) {
        assert_string_equal(s->tables[n].full_name, order[n]);
        assert_ptr_equal(selection_find(s, s->tables[n].schema, s->tables[n].name), &s->tables[n]);
    }
    assert_null(selection_find(s, "s", "zz"));
    assert_null(selection_find(s, "a", "z"));
    assert_null(selection_find(s, "", ""));
    selection_free(s);
    selection_free(NULL);
}

typedef struct NameList {
    const char *const (*names)[2];
    int count;
} NameList;

static bool name_at(const void *list, int row, const char **schema, const char **name) {
    const NameList *names = list;
    if (row >= names->count)
        return false;
    *schema = names->names[row][0];
    *name = names->names[row][1];
    return true;
}

static int left_count;
static void left_note(const Table *t) {
    static const char *const left[] = {"a.bare", "s.deferred", "s.lost", "s.nothing"};
    assert_string_equal(t->full_name, left[left_count++]);
}

static void only_named_tables_are_kept(void **state) {
    (void)state;
    static const char *const names[][2] = {{"s", "z"},       {"s", "unknown"}, {"s", "chosen"},
                                           {"S", "nothing"}, {"s", "z"},       {"s", "whole"}};
    Selection *s = load_all(IDENTITY_FAIL);
    left_count = 0;
    selection_keep(s, name_at, &(NameList){names, 6}, left_note);
    assert_int_equal(left_count, 4);
    assert_int_equal(s->count, 3);
    assert_string_equal(s->tables[0].full_name, "s.chosen");
    assert_ptr_equal(selection_find(s, "s", "whole"), &s->tables[1]);
    assert_ptr_equal(selection_find(s, "s", "z"), &s->tables[2]);
    selection_keep(s, name_at, &(NameList){names, 0}, NULL);
    assert_int_equal(s->count, 0);
    selection_free(s);
}

static void facts_are_taken_over(void **state) {
    (void)state;
    Selection *s = load_all(IDENTITY_FAIL);
    const Table *z = find(s, "z"), *deferred = find(s, "deferred");
    assert_int_equal(z->oid, 10);
    assert_true(z->has_children && z->owned && z->readable && !z->unlogged && !z->row_security);
    assert_true(!deferred->has_children && !deferred->owned && !deferred->readable);
    assert_true(deferred->unlogged && deferred->row_security);
    assert_int_equal(z->identity_setting, 'd');
    assert_int_equal(z->rows_estimated, 5);
    assert_int_equal(z->bytes, 8192);
    assert_int_equal(z->column_count, 3);
    assert_string_equal(z->columns[2].name, "c");
    assert_string_equal(z->columns[2].type_text, "s.odd");
    assert_int_equal(z->columns[2].type, 70000);
    assert_true(z->columns[0].not_null && !z->columns[2].not_null);
    assert_true(z->columns[2].identity_always && !z->columns[0].identity_always);
    assert_true(find(s, "chosen")->columns[1].generated && !z->columns[0].generated);
    assert_int_equal(selection_find(s, "a", "bare")->column_count, 0);
    selection_free(s);
}

/* Trap A1: what counts as an identity is the list of indexes; which of them, the table's setting. */
static void trap_A1_identity_follows_the_setting(void **state) {
    (void)state;
    static const struct {
        const char *name;
        TableIdentity identity;
        const char *candidate;
    } cases[] = {{"z", TABLE_IDENTITY_KEY, NULL},      {"deferred", TABLE_IDENTITY_NONE, NULL},
                 {"chosen", TABLE_IDENTITY_KEY, NULL}, {"nothing", TABLE_IDENTITY_NONE, "n_key"},
                 {"whole", TABLE_IDENTITY_FULL, NULL}, {"lost", TABLE_IDENTITY_NONE, "l_key"}};
    for (int policy = IDENTITY_FAIL; policy <= IDENTITY_INSERT_ONLY; policy++) {
        Selection *s = load_all((IdentityPolicy)policy);
        for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
            const Table *t = find(s, cases[n].name);
            assert_int_equal(t->identity, cases[n].identity);
            assert_int_equal(t->insert_only,
                             policy == IDENTITY_INSERT_ONLY && t->identity == TABLE_IDENTITY_NONE);
            if (cases[n].candidate == NULL)
                assert_null(t->identity_candidate);
            else
                assert_string_equal(t->identity_candidate, cases[n].candidate);
        }
        selection_free(s);
    }
}

static void key_columns_are_those_of_the_identity(void **state) {
    (void)state;
    Selection *s = load_all(IDENTITY_FAIL);
    const Table *z = find(s, "z"), *chosen = find(s, "chosen"), *whole = find(s, "whole");
    assert_true(z->columns[0].identity_key && z->columns[1].identity_key && !z->columns[2].identity_key);
    assert_true(!chosen->columns[0].identity_key && chosen->columns[1].identity_key);
    assert_true(whole->columns[0].identity_key && whole->columns[1].identity_key);
    assert_false(find(s, "nothing")->columns[0].identity_key);
    selection_free(s);
}

static void trap_B3_binary_is_for_known_types(void **state) {
    (void)state;
    Selection *s = load_all(IDENTITY_FAIL);
    const Table *z = find(s, "z");
    assert_true(z->columns[0].binary_safe && z->columns[1].binary_safe && !z->columns[2].binary_safe);
    assert_true(find(s, "whole")->columns[1].binary_safe);
    selection_free(s);
}

static void failing_query_leaves_no_transaction(void **state) {
    (void)state;
    static const char *const failing[] = {"relreplident", "format_type", "indisunique", "pg_type"};
    for (size_t n = 0; n < sizeof failing / sizeof *failing; n++) {
        FakeRule rules[] = {{.contains = failing[n], .sqlstate = "42501", .message = "permission denied"},
                            {0}};
        FakeServer f;
        Error e;
        assert_null(load(&f, rules, IDENTITY_FAIL, &e));
        assert_int_equal(e.kind, ERR_CONFIG);
        assert_string_equal(f.statements[f.count - 1], "ROLLBACK");
        fake_free(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_ordered_and_found),
        cmocka_unit_test(only_named_tables_are_kept),
        cmocka_unit_test(facts_are_taken_over),
        cmocka_unit_test(trap_A1_identity_follows_the_setting),
        cmocka_unit_test(key_columns_are_those_of_the_identity),
        cmocka_unit_test(trap_B3_binary_is_for_known_types),
        cmocka_unit_test(failing_query_leaves_no_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
