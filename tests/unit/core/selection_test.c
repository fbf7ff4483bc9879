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
/* OID, number, name, type text, type, not null, generated, always, the type's schema and name, large;
 * by OID and number. */
static const char COLUMNS[] =
    "10|1|a|integer|23|t|f|f||integer|f\n10|3|b|text|25|t|f|f||text|t\n10|11|c|s.odd|70000|f|f|t|s|odd|t\n"
    "11|1|a|integer|23|t|f|f||integer|f\n"
    "12|1|a|integer|23|t|f|f||integer|f\n12|2|b|integer|23|t|t|f||integer|f\n"
    "13|1|a|integer|23|t|f|f||integer|f\n"
    "14|1|a|integer|23|t|f|f||integer|f\n14|2|b|s.mood|60000|f|f|f|s|mood|t\n"
    "16|1|a|integer|23|t|f|f||integer|f";
/* Table, index, primary, chosen, keys; the best first. Also of tables that were not selected. */
static const char INDEXES[] =
    "9|other|t|f|1\n10|z_key|t|f|1 3\n10|z_more|f|f|11\n12|c_key|t|f|1\n12|c_two|f|t|2\n"
    "13|n_key|t|f|1\n16|l_key|t|f|1\n17|other|t|f|1";
/* Child, parent, the parent's schema and name, partitioned; by child. */
static const char PARENTS[] = "9|99|x|y|f\n"
                              "12|50|s|part|t\n" /* chosen: a leaf of p.root, by two levels */
                              "14|10|s|z|f\n"    /* whole inherits z: a is there, b is its own */
                              "50|60|p|root|t";
static const char TYPES[] = "16\n23\n25\n60000";

static char state_schema[] = "st", beat_schema[] = "public", beat_table[] = "beats";

static Config job;

static Selection *load(FakeServer *f, FakeRule *rules, IdentityPolicy policy, Error *e) {
    Config cfg = {.identity = policy,
                  .target = {.state_schema = state_schema},
                  .source = {.heartbeat_schema = beat_schema, .heartbeat_table = beat_table}};
    cfg.objects = job.objects;
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
    FakeRule rules[] = {
        {.contains = "relreplident", .rows = TABLES}, {.contains = "format_type", .rows = COLUMNS},
        {.contains = "indisunique", .rows = INDEXES}, {.contains = "pg_type", .rows = TYPES},
        {.contains = "inhseqno", .rows = PARENTS},    {0}};
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

static void only_named_tables_are_kept(void **state) {
    (void)state;
    static const char *const names[][2] = {{"s", "z"},       {"s", "unknown"}, {"s", "chosen"},
                                           {"S", "nothing"}, {"s", "z"},       {"s", "whole"}};
    Selection *s = load_all(IDENTITY_FAIL);
    selection_keep(s, name_at, &(NameList){names, 6});
    assert_int_equal(s->count, 3);
    assert_string_equal(s->tables[0].full_name, "s.chosen");
    assert_ptr_equal(selection_find(s, "s", "whole"), &s->tables[1]);
    assert_ptr_equal(selection_find(s, "s", "z"), &s->tables[2]);
    selection_keep(s, name_at, &(NameList){names, 0});
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
    assert_true(z->columns[1].large && !z->columns[0].large);
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

/* ---- what the job says of names ---- */

static char *words[] = {(char[]){"p.root"}, (char[]){"s.z"},     (char[]){"s.nothing"}, (char[]){"s.part"},
                        (char[]){"x > 1"},  (char[]){"x > 2"},   (char[]){"a"},         (char[]){"p.root.b"},
                        (char[]){"s.z.a"},  (char[]){"s.z.b"},   (char[]){"S"},         (char[]){"t.new"},
                        (char[]){"s"},      (char[]){"s.whole"}, (char[]){"p.root.was"}};
enum { ROOT, Z, NOTHING, PART, FIRST, SECOND, A, ROOT_B, Z_A, Z_B, UPPER_S, NEW, SCHEMA_S, WHOLE, ROOT_WAS };

static void a_tree_is_taken_as_a_whole(void **state) {
    (void)state;
    job.objects.include = (ConfigTexts){2, words}; /* p.root and s.z */
    Selection *s = load_all(IDENTITY_FAIL);
    assert_int_equal(s->count, 3);
    assert_string_equal(s->tables[0].full_name, "s.chosen");
    assert_string_equal(s->tables[1].full_name, "s.whole");
    assert_string_equal(s->tables[2].full_name, "s.z");
    selection_free(s);
    job.objects.exclude = (ConfigTexts){1, words + PART}; /* between root and leaf */
    s = load_all(IDENTITY_FAIL);
    assert_int_equal(s->count, 2);
    assert_null(selection_find(s, "s", "chosen"));
    selection_free(s);
    job = (Config){0};
}

static void filters_and_lists_come_from_the_nearest(void **state) {
    (void)state;
    job.objects.where = (ConfigPairs){
        3,
        (ConfigPair[]){{words[ROOT], words[FIRST]}, {words[PART], words[SECOND]}, {words[Z], words[FIRST]}}};
    job.objects.columns = (ConfigPairs){1, (ConfigPair[]){{words[ROOT], words[A]}}};
    Selection *s = load_all(IDENTITY_FAIL);
    assert_string_equal(find(s, "chosen")->where, "x > 2");
    assert_string_equal(find(s, "z")->where, "x > 1");
    assert_string_equal(find(s, "whole")->where, "x > 1");
    assert_null(find(s, "nothing")->where);
    assert_true(find(s, "chosen")->listed && !find(s, "z")->listed);
    assert_true(find(s, "chosen")->columns[0].taken && !find(s, "chosen")->columns[1].taken);
    assert_true(find(s, "z")->columns[1].taken);
    assert_int_equal(find(s, "z")->columns[2].number, 11);
    selection_free(s);
    job = (Config){0};
}

static void names_at_the_target_follow_the_tree(void **state) {
    (void)state;
    job.objects.rename.tables = (ConfigPairs){1, (ConfigPair[]){{words[Z], words[NEW]}}};
    job.objects.rename.schemas = (ConfigPairs){1, (ConfigPair[]){{words[SCHEMA_S], words[UPPER_S]}}};
    job.objects.rename.columns = (ConfigPairs){4, (ConfigPair[]){{words[ROOT_WAS], words[FIRST]},
                                                                 {words[ROOT_B], words[SECOND]},
                                                                 {words[Z_A], words[FIRST]},
                                                                 {words[Z_B], words[SECOND]}}};
    Selection *s = load_all(IDENTITY_FAIL);
    const Table *z = find(s, "z"), *whole = find(s, "whole");
    assert_string_equal(z->target_full_name, "t.new");
    assert_string_equal(whole->target_full_name, "S.whole");
    const Table *bare = selection_find(s, "a", "bare");
    assert_ptr_equal(bare->target_full_name, bare->full_name);
    assert_ptr_equal(selection_find_target(s, "t", "new"), z);
    assert_ptr_equal(selection_find_target(s, "S", "whole"), whole);
    assert_ptr_equal(selection_find_target(s, "a", "bare"), bare);
    assert_null(selection_find_target(s, "s", "z"));
    assert_string_equal(find(s, "chosen")->columns[1].target_name, "x > 2");
    assert_string_equal(whole->columns[0].target_name, "x > 1");
    assert_string_equal(whole->columns[1].target_name, "x > 2"); /* z has a b, too: it is the same column */
    assert_string_equal(z->columns[2].target_name, "c");
    assert_string_equal(z->columns[2].target_type_schema, "S");
    assert_string_equal(z->columns[2].type_name, "odd");
    assert_string_equal(z->columns[0].target_type_schema, "");
    Arena *arena = arena_new();
    assert_string_equal(selection_target_column(s, arena, "s", "z", "b"), "x > 2");
    assert_string_equal(selection_target_column(s, arena, "s", "z", "gone"), "gone");
    /* Also of a leaf's column, and of a table, that are gone from the source. */
    assert_string_equal(selection_target_column(s, arena, "s", "chosen", "was"), "x > 1");
    assert_string_equal(find(s, "chosen")->top_name, "root");
    assert_string_equal(selection_target(s, arena, "s", "dropped").schema, "S");
    assert_string_equal(selection_target(s, arena, "s", "z").name, "new");
    assert_string_equal(selection_target(NULL, arena, "s", "z").name, "z");
    arena_free(arena);
    static const char *const names[][2] = {{"s", "z"}};
    selection_keep(s, name_at, &(NameList){names, 1});
    assert_ptr_equal(selection_find_target(s, "t", "new"), &s->tables[0]);
    assert_null(selection_find_target(s, "S", "whole"));
    selection_free(s);
    job = (Config){0};
}

typedef struct Sentences {
    int count;
    char text[3][200];
} Sentences;

static void sentence_note(void *context, const char *sentence, const char *fix) {
    Sentences *told = context;
    assert_true(told->count < 3);
    snprintf(told->text[told->count++], sizeof told->text[0], "%s (%s)", sentence, fix);
}

static void two_of_one_name_are_told(void **state) {
    (void)state;
    job.objects.rename.tables =
        (ConfigPairs){2, (ConfigPair[]){{words[Z], words[NEW]}, {words[NOTHING], words[NEW]}}};
    job.objects.rename.columns = (ConfigPairs){1, (ConfigPair[]){{words[Z_B], words[A]}}};
    Selection *s = load_all(IDENTITY_FAIL);
    Sentences told = {0};
    Error e;
    job.target.state_schema = state_schema;
    assert_true(selection_check(NULL, &job, s, false, sentence_note, &told, &e));
    assert_int_equal(told.count, 3);
    assert_string_equal(told.text[0],
                        "tables \"s.nothing\" and \"s.z\" would both be \"t.new\" at the target (give one of "
                        "them another name in objects.rename, or leave one out)");
    assert_non_null(strstr(told.text[1], "of table \"s.whole\" would both be \"a\" at the target"));
    assert_non_null(strstr(told.text[2], "of table \"s.z\" would both be \"a\" at the target"));
    selection_free(s);
    job = (Config){0};
}

static void schemas_that_are_not_the_users_are_told(void **state) {
    (void)state;
    static char record[] = "st", system_schema[] = "pg_x", a[] = "a";
    job.objects.rename.schemas =
        (ConfigPairs){2, (ConfigPair[]){{a, system_schema}, {words[SCHEMA_S], record}}};
    job.objects.include = (ConfigTexts){2, (char *[]){(char[]){"a.bare"}, words[NOTHING]}};
    job.target.state_schema = state_schema;
    Selection *s = load_all(IDENTITY_FAIL);
    Sentences told = {0};
    Error e;
    assert_true(selection_check(NULL, &job, s, false, sentence_note, &told, &e));
    assert_int_equal(told.count, 2);
    assert_non_null(
        strstr(told.text[0], "\"a.bare\" would be in schema \"pg_x\" at the target, which is the server"));
    assert_non_null(strstr(told.text[1], "\"s.nothing\" would be in schema \"st\""));
    selection_free(s);
    job = (Config){0};
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
        cmocka_unit_test(a_tree_is_taken_as_a_whole),
        cmocka_unit_test(filters_and_lists_come_from_the_nearest),
        cmocka_unit_test(names_at_the_target_follow_the_tree),
        cmocka_unit_test(two_of_one_name_are_told),
        cmocka_unit_test(schemas_that_are_not_the_users_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
