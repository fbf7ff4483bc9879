#include "live_fixture.h"

/* One change to one statement: what is in the destination's table afterwards. */

static void commit_apply(Fixture *f, Maker *m) {
    static uint64_t end = 0x100000; /* ends only need to grow */
    end += 0x100;
    maker_commit(m, 5, end);
    apply(f, m);
}

static void insert(Fixture *f, const Relation *rel, const char *row) {
    Maker m = maker_new(1);
    maker_insert(&m, rel, row);
    commit_apply(f, &m);
}

static void update(Fixture *f, const Relation *rel, const char *before, const char *after) {
    Maker m = maker_new(1);
    maker_update(&m, rel, before, after);
    commit_apply(f, &m);
}

static void delete_row(Fixture *f, const Relation *rel, const char *before) {
    Maker m = maker_new(1);
    maker_delete(&m, rel, before);
    commit_apply(f, &m);
}

/* ---- values ---- */

static void values_nulls_and_empty_texts_arrive_as_they_are(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.\"T t\" (\"I\"\"d\" int PRIMARY KEY, n numeric, v text, b bytea, a text[])",
               "T t");
    Relation *t = relation(f, "T t", 'd', "I\"d*,n,v,b,a");
    insert(f, t, "1|1.50||\\x00ff|{a,NULL,\"\"}");
    insert(f, t, "2|\\N|\\N|\\N|\\N");
    insert(f, t, "3|NaN|'; DROP TABLE x; --|\\x|{}");
    assert_value(f, "SELECT string_agg(x::text, ' ' ORDER BY x) FROM s.\"T t\" x",
                 "(1,1.50,\"\",\"\\\\x00ff\",\"{a,NULL,\"\"\"\"}\") (2,,,,)"
                 " (3,NaN,\"'; DROP TABLE x; --\",\"\\\\x\",{})");
}

static void a_zero_column_table_takes_rows(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (own int DEFAULT 7)", "t");
    insert(f, relation(f, "t", 'n', ""), "");
    assert_value(f, "SELECT own FROM s.t", "7");
}

static void values_of_two_megabytes_go_through(void **state) {
    Fixture *f = *state;
    enum { BIG = 2 << 20, ROWS = 5 };
    start_with(f, "CREATE TABLE s.t (id int PRIMARY KEY, v text)", "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    Maker m = maker_new(2 * ROWS);
    char row[20];
    for (int number = 0; number < ROWS; number++) {
        snprintf(row, sizeof row, "%d|", number);
        maker_insert(&m, t, row);
        Value *after = row_make(m.arena, t, row);
        char *big = arena_alloc(f->arena, BIG + 1);
        memset(big, 'x', BIG - (size_t)number);
        after[1].bytes = (Slice){big, BIG - (size_t)number};
        maker_add(&m, CHANGE_UPDATE, t)->row.after = after;
    }
    commit_apply(f, &m);
    assert_value(f, "SELECT sum(length(v)) FROM s.t", "10485750");
}

static void binary_values_are_sent_as_binary(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int PRIMARY KEY, v text, at timestamptz)", "t");
    Relation *t = relation(f, "t", 'd', "id*,v,at");
    Maker m = maker_new(2);
    Value row[] = {{VALUE_BINARY, {"\0\0\1\2", 4}},
                   {VALUE_BINARY, {"b\\in", 4}},
                   {VALUE_BINARY, {"\0\0\0\0\0\0\0\0", 8}}};
    Value changed[] = {row[0], {VALUE_BINARY, {NULL, 0}}, {VALUE_NULL, {NULL, 0}}};
    maker_add(&m, CHANGE_INSERT, t)->row.after = row;
    commit_apply(f, &m);
    assert_value(f, "SELECT id || v || at FROM s.t", "258b\\in2000-01-01 00:00:00+00");
    Maker second = maker_new(1);
    maker_add(&second, CHANGE_UPDATE, t)->row.after = changed;
    commit_apply(f, &second);
    assert_value(f, "SELECT id || v || (at IS NULL) FROM s.t", "258true");
}

/* ---- by key ---- */

static void unchanged_toast_is_left_alone(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int PRIMARY KEY, v text, big text);"
               "INSERT INTO s.t VALUES (1, 'a', 'kept')",
               "t");
    Relation *t = relation(f, "t", 'd', "id*,v,big");
    update(f, t, NULL, "1|b|?");
    assert_value(f, "SELECT v || big FROM s.t", "bkept");
    update(f, t, NULL, "1|?|?"); /* nothing at all */
    assert_value(f, "SELECT v || big FROM s.t", "bkept");
    update(f, t, "1|-|-", "2|c|?");
    assert_value(f, "SELECT id || v || big FROM s.t", "2ckept");
}

static void a_key_tuple_finds_the_old_row(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (a int, b text, v text, PRIMARY KEY (a, b));"
               "INSERT INTO s.t VALUES (1, 'x', 'one'), (1, 'y', 'two'), (2, 'x', 'three')",
               "t");
    Relation *t = relation(f, "t", 'd', "a*,b*,v");
    update(f, t, "1|y|-", "3|y|\\N");
    delete_row(f, t, "2|x|-");
    assert_value(f, "SELECT string_agg(x::text, ' ' ORDER BY a, b) FROM s.t x", "(1,x,one) (3,y,)");
}

static void an_unchanged_toast_key_takes_its_value_from_the_key_tuple(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (k text PRIMARY KEY, v text); INSERT INTO s.t VALUES ('long', 'a')", "t");
    Relation *t = relation(f, "t", 'd', "k*,v");
    update(f, t, "long|-", "?|b");
    assert_value(f, "SELECT k || v FROM s.t", "longb");
    Maker m = maker_new(1);
    maker_update(&m, t, NULL, "?|c");
    maker_commit(&m, 5, 0x200000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "ending at 0/200000: the source did not send the old value of column \"k\"");
}

static void an_update_of_a_table_without_identity_is_refused(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int, v text)", "t");
    Relation *t = relation(f, "t", 'n', "id,v");
    insert(f, t, "1|a");
    Maker m = maker_new(1);
    maker_update(&m, t, NULL, "1|b");
    maker_commit(&m, 5, 0x200000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "update of \"s.t\" in transaction 5 ending at 0/200000: the table has no");
}

static void types_of_extensions_enums_and_domains_are_keys(void **state) {
    Fixture *f = *state;
    run(f, "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public");
    start_with(
        f,
        "CREATE TYPE s.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN s.positive AS int CHECK (VALUE > 0);"
        "CREATE TABLE s.t (c public.citext, m s.mood, p s.positive, v varchar(9), o char(4), x \"char\","
        " PRIMARY KEY (c, m, p, v, o, x))",
        "t");
    Relation *t = relation(f, "t", 'd', "c*,m*,p*,v*,o*,x*");
    insert(f, t, "A|sad|1|v|o   |x");
    update(f, t, "A|sad|1|v|o   |x", "B|glad|2|w|p   |y");
    assert_value(f, "SELECT r::text FROM s.t r", "(B,glad,2,w,\"p   \",y)");
    delete_row(f, t, "B|glad|2|w|p   |y");
    assert_value(f, "SELECT count(*) FROM s.t", "0");
}

static void a_parent_is_changed_without_its_children(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int, v text); CREATE TABLE s.child () INHERITS (s.t);"
               "INSERT INTO s.t VALUES (1, 'a'); INSERT INTO s.child VALUES (1, 'a')",
               "t");
    update(f, relation(f, "t", 'd', "id*,v"), NULL, "1|b");
    assert_value(f, "SELECT string_agg(tableoid::regclass || v, ' ' ORDER BY v) FROM s.t", "s.childa s.tb");
    delete_row(f, relation(f, "t", 'f', "id,v"), "1|b");
    assert_value(f, "SELECT string_agg(tableoid::regclass || v, ' ') FROM s.t", "s.childa");
}

/* ---- by the whole row (trap B9) ---- */

static void trap_B9_of_equal_rows_exactly_one_is_touched(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (j json, p point, x xml, v text)", "t");
    Relation *t = relation(f, "t", 'f', "j,p,x,v");
    for (int copy = 0; copy < 3; copy++)
        insert(f, t, "{\"a\": 1}|(1,2)|<a/>|\\N");
    update(f, t, "{\"a\": 1}|(1,2)|<a/>|\\N", "{\"a\": 1}|(3,4)|<a/>|b");
    assert_value(f, "SELECT string_agg(p::text, ' ' ORDER BY p <-> '(0,0)') FROM s.t", "(1,2) (1,2) (3,4)");
    delete_row(f, t, "{\"a\": 1}|(1,2)|<a/>|\\N");
    assert_value(f, "SELECT string_agg(p::text, ' ' ORDER BY p <-> '(0,0)') FROM s.t", "(1,2) (3,4)");
}

static void trap_B9_a_row_that_is_only_equal_in_value_is_another(void **state) {
    Fixture *f = *state;
    run(f, "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public");
    start_with(f,
               "CREATE TABLE s.t (n numeric, d float8, c public.citext);"
               "INSERT INTO s.t VALUES ('1.0', '0', 'a'), ('1.00', '-0', 'A')",
               "t");
    Relation *t = relation(f, "t", 'f', "n,d,c");
    delete_row(f, t, "1.00|-0|A");
    assert_value(f, "SELECT x::text FROM s.t x", "(1.0,0,a)");
    Maker m = maker_new(1);
    maker_delete(&m, t, "1.00|0|a");
    maker_commit(&m, 5, 0x200000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA,
                "delete from \"s.t\" (n=1.00, d=0, c=a) in transaction 5 ending at 0/200000: no such");
    assert_value(f, "SELECT count(*) FROM s.t", "1");
}

static void an_index_finds_candidates_and_nulls_in_it_do_not_hide_the_row(void **state) {
    Fixture *f = *state;
    start_with(
        f, "CREATE TABLE s.t (a int, v varchar(5), j json); CREATE INDEX ON s.t (a); CREATE INDEX ON s.t (v)",
        "t");
    Relation *t = relation(f, "t", 'f', "a,v,j");
    insert(f, t, "1|x|{}");
    insert(f, t, "1|x|[]");
    insert(f, t, "\\N|x|[]");
    insert(f, t, "\\N|\\N|[]");
    update(f, t, "1|x|[]", "1|y|[]");
    delete_row(f, t, "\\N|x|[]");
    update(f, t, "\\N|\\N|[]", "\\N|\\N|{}");
    assert_value(f, "SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM s.t x",
                 "(,,{}) (1,x,{}) (1,y,[])");
}

static void identity_full_finds_its_row_by_a_key_there(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int NOT NULL, v text, extra json, UNIQUE (id) INCLUDE (v));"
               "INSERT INTO s.t VALUES (1, NULL, '{}'), (2, 'b', '{}')",
               "t");
    Relation *t = relation(f, "t", 'f', "v,id");
    update(f, t, "\\N|1", "a|1"); /* a NULL in an included column does not hide the row */
    delete_row(f, t, "b|2");
    assert_value(f, "SELECT id || v || extra FROM s.t", "1a{}");
}

static void a_whole_row_is_found_in_its_partition(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int, j json) PARTITION BY LIST (id);"
               "CREATE TABLE s.t1 PARTITION OF s.t FOR VALUES IN (1);"
               "CREATE TABLE s.t2 PARTITION OF s.t FOR VALUES IN (2);"
               "INSERT INTO s.t VALUES (1, '[]'), (2, '[]')", /* both at (0,1) */
               "t");
    Relation *t = relation(f, "t", 'f', "id,j");
    update(f, t, "2|[]", "2|{}");
    assert_value(f, "SELECT string_agg(x::text, ' ' ORDER BY id) FROM s.t x", "(1,[]) (2,{})");
    delete_row(f, t, "1|[]");
    assert_value(f, "SELECT x::text FROM s.t x", "(2,{})");
}

static void a_whole_row_leaves_generated_columns_out(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (a int, g int GENERATED ALWAYS AS (a + 1) STORED)", "t");
    Relation *t = relation(f, "t", 'f', "a");
    insert(f, t, "1");
    update(f, t, "1", "5");
    assert_value(f, "SELECT x::text FROM s.t x", "(5,6)");
}

/* ---- columns that the destination makes ---- */

static void generated_columns_are_left_to_the_destination(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED)", "t");
    Relation *t = relation(f, "t", 'd', "id*,g"); /* generated there only: the source sends a value */
    insert(f, t, "1|99");
    update(f, t, "1|-", "4|99");
    assert_value(f, "SELECT x::text FROM s.t x", "(4,8)");
}

static void trap_B9_an_always_identity_is_changed_by_inserting_again(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, big text,"
               " own text DEFAULT 'own')",
               "t");
    Relation *t = relation(f, "t", 'd', "id*,v,big");
    insert(f, t, "7|a|kept");
    update(f, t, NULL, "7|b|?");
    assert_value(f, "SELECT id || v || big || own FROM s.t", "7bkeptown");
    update(f, t, "7|-|-", "8|c|?");
    assert_value(f, "SELECT id || v || big FROM s.t", "8ckept");
    delete_row(f, t, "8|-|-");
    assert_value(f, "SELECT count(*) FROM s.t", "0");
}

static void an_always_identity_outside_the_key_keeps_the_sources_value(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (k int PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, v text)", "t");
    Relation *t = relation(f, "t", 'd', "k*,id,v");
    insert(f, t, "1|70|a");
    update(f, t, NULL, "1|71|?"); /* nobody says what id was */
    assert_value(f, "SELECT x::text FROM s.t x", "(1,71,a)");
    update(f, t, "1|-|-", "2|71|b");
    assert_value(f, "SELECT x::text FROM s.t x", "(2,71,b)");
    Maker m = maker_new(1);
    maker_update(&m, t, NULL, "9|71|b");
    maker_commit(&m, 5, 0x200000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "no such row at the target");
}

static void a_table_of_an_always_identity_alone_is_updated(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)", "t");
    Relation *t = relation(f, "t", 'd', "id*");
    insert(f, t, "7");
    update(f, t, NULL, "7");
    update(f, t, "7", "8");
    assert_value(f, "SELECT id FROM s.t", "8");
}

/* ---- TRUNCATE (trap A5) ---- */

static void truncate_takes_all_listed_tables_in_one_statement(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.p (id serial PRIMARY KEY); CREATE TABLE s.c (id int REFERENCES s.p);"
               "INSERT INTO s.p DEFAULT VALUES; INSERT INTO s.c VALUES (1)",
               "p,c");
    Relation *p = relation(f, "p", 'd', "id*"), *c = relation(f, "c", 'n', "id");
    Maker m = maker_new(1);
    maker_truncate(&m, p, c, false);
    commit_apply(f, &m);
    assert_value(f, "SELECT (SELECT count(*) FROM s.p) + (SELECT count(*) FROM s.c)", "0");
    assert_value(f, "SELECT nextval('s.p_id_seq')", "2");
    Maker restart = maker_new(1);
    maker_truncate(&restart, p, c, true);
    commit_apply(f, &restart);
    assert_value(f, "SELECT nextval('s.p_id_seq')", "1");
}

static void trap_A5_truncate_never_reaches_a_table_that_was_not_listed(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.p (id int PRIMARY KEY); CREATE TABLE s.extra (id int REFERENCES s.p);"
               "INSERT INTO s.p VALUES (1); INSERT INTO s.extra VALUES (1)",
               "p");
    Maker m = maker_new(1);
    maker_truncate(&m, relation(f, "p", 'd', "id*"), NULL, false);
    m.changes[0].truncate.cascade = true;
    maker_commit(&m, 5, 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "truncate of \"s.p\" in transaction 5 ending at 0/2000");
    assert_non_null(strstr(f->e.hint, "\"extra\""));
    assert_null(strstr(f->e.hint, "CASCADE"));
    assert_value(f, "SELECT (SELECT count(*) FROM s.p) + (SELECT count(*) FROM s.extra)", "2");
}

static void truncate_leaves_children_alone_and_empties_partitions(void **state) {
    Fixture *f = *state;
    start_with(f,
               "CREATE TABLE s.t (id int); CREATE TABLE s.child () INHERITS (s.t);"
               "CREATE TABLE s.r (id int) PARTITION BY LIST (id);"
               "CREATE TABLE s.r1 PARTITION OF s.r FOR VALUES IN (1);"
               "INSERT INTO s.t VALUES (1); INSERT INTO s.child VALUES (1); INSERT INTO s.r VALUES (1)",
               "t,r");
    Maker m = maker_new(1);
    maker_truncate(&m, relation(f, "t", 'n', "id"), relation(f, "r", 'n', "id"), false);
    commit_apply(f, &m);
    assert_value(f, "SELECT (SELECT count(*) FROM s.t) || ' ' || (SELECT count(*) FROM s.r)", "1 0");
}

/* ---- which tables are due (trap A2) ---- */

static void trap_A2_a_transaction_is_skipped_for_the_tables_that_have_it(void **state) {
    Fixture *f = *state;
    run(f, "CREATE TABLE s.a (id int PRIMARY KEY); CREATE TABLE s.b (id int PRIMARY KEY);"
           "INSERT INTO s.b VALUES (1)");
    born(f, "a,b");
    loaded(f, "a", POINT);
    loaded(f, "b", 0x3000);
    start(f);
    Relation *a = relation(f, "a", 'd', "id*"), *b = relation(f, "b", 'd', "id*");
    Maker m = maker_new(10);
    maker_insert(&m, a, "1");
    maker_insert(&m, b, "1");
    maker_commit(&m, 5, 0x2000);
    maker_truncate(&m, b, a, false); /* cut down to the one that is due */
    maker_insert(&m, a, "2");
    maker_commit(&m, 6, 0x2500);
    maker_truncate(&m, b, NULL, false);
    maker_delete(&m, b, "99");
    maker_commit(&m, 7, 0x3000); /* its own start: still skipped */
    maker_insert(&m, b, "2");
    maker_commit(&m, 8, 0x3001);
    apply(f, &m);
    assert_value(f, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM s.a", "2");
    assert_value(f, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM s.b", "1 2");
    assert_value(f, "SELECT max(lsn) FROM walferry.progress", "0/3001");
}

static void a_table_that_the_job_never_loaded_is_refused(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int); CREATE TABLE s.other (id int)", "t");
    Maker m = maker_new(1);
    maker_insert(&m, relation(f, "other", 'd', "id*"), "1");
    maker_commit(&m, 5, 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA,
                "insert into \"s.other\" (id=1) in transaction 5 ending at 0/2000: table \"s.other\"");
    assert_value(f, "SELECT count(*) FROM s.other", "0");
}

/* ---- the destination's tables change ---- */

static void a_table_that_is_missing_there_is_named_with_its_place(void **state) {
    Fixture *f = *state;
    start_with(f, "", "t");
    Maker m = maker_new(1);
    maker_insert(&m, relation(f, "t", 'd', "id*"), "1");
    maker_commit(&m, 5, 0x2000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "transaction 5 ending at 0/2000: table \"s.t\" does not exist at the target");
}

static void a_column_may_be_added_between_groups(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int PRIMARY KEY, v text)", "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    insert(f, t, "1|a");
    run(f, "ALTER TABLE s.t ADD COLUMN w text DEFAULT 'new'");
    insert(f, t, "2|b"); /* the source's change comes later */
    update(f, t, NULL, "1|c");
    insert(f, relation(f, "t", 'd', "id*,v,w"), "3|d|own");
    assert_value(f, "SELECT string_agg(id || v || w, ' ' ORDER BY id) FROM s.t", "1cnew 2bnew 3down");
}

static void a_column_that_went_away_there_is_named(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int PRIMARY KEY, v text)", "t");
    Relation *t = relation(f, "t", 'd', "id*,v");
    insert(f, t, "1|a");
    run(f, "ALTER TABLE s.t DROP COLUMN v");
    Maker m = maker_new(1);
    maker_insert(&m, t, "2|b");
    maker_commit(&m, 5, 0x200000);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "insert into \"s.t\" (id=2) in transaction 5 ending at 0/200000");
    assert_said(f, ERR_DATA, "\"v\"");
}

static void a_new_column_that_is_missing_there_stops_before_its_transaction(void **state) {
    Fixture *f = *state;
    start_with(f, "CREATE TABLE s.t (id int PRIMARY KEY, v text)", "t");
    Maker m = maker_new(2);
    maker_insert(&m, relation(f, "t", 'd', "id*,v"), "1|a");
    maker_commit(&m, 5, 0x2000);
    maker_insert(&m, relation(f, "t", 'd', "id*,v,w"), "2|b|c");
    maker_commit(&m, 6, 0x2100);
    apply_refused(f, &m);
    assert_said(f, ERR_DATA, "ending at 0/2100: table \"s.t\" has changed on the source: added \"w\" text");
    assert_value(f, "SELECT string_agg(id || v, ' ') FROM s.t", "1a");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(values_nulls_and_empty_texts_arrive_as_they_are),
        TEST(a_zero_column_table_takes_rows),
        TEST(values_of_two_megabytes_go_through),
        TEST(binary_values_are_sent_as_binary),
        TEST(unchanged_toast_is_left_alone),
        TEST(a_key_tuple_finds_the_old_row),
        TEST(an_unchanged_toast_key_takes_its_value_from_the_key_tuple),
        TEST(an_update_of_a_table_without_identity_is_refused),
        TEST(types_of_extensions_enums_and_domains_are_keys),
        TEST(a_parent_is_changed_without_its_children),
        TEST(trap_B9_of_equal_rows_exactly_one_is_touched),
        TEST(trap_B9_a_row_that_is_only_equal_in_value_is_another),
        TEST(an_index_finds_candidates_and_nulls_in_it_do_not_hide_the_row),
        TEST(identity_full_finds_its_row_by_a_key_there),
        TEST(a_whole_row_is_found_in_its_partition),
        TEST(a_whole_row_leaves_generated_columns_out),
        TEST(generated_columns_are_left_to_the_destination),
        TEST(trap_B9_an_always_identity_is_changed_by_inserting_again),
        TEST(an_always_identity_outside_the_key_keeps_the_sources_value),
        TEST(a_table_of_an_always_identity_alone_is_updated),
        TEST(truncate_takes_all_listed_tables_in_one_statement),
        TEST(trap_A5_truncate_never_reaches_a_table_that_was_not_listed),
        TEST(truncate_leaves_children_alone_and_empties_partitions),
        TEST(trap_A2_a_transaction_is_skipped_for_the_tables_that_have_it),
        TEST(a_table_that_the_job_never_loaded_is_refused),
        TEST(a_table_that_is_missing_there_is_named_with_its_place),
        TEST(a_column_may_be_added_between_groups),
        TEST(a_column_that_went_away_there_is_named),
        TEST(a_new_column_that_is_missing_there_stops_before_its_transaction),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
