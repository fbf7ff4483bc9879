#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "decoder/publication.h"
#include "fake_server.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

static char own_name[] = "dts_sync_shop", inserts_name[] = "dts_sync_shop_i", their_name[] = "theirs";
static char public_schema[] = "public", beat_table[] = "dts_postgres_heartbeat", job_name[] = "shop";

static Config config(bool heartbeat) {
    return (Config){.name = job_name,
                    .slot = own_name,
                    .insert_publication = inserts_name,
                    .source = {.publication = own_name,
                               .heartbeat_ms = heartbeat ? 1000 : 0,
                               .heartbeat_schema = public_schema,
                               .heartbeat_table = beat_table}};
}

/* a: key, b: full, c: insert-only, d: unlogged. By name, as a selection is; not by OID. */
static Table tables[] = {
    {.oid = 30, .schema = "s", .name = "a", .full_name = "s.a", .identity = TABLE_IDENTITY_KEY},
    {.oid = 20, .schema = "s", .name = "b\"b", .full_name = "s.b\"b", .identity = TABLE_IDENTITY_FULL},
    {.oid = 10,
     .schema = "s",
     .name = "c",
     .full_name = "s.c",
     .identity = TABLE_IDENTITY_NONE,
     .insert_only = true},
    {.oid = 40,
     .schema = "s",
     .name = "d",
     .full_name = "s.d",
     .identity = TABLE_IDENTITY_NONE,
     .unlogged = true},
};
static const Selection all = {.count = 4, .tables = tables};
static const Selection keyed = {.count = 2, .tables = tables};

static Pg *open_at(FakeServer *f) {
    Error e;
    fake_start(f);
    const PgAddress to = {.dsn = f->dsn, .side = "source", .job = "shop"};
    Pg *pg = pg_open(&to, 5000, &e);
    assert_non_null(pg);
    return pg;
}

static void close_both(FakeServer *f, Pg *pg) {
    pg_close(pg);
    fake_stop(f);
}

static void publications_are_made(void **state) {
    (void)state;
    for (int old = 0; old <= 1; old++) {
        FakeRule rules[] = {{.contains = "has_table_privilege", .rows = "99|t"}, {0}};
        FakeServer f = {.version = old ? "12.5" : "15.4", .rules = rules};
        Config cfg = config(true);
        Error e;
        Pg *pg = open_at(&f);
        assert_true(publication_make(pg, &cfg, &all, &e));
        close_both(&f, pg);
        static const char *const options[] = {" WITH (publish = 'insert, update, delete, truncate', "
                                              "publish_via_partition_root = false)",
                                              " WITH (publish = 'insert, update, delete, truncate')"};
        char create[200];
        snprintf(create, sizeof create,
                 "SET LOCAL lock_timeout = '2s'; CREATE PUBLICATION \"dts_sync_shop\"%s", options[old]);
        int at = fake_find(&f, "CREATE PUBLICATION \"dts_sync_shop\"");
        assert_string_equal(f.statements[at], create);
        assert_string_equal(
            f.statements[at + 1],
            "SET LOCAL lock_timeout = '2s'; ALTER PUBLICATION \"dts_sync_shop\" ADD TABLE ONLY "
            "\"s\".\"b\"\"b\", ONLY \"s\".\"a\", ONLY \"public\".\"dts_postgres_heartbeat\"");
        at = fake_find(&f, "CREATE PUBLICATION \"dts_sync_shop_i\" WITH (publish = 'insert, truncate'");
        assert_true(at > 0);
        assert_string_equal(
            f.statements[at + 1],
            "SET LOCAL lock_timeout = '2s'; ALTER PUBLICATION \"dts_sync_shop_i\" ADD TABLE ONLY "
            "\"s\".\"c\"");
        fake_free(&f);
    }
}

/* Trap A1: nothing is made for a table whose users could then not update it. */
static void trap_A1_table_without_identity_is_refused_first(void **state) {
    (void)state;
    Table bare = {.oid = 1, .schema = "s", .name = "x", .full_name = "s.x", .identity = TABLE_IDENTITY_NONE};
    const Selection selection = {.count = 1, .tables = &bare};
    FakeServer f = {0};
    Config cfg = config(false);
    Error e;
    Pg *pg = open_at(&f);
    assert_false(publication_make(pg, &cfg, &selection, &e));
    close_both(&f, pg);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_int_equal(f.count, 1);
    fake_free(&f);
}

/* Trap A1, from 18 on: FULL holds a generated column, which is not published. */
static void trap_A1_a_generated_column_under_full_is_refused_first(void **state) {
    (void)state;
    const TableColumn columns[] = {{.name = "id"}, {.name = "g", .generated = true}};
    Table full = {.oid = 1,
                  .schema = "s",
                  .name = "x",
                  .full_name = "s.x",
                  .identity = TABLE_IDENTITY_FULL,
                  .column_count = 2,
                  .columns = columns};
    const Selection selection = {.count = 1, .tables = &full};
    FakeServer f = {0};
    Config cfg = config(false);
    Error e;
    Pg *pg = open_at(&f);
    assert_false(publication_forbids_full(pg, &full));
    pg->version = 180000;
    assert_true(publication_forbids_full(pg, &full));
    assert_false(publication_make(pg, &cfg, &selection, &e));
    full.column_count = 1;
    assert_false(publication_forbids_full(pg, &full));
    close_both(&f, pg);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "s.x"));
    assert_int_equal(f.count, 1);
    fake_free(&f);
}

static void only_the_difference_is_changed(void **state) {
    (void)state;
    FakeRule rules[] = {
        {.contains = "puballtables", .rows = "f|t|f|t|t|f|f", .times = 1}, /* no updates */
        {.contains = "pg_publication_rel",
         .rows = "20|s|b\"b|(x > 1)|~\n25|s|old|~|~\n30|s|a|~|~",
         .times = 1},
        {.contains = "puballtables", .rows = "f|t|f|f|t|f|f", .times = 1}, /* no longer needed */
        {0}};
    FakeServer f = {.rules = rules};
    Config cfg = config(false);
    Error e;
    Pg *pg = open_at(&f);
    assert_true(publication_make(pg, &cfg, &keyed, &e));
    close_both(&f, pg);
    assert_true(
        fake_find(&f, "ALTER PUBLICATION \"dts_sync_shop\" SET (publish = 'insert, update, delete, tr") > 0);
    /* A filtered table is dropped and added whole. */
    assert_true(fake_find(&f, "DROP TABLE ONLY \"s\".\"b\"\"b\", ONLY \"s\".\"old\"") > 0);
    int add = fake_find(&f, " ADD TABLE ");
    assert_string_equal(strstr(f.statements[add], " ADD "), " ADD TABLE ONLY \"s\".\"b\"\"b\"");
    assert_true(fake_find(&f, "DROP PUBLICATION IF EXISTS \"dts_sync_shop_i\"") > 0);
    assert_int_equal(fake_find(&f, "CREATE"), -1);
    fake_free(&f);
}

static void publication_for_everything_is_made_again(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "puballtables", .rows = "t|t|t|t|t|f|f", .times = 1}, {0}};
    FakeServer f = {.rules = rules};
    Config cfg = config(false);
    Error e;
    Pg *pg = open_at(&f);
    assert_true(publication_make(pg, &cfg, &keyed, &e));
    close_both(&f, pg);
    int drop = fake_find(&f, "DROP PUBLICATION");
    assert_true(drop > 0 && fake_find(&f, "CREATE PUBLICATION") == drop + 1);
    fake_free(&f);
}

static void many_tables_go_in_several_statements(void **state) {
    (void)state;
    enum { COUNT = 2001 };
    Table *many = calloc(COUNT, sizeof *many);
    for (uint32_t n = 0; n < COUNT; n++)
        many[n] = (Table){.oid = n + 1, .schema = "s", .name = "t", .identity = TABLE_IDENTITY_KEY};
    const Selection selection = {.count = COUNT, .tables = many};
    FakeServer f = {0};
    Config cfg = config(false);
    Error e;
    Pg *pg = open_at(&f);
    assert_true(publication_make(pg, &cfg, &selection, &e));
    close_both(&f, pg);
    int adds = 0, members = 0;
    for (int n = 0; n < f.count; n++)
        for (const char *at = f.statements[n]; (at = strstr(at, "ONLY \"s\"")) != NULL; at++) {
            adds += strncmp(at - 6, "TABLE ", 6) == 0;
            members++;
        }
    assert_int_equal(adds, 3);
    assert_int_equal(members, COUNT);
    free(many);
    fake_free(&f);
}

static void lock_in_the_way_is_waited_for(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "ADD TABLE", .sqlstate = "55P03", .message = "lock timeout", .times = 1},
                        {0}};
    FakeServer f = {.rules = rules};
    Config cfg = config(false);
    Error e;
    Pg *pg = open_at(&f);
    assert_true(publication_make(pg, &cfg, &keyed, &e));
    close_both(&f, pg);
    int first = fake_find(&f, "ADD TABLE");
    assert_string_equal(f.statements[first], f.statements[first + 1]);
    fake_free(&f);
}

static const char WHOLE[] = "f|t|t|t|t|f|f", INSERTS[] = "f|t|f|f|t|f|f";

/* F41. */
static void verify_names_what_is_gone(void **state) {
    (void)state;
    static const struct {
        const char *main, *members, *inserts, *insert_members;
        ErrorKind kind; /* ERR_NONE: right */
        const char *text;
        bool dropped; /* on the source */
    } cases[] = {
        {WHOLE, "20|s|b|~|~\n30|s|a|~|~", INSERTS, "10|s|c|~|~", ERR_NONE, "", false},
        {WHOLE, "20|s|b|~|~", INSERTS, "10|s|c|~|~", ERR_NONE, "", true},
        {NULL, NULL, INSERTS, "10|s|c|~|~", ERR_LOST, "\"dts_sync_shop\" does not exist", false},
        {WHOLE, "20|s|b|~|~\n30|s|a|~|~", NULL, NULL, ERR_LOST, "\"dts_sync_shop_i\" does not exist", false},
        {WHOLE, "20|s|b|~|~", INSERTS, "10|s|c|~|~", ERR_LOST,
         "lacks 1 of 2 tables, or filters them otherwise: \"s.a\"", false},
        {WHOLE, "20|s|b|(x > 1)|~\n30|s|a|~|~", INSERTS, "10|s|c|~|~", ERR_LOST, "\"s.b\"b\"", false},
        {WHOLE, "20|s|b|~|~\n30|s|a|~|~\n31|s|z|~|~", INSERTS, "10|s|c|~|~", ERR_CONFIG, "\"s.z\"", false},
        {"f|t|t|f|t|f|f", "20|s|b|~|~\n30|s|a|~|~", INSERTS, "10|s|c|~|~", ERR_LOST, "what it should", false},
        {"f|t|t|t|t|t|f", "20|s|b|~|~\n30|s|a|~|~", INSERTS, "10|s|c|~|~", ERR_LOST, "what it should", false},
        {WHOLE, "20|s|b|~|~\n30|s|a|~|~", "f|t|t|f|t|f|f", "10|s|c|~|~", ERR_LOST, "dts_sync_shop_i", false},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule rules[] = {{.contains = "puballtables", .rows = cases[n].main, .times = 1},
                            {.contains = "pg_publication_rel", .rows = cases[n].members, .times = 1},
                            {.contains = "puballtables", .rows = cases[n].inserts, .times = 1},
                            {.contains = "pg_publication_rel", .rows = cases[n].insert_members, .times = 1},
                            {.contains = "WHERE oid = ", .rows = cases[n].dropped ? "f" : "t"},
                            {0}};
        FakeServer f = {.rules = rules};
        Config cfg = config(false);
        Error e = {0};
        Pg *pg = open_at(&f);
        assert_int_equal(publication_verify(pg, &cfg, &all, &e), cases[n].kind == ERR_NONE);
        close_both(&f, pg);
        assert_int_equal(e.kind, cases[n].kind);
        assert_non_null(strstr(e.text, cases[n].text));
        fake_free(&f);
    }
}

static void users_publication_is_only_checked(void **state) {
    (void)state;
    FakeRule good[] = {
        {.contains = "pg_get_publication_tables", .rows = "20|s|b|~|~\n30|s|a|~|~\n31|s|z|~|~", .times = 1},
        {.contains = "puballtables", .rows = "t|t|t|t|t|f|f", .times = 1},
        {0}};
    FakeServer f = {.rules = good};
    Config cfg = config(false);
    Error e;
    cfg.source.publication = their_name;
    Pg *pg = open_at(&f);
    assert_true(publication_make(pg, &cfg, &keyed, &e));
    assert_false(publication_make(pg, &cfg, &keyed, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_true(publication_drop(pg, &cfg, &e));
    close_both(&f, pg);
    assert_int_equal(fake_find(&f, "CREATE"), -1);
    assert_int_equal(fake_find(&f, "ALTER"), -1);
    assert_int_equal(fake_find(&f, "\"theirs\""), -1);
    assert_true(fake_find(&f, "DROP PUBLICATION IF EXISTS \"dts_sync_shop_i\"") > 0);
    fake_free(&f);
}

/* A row filter and a column list: wanted with the words of the job, held with those of the server. */
static TableColumn cut_columns[] = {{.name = "id", .number = 1, .taken = true, .identity_key = true},
                                    {.name = "no", .number = 2},
                                    {.name = "c\"c", .number = 5, .taken = true},
                                    {.name = "made", .number = 6, .taken = true, .generated = true}};
static Table cut_table = {.oid = 30,
                          .schema = "s",
                          .name = "a",
                          .full_name = "s.a",
                          .identity = TABLE_IDENTITY_KEY,
                          .where = "id > 1 -- some",
                          .listed = true,
                          .column_count = 4,
                          .columns = cut_columns};
static const Selection cut = {.count = 1, .tables = &cut_table};

static void filters_and_lists_are_published(void **state) {
    (void)state;
    FakeServer f = {0};
    Config cfg = config(false);
    Error e;
    Pg *pg = open_at(&f);
    assert_true(publication_make(pg, &cfg, &cut, &e));
    close_both(&f, pg);
    int at = fake_find(&f, " ADD TABLE ");
    assert_string_equal(strstr(f.statements[at], " ADD "),
                        " ADD TABLE ONLY \"s\".\"a\" (\"id\", \"c\"\"c\") WHERE (id > 1 -- some\n)");
    fake_free(&f);
}

/* The server writes a filter in its own words: what it would do with both tells whether they are the same. */
static void filters_are_compared_by_what_the_server_does(void **state) {
    (void)state;
    static const struct {
        const char *members, *plan;
        bool same;
    } cases[] = {
        {"30|s|a|(id > 1)|1 5", "[{\"Plan\": {\"Output\": [\"(a.id > 1)\", \"(a.id > 1)\"]}}]", true},
        {"30|s|a|(id > 2)|1 5", "[{\"Plan\": {\"Output\": [\"(a.id > 1)\", \"(a.id > 2)\"]}}]", false},
        {"30|s|a|(id > 1)|1 5", "[{\"Plan\": {}}]", false},
        {"30|s|a|(id > 1)|1", NULL, false},
        {"30|s|a|(id > 1)|~", NULL, false},
        {"30|s|a|~|1 5", NULL, false},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeRule rules[] = {{.contains = "puballtables", .rows = WHOLE, .times = 1},
                            {.contains = "pg_publication_rel", .rows = cases[n].members, .times = 1},
                            {.contains = "EXPLAIN", .rows = cases[n].plan, .times = 1},
                            {.contains = "WHERE oid = ", .rows = "t"},
                            {0}};
        FakeServer f = {.rules = rules};
        Config cfg = config(false);
        Error e = {0};
        Pg *pg = open_at(&f);
        assert_int_equal(publication_verify(pg, &cfg, &cut, &e), cases[n].same);
        close_both(&f, pg);
        if (!cases[n].same)
            assert_int_equal(e.kind, ERR_LOST);
        fake_free(&f);
    }
}

static bool key_fits(const TableColumn *column) {
    return column->identity_key;
}

static void trap_A1_a_filter_is_tried_and_rolled_back(void **state) {
    (void)state;
    static const char *const answers[] = {"1", "1\n2", NULL}, *const expected[] = {"", "no", ""};
    for (int n = 0; n < 3; n++) {
        FakeRule rules[] = {{.contains = "refobjsubid", .rows = answers[n]}, {0}};
        FakeServer f = {.rules = rules};
        Config cfg = config(false);
        Error e;
        char column[64];
        Pg *pg = open_at(&f);
        assert_true(publication_try_filter(pg, &cfg, &cut_table, key_fits, column, &e));
        close_both(&f, pg);
        assert_string_equal(column, expected[n]);
        int made = fake_find(
            &f, "CREATE PUBLICATION \"dts_sync_shop_try\" FOR TABLE ONLY \"s\".\"a\" WHERE (id > 1");
        assert_true(made > 0);
        assert_string_equal(f.statements[made - 1], "BEGIN READ WRITE");
        assert_string_equal(f.statements[f.count - 1], "ROLLBACK");
        fake_free(&f);
    }
}

static void names_are_those_that_are_needed(void **state) {
    (void)state;
    FakeServer f = {0};
    Config cfg = config(false);
    Pg *pg = open_at(&f);
    Writer w = writer_new(200);
    publication_names(pg, &cfg, &all, &w);
    assert_string_equal(writer_string(&w), "\"dts_sync_shop\",\"dts_sync_shop_i\"");
    writer_reset(&w);
    publication_names(pg, &cfg, &keyed, &w);
    assert_string_equal(writer_string(&w), "\"dts_sync_shop\"");
    writer_free(&w);
    close_both(&f, pg);
    fake_free(&f);
}

static void identities_are_set_and_taken_back(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "\"gone\"", .sqlstate = "42P01", .message = "no table"}, {0}};
    FakeServer f = {.rules = rules};
    Table candidate = tables[2];
    Error e;
    candidate.identity_candidate = "c_\"key";
    Pg *pg = open_at(&f);
    assert_true(publication_set_identity(pg, &tables[2], 1000, &e));
    assert_true(publication_set_identity(pg, &candidate, 1000, &e));
    assert_true(publication_restore_identity(pg, "s", "c", 'd', 1000, &e));
    assert_true(publication_restore_identity(pg, "s", "c", 'n', 1000, &e));
    assert_true(publication_restore_identity(pg, "s", "gone", 'd', 1000, &e));
    close_both(&f, pg);
    static const char *const changes[] = {"\"c\" REPLICA IDENTITY FULL",
                                          "\"c\" REPLICA IDENTITY USING INDEX \"c_\"\"key\"",
                                          "\"c\" REPLICA IDENTITY DEFAULT", "\"c\" REPLICA IDENTITY NOTHING"};
    for (int n = 0; n < 4; n++) {
        char statement[200];
        snprintf(statement, sizeof statement, "SET LOCAL lock_timeout = '2s'; ALTER TABLE ONLY \"s\".%s",
                 changes[n]);
        assert_string_equal(f.statements[n + 1], statement);
    }
    fake_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publications_are_made),
        cmocka_unit_test(trap_A1_table_without_identity_is_refused_first),
        cmocka_unit_test(trap_A1_a_generated_column_under_full_is_refused_first),
        cmocka_unit_test(only_the_difference_is_changed),
        cmocka_unit_test(publication_for_everything_is_made_again),
        cmocka_unit_test(many_tables_go_in_several_statements),
        cmocka_unit_test(lock_in_the_way_is_waited_for),
        cmocka_unit_test(verify_names_what_is_gone),
        cmocka_unit_test(users_publication_is_only_checked),
        cmocka_unit_test(names_are_those_that_are_needed),
        cmocka_unit_test(identities_are_set_and_taken_back),
        cmocka_unit_test(filters_and_lists_are_published),
        cmocka_unit_test(filters_are_compared_by_what_the_server_does),
        cmocka_unit_test(trap_A1_a_filter_is_tried_and_rolled_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
