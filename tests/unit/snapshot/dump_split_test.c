#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot/dump_intern.h"
#include "testing.h"

/* Real output of pg_dump and pg_restore 15.20; dump_schema.sql says how it was made. */
static char *file_read(const char *name) {
    char path[500];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    size_t got = fread(text, 1, (1 << 20) - 1, file);
    assert_true(got > 0 && feof(file));
    fclose(file);
    return text;
}

typedef struct Fixture {
    char *script;
    Writer list; /* filtered */
    Dump dump;
    Error e;
} Fixture;

static int fixture_make(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    char *list = file_read("dump_post_data.list");
    f->script = file_read("dump_post_data.sql");
    f->list = writer_new(1 << 20);
    dump_list_filter(list, &(DumpParts){0}, NULL, &f->list);
    free(list);
    *state = f;
    return 0;
}

static int fixture_drop(void **state) {
    Fixture *f = *state;
    dump_free(&f->dump);
    writer_free(&f->list);
    free(f->script);
    free(f);
    return 0;
}

static bool split(Fixture *f) {
    return dump_split(writer_string(&f->list), f->script, &f->dump, &f->e);
}

static const DumpEntry *entry_named(const Fixture *f, const char *type, const char *name) {
    for (int at = 0; at < f->dump.entry_count; at++)
        if (strcmp(f->dump.entries[at].type, type) == 0 && strcmp(f->dump.entries[at].name, name) == 0)
            return &f->dump.entries[at];
    fail_test("no entry %s %s", type, name);
    return NULL;
}

static void replace(char *text, const char *what, const char *with) {
    char *at = strstr(text, what);
    assert_non_null(at);
    assert_true(strlen(what) >= strlen(with));
    memmove(at + strlen(with), at + strlen(what), strlen(at + strlen(what)) + 1);
    memcpy(at, with, strlen(with));
}

static void event_triggers_and_their_comments_leave_the_list(void **state) {
    Fixture *f = *state;
    assert_null(strstr(writer_string(&f->list), "EVENT TRIGGER"));
    assert_null(strstr(writer_string(&f->list), "\n;"));
    assert_non_null(
        strstr(writer_string(&f->list), "3275; 2606 16723 CHECK CONSTRAINT sales orders_1 chk1 postgres\n"));
}

static void only_what_the_server_has_by_itself_leaves_the_list(void **state) {
    (void)state;
    static const char list[] = "; a comment\n"
                               "5; 2615 2200 SCHEMA - public some owner\n"
                               "6; 2615 16400 SCHEMA - public owner\n"
                               "7; 2615 16401 SCHEMA - public house owner\n"
                               "8; 0 0 COMMENT - SCHEMA public owner\n"
                               "9; 0 0 COMMENT - SCHEMA \"public house\" owner\n"
                               "10; 3079 16385 EXTENSION - pg_trgm \n"
                               "11; 0 0 COMMENT - EXTENSION pg_trgm \n"
                               "12; 6104 1 PUBLICATION - p owner\n"
                               "13; 6106 1 PUBLICATION TABLE public p t owner\n"
                               "14; 6100 1 SUBSCRIPTION - s owner\n"
                               "15; 0 0 ACL - SCHEMA public owner\n"
                               "16; 1259 17000 TABLE public PUBLICATION owner";
    Writer kept = writer_new(10000);
    dump_list_filter(list, &(DumpParts){0}, NULL, &kept);
    assert_string_equal(writer_string(&kept), "7; 2615 16401 SCHEMA - public house owner\n"
                                              "9; 0 0 COMMENT - SCHEMA \"public house\" owner\n"
                                              "10; 3079 16385 EXTENSION - pg_trgm \n"
                                              "16; 1259 17000 TABLE public PUBLICATION owner\n");
    writer_free(&kept);
}

static void what_is_asked_for_stays_in_the_list(void **state) {
    (void)state;
    static const char list[] = "5; 2615 2200 SCHEMA - public some owner\n"
                               "8; 0 0 COMMENT - SCHEMA public owner\n"
                               "9; 3466 8 EVENT TRIGGER - e owner\n"
                               "10; 0 0 COMMENT - EVENT TRIGGER e owner\n";
    static const struct {
        DumpParts parts;
        const char *kept;
    } cases[] = {{{.owners = true}, ""},
                 {{.public_schema = true}, "8; 0 0 COMMENT - SCHEMA public owner\n"},
                 {{.public_schema = true, .owners = true},
                  "5; 2615 2200 SCHEMA - public some owner\n8; 0 0 COMMENT - SCHEMA public owner\n"},
                 {{.event_triggers = true},
                  "9; 3466 8 EVENT TRIGGER - e owner\n10; 0 0 COMMENT - EVENT TRIGGER e owner\n"}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        Writer kept = writer_new(10000);
        dump_list_filter(list, &cases[n].parts, NULL, &kept);
        assert_string_equal(writer_string(&kept), cases[n].kept);
        writer_free(&kept);
    }
}

static void every_entry_of_the_list_is_cut_out_in_order(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    assert_int_equal(f->dump.entry_count, 30);
    assert_string_equal(f->dump.entries[0].type, "CONSTRAINT");
    assert_string_equal(f->dump.entries[0].schema, "public");
    assert_string_equal(f->dump.entries[0].name, "excl excl_r_excl");
    assert_string_equal(
        f->dump.entries[0].sql,
        "ALTER TABLE ONLY public.excl\n    ADD CONSTRAINT excl_r_excl EXCLUDE USING gist (r WITH &&);");
    assert_string_equal(f->dump.entries[29].type, "POLICY");
    assert_string_equal(f->dump.entries[29].sql, "CREATE POLICY pol ON sales.customer USING (true);");
}

static void several_statements_of_one_entry_stay_together(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    assert_string_equal(entry_named(f, "INDEX", "ri_a")->sql,
                        "CREATE UNIQUE INDEX ri_a ON public.ri USING btree (a);\n\n"
                        "ALTER TABLE ONLY public.ri REPLICA IDENTITY USING INDEX ri_a;");
}

static void names_with_blanks_and_marks_are_taken_apart_by_the_list(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    assert_string_equal(entry_named(f, "INDEX", "i; Type: x")->schema, "we ird;s");
    assert_string_equal(entry_named(f, "CONSTRAINT", "a;b \"c a;b \"c_pkey")->schema, "we ird;s");
    assert_non_null(strstr(entry_named(f, "INDEX", "new index")->sql, "CREATE INDEX \"new\nindex\" ON"));
}

static void a_header_inside_a_comment_text_is_not_one(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    assert_non_null(strstr(entry_named(f, "COMMENT", "INDEX orders_total")->sql,
                           "--\n-- Name: zzz; Type: INDEX; Schema: public; Owner: -\n--\n';"));
}

static void kinds_follow_the_types(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    assert_int_equal(entry_named(f, "CONSTRAINT", "customer customer_pkey")->kind, DUMP_INDEX);
    assert_int_equal(entry_named(f, "INDEX", "mv_i")->kind, DUMP_INDEX);
    assert_int_equal(entry_named(f, "INDEX ATTACH", "orders_1_pkey")->kind, DUMP_INDEX);
    assert_int_equal(entry_named(f, "STATISTICS", "st1")->kind, DUMP_INDEX);
    assert_int_equal(entry_named(f, "FK CONSTRAINT", "orders orders_fk")->kind, DUMP_FOREIGN_KEY);
    assert_int_equal(entry_named(f, "TRIGGER", "customer t1")->kind, DUMP_TRIGGER);
    assert_int_equal(entry_named(f, "CHECK CONSTRAINT", "orders_1 chk1")->kind, DUMP_OTHER);
    assert_int_equal(entry_named(f, "RULE", "excl r1")->kind, DUMP_TRIGGER);
    assert_int_equal(entry_named(f, "POLICY", "customer pol")->kind, DUMP_OTHER);
}

static void a_comment_comes_with_what_it_is_about(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    assert_int_equal(entry_named(f, "COMMENT", "CONSTRAINT orders_fk ON orders")->kind, DUMP_FOREIGN_KEY);
    assert_int_equal(entry_named(f, "COMMENT", "TRIGGER t1 ON customer")->kind, DUMP_TRIGGER);
    assert_int_equal(entry_named(f, "COMMENT", "INDEX customer_pkey")->kind, DUMP_OTHER);
}

static void hashes_are_of_the_statement(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    char first[33];
    snprintf(first, sizeof first, "%s", f->dump.entries[0].hash);
    assert_int_equal(strlen(first), 32);
    assert_string_not_equal(first, f->dump.entries[1].hash);
    replace(f->script, "(r WITH &&)", "(r WITH =)");
    assert_true(split(f));
    assert_string_not_equal(first, f->dump.entries[0].hash);
}

static void the_preamble_is_settings_without_psql_commands(void **state) {
    Fixture *f = *state;
    assert_true(split(f));
    assert_int_equal(strncmp(f->dump.preamble, "SET statement_timeout = 0;\n", 27), 0);
    assert_non_null(strstr(f->dump.preamble, "SELECT pg_catalog.set_config('search_path', '', false);\n"));
    assert_null(strstr(f->dump.preamble, "--"));
    assert_null(strchr(f->dump.preamble, '\\'));
}

static void scripts_of_older_minors_have_no_restrict(void **state) {
    Fixture *f = *state;
    assert_true(dump_script_clean(f->script, &f->e));
    assert_null(strstr(f->script, "restrict"));
    assert_true(split(f));
    assert_int_equal(f->dump.entry_count, 30);
}

static void a_restrict_without_its_end_is_refused(void **state) {
    Fixture *f = *state;
    char *end = strstr(f->script, "\\unrestrict ");
    end[strlen("\\unrestrict ")] ^= 1;
    assert_false(split(f));
    assert_non_null(strstr(f->e.text, "restrict"));
    end[0] = '\0';
    assert_false(split(f));
}

static void transaction_timeout_is_left_to_our_sessions(void **state) {
    (void)state;
    Error e;
    char text[] = "SET lock_timeout = 0;\nSET transaction_timeout = 0;\nSET row_security = off;\n\n"
                  "--\n-- Name: t; Type: TABLE; Schema: s; Owner: -\n--\n\nSET transaction_timeout = 0;\n";
    assert_true(dump_script_clean(text, &e));
    assert_string_equal(
        text, "SET lock_timeout = 0;\nSET row_security = off;\n\n"
              "--\n-- Name: t; Type: TABLE; Schema: s; Owner: -\n--\n\nSET transaction_timeout = 0;\n");
}

static void the_attribute_version_is_no_option(void **state) {
    (void)state;
    Error e;
    char text[] = "CREATE TABLE t (\n    a int\n);\n"
                  "ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=64);\n"
                  "ALTER TABLE ONLY public.t ALTER COLUMN \"b SET (pg_attver=1);\n\" SET (pg_attver=64);\n"
                  "ALTER TABLE ONLY public.t ALTER COLUMN c SET (n_distinct=5, pg_attver=64);\n"
                  "ALTER TABLE ONLY public.t ALTER COLUMN d SET (pg_attver=64, n_distinct=5);\n"
                  "ALTER TABLE ONLY public.t ALTER COLUMN e SET (a=1, pg_attver=64, n_distinct=5);\n"
                  "ALTER TABLE ONLY public.t ALTER COLUMN f SET STATISTICS 7;\n"
                  "ALTER FOREIGN TABLE ONLY public.t ALTER COLUMN g SET (pg_attver=64);\n"
                  "DO $$\nALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=64);\n$$;\n";
    assert_true(dump_script_clean(text, &e));
    assert_string_equal(text, "CREATE TABLE t (\n    a int\n);\n"
                              "ALTER TABLE ONLY public.t ALTER COLUMN c SET (n_distinct=5);\n"
                              "ALTER TABLE ONLY public.t ALTER COLUMN d SET (n_distinct=5);\n"
                              "ALTER TABLE ONLY public.t ALTER COLUMN e SET (a=1, n_distinct=5);\n"
                              "ALTER TABLE ONLY public.t ALTER COLUMN f SET STATISTICS 7;\n"
                              "DO $$\nALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=64);\n$$;\n");
}

static void a_script_that_differs_from_the_list_is_refused(void **state) {
    Fixture *f = *state;
    replace(f->script, "Name: ri_a; Type: INDEX", "Name: ri_b; Type: INDEX");
    assert_false(split(f));
    assert_int_equal(f->e.kind, ERR_CONFIG);
    assert_non_null(strstr(f->e.text, "ri_b"));
    assert_int_equal(f->dump.entry_count, 0);
}

static void an_entry_that_the_list_does_not_have_is_refused(void **state) {
    Fixture *f = *state;
    char *last = strstr(f->list.at, "3452; ");
    assert_non_null(last);
    *last = '\0';
    assert_false(split(f));
    assert_non_null(strstr(f->e.text, "does not agree with its list at \"customer pol; Type: POLICY"));
}

static void an_entry_that_the_script_does_not_have_is_refused(void **state) {
    Fixture *f = *state;
    writer_text(&f->list, "9; 1259 9 INDEX public one_more postgres\n");
    assert_false(split(f));
    assert_non_null(strstr(f->e.text, "one_more"));
}

/* The smallest cut may not go unseen: wherever the text ends, it is not whole. */
static void a_script_cut_at_any_byte_is_refused(void **state) {
    Fixture *f = *state;
    assert_true(dump_script_clean(f->script, &f->e));
    size_t whole = (size_t)(strstr(f->script, "--\n-- PostgreSQL database dump complete\n--\n") - f->script) +
                   strlen("--\n-- PostgreSQL database dump complete\n--\n");
    for (size_t len = whole - 1; len > 0; len--) {
        f->script[len] = '\0';
        assert_false(split(f));
    }
}

#define HEADED(header, sql) "--\n-- Name: " header "\n--\n\n" sql "\n\n"
#define ENDED               "--\n-- PostgreSQL database dump complete\n--\n\n"

/* Splits into `d`; ends the test when that fails. */
static void split_text(const char *list, const char *script, Dump *d) {
    Error e;
    *d = (Dump){0};
    if (!dump_split(list, script, d, &e))
        fail_test("%s", e.text);
}

static void an_owner_is_what_the_list_says_or_left_out(void **state) {
    (void)state;
    static const char list[] =
        "1; 3381 5 STATISTICS s x odd; Owner: y\n2; 826 6 DEFAULT ACL s DEFAULT PRIVILEGES b\n";
    Dump d;
    Error e;
    split_text(list,
               HEADED("x; Type: STATISTICS; Schema: s; Owner: odd; Owner: y", "one;")
                   HEADED("DEFAULT PRIVILEGES; Type: DEFAULT ACL; Schema: s; Owner: -", "two;") ENDED,
               &d);
    assert_string_equal(d.entries[0].sql, "one;");
    assert_string_equal(d.entries[1].name, "DEFAULT PRIVILEGES");
    assert_int_equal(d.entries[1].kind, DUMP_OTHER);
    dump_free(&d);
    assert_false(dump_split("1; 3381 5 STATISTICS s x owner\n",
                            HEADED("x; Type: STATISTICS; Schema: s; Owner: other", "one;") ENDED, &d, &e));
}

static void entries_are_found_in_the_list_wherever_the_script_has_them(void **state) {
    (void)state;
    Dump d;
    split_text("1; 826 6 DEFAULT ACL - DEFAULT PRIVILEGES a\n2; 826 7 DEFAULT ACL - DEFAULT PRIVILEGES b\n"
               "3; 3466 8 EVENT TRIGGER - e a\n4; 0 0 COMMENT - EVENT TRIGGER e a\n",
               HEADED("EVENT TRIGGER e; Type: COMMENT; Schema: -; Owner: -", "four;")
                   HEADED("DEFAULT PRIVILEGES; Type: DEFAULT ACL; Schema: -; Owner: -", "one;")
                       HEADED("DEFAULT PRIVILEGES; Type: DEFAULT ACL; Schema: -; Owner: -", "two;")
                           HEADED("e; Type: EVENT TRIGGER; Schema: -; Owner: -", "three;") ENDED,
               &d);
    static const char *const sql[] = {"one;", "two;", "three;", "four;"};
    static const DumpKind kinds[] = {DUMP_OTHER, DUMP_OTHER, DUMP_LAST, DUMP_LAST};
    for (int at = 0; at < 4; at++) {
        assert_string_equal(d.entries[at].sql, sql[at]);
        assert_int_equal(d.entries[at].kind, kinds[at]);
    }
    dump_free(&d);
}

static void what_stands_on_a_key_is_a_definition(void **state) {
    (void)state;
    Dump d;
    split_text(
        "1; 1255 5 FUNCTION s f() a\n2; 1259 6 MATERIALIZED VIEW s m a\n3; 1259 7 MATERIALIZED VIEW s n a\n"
        "4; 2618 8 RULE s v _RETURN a\n5; 2618 9 RULE s t r a\n6; 0 0 COMMENT s RULE r ON t a\n",
        HEADED("f(); Type: FUNCTION; Schema: s; Owner: -",
               "function;\n\nSET default_table_access_method = odd;")
            HEADED("m; Type: MATERIALIZED VIEW; Schema: s; Owner: -", "m;")
                HEADED("n; Type: MATERIALIZED VIEW; Schema: s; Owner: -", "n;")
                    HEADED("v _RETURN; Type: RULE; Schema: s; Owner: -", "v;")
                        HEADED("t r; Type: RULE; Schema: s; Owner: -", "r;")
                            HEADED("RULE r ON t; Type: COMMENT; Schema: s; Owner: -", "c;") ENDED,
        &d);
    static const DumpKind kinds[] = {DUMP_DEFINITION, DUMP_DEFINITION, DUMP_DEFINITION,
                                     DUMP_OTHER,      DUMP_TRIGGER,    DUMP_TRIGGER};
    for (int at = 0; at < 6; at++)
        assert_int_equal(d.entries[at].kind, kinds[at]);
    assert_string_equal(d.entries[0].sql, "function;");
    assert_string_equal(d.entries[1].sql, "SET default_table_access_method = odd;\nm;");
    assert_string_equal(d.entries[2].sql, "SET default_table_access_method = odd;\nn;");
    dump_free(&d);
}

/* Each is looked at once: a search to the script's end for each of them took minutes. */
static void twenty_thousand_entries_take_no_time(void **state) {
    (void)state;
    enum { MANY = 20000 };
    Writer list = writer_new(1 << 24), script = writer_new(1 << 24);
    for (int n = 0; n < MANY; n++) {
        writer_format(&list, "%d; 2606 %d CONSTRAINT public t_%d t_%d_pkey owner\n", n, n, n, n);
        writer_format(&script,
                      "--\n-- Name: t_%d t_%d_pkey; Type: CONSTRAINT; Schema: public; Owner: -\n--\n\n"
                      "ALTER TABLE ONLY public.t_%d\n    ADD CONSTRAINT t_%d_pkey PRIMARY KEY (id);\n\n\n",
                      n, n, n, n);
    }
    writer_text(&script, ENDED);
    Dump d;
    clock_t begin = clock();
    split_text(writer_string(&list), writer_string(&script), &d);
    assert_true(clock() - begin < 2 * CLOCKS_PER_SEC);
    assert_string_equal(d.entries[MANY - 1].sql,
                        "ALTER TABLE ONLY public.t_19999\n    ADD CONSTRAINT t_19999_pkey PRIMARY KEY (id);");
    dump_free(&d);
    writer_free(&list);
    writer_free(&script);
}

static void no_entries_are_fine(void **state) {
    (void)state;
    Dump d = {0};
    Error e;
    assert_true(
        dump_split("; nothing\n", "SET a = 1;\n\n--\n-- PostgreSQL database dump complete\n--\n\n", &d, &e));
    assert_int_equal(d.entry_count, 0);
    assert_string_equal(d.preamble, "SET a = 1;\n");
    dump_free(&d);
}

#define WITH_DATA(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_drop)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_DATA(event_triggers_and_their_comments_leave_the_list),
        cmocka_unit_test(only_what_the_server_has_by_itself_leaves_the_list),
        cmocka_unit_test(what_is_asked_for_stays_in_the_list),
        WITH_DATA(every_entry_of_the_list_is_cut_out_in_order),
        WITH_DATA(several_statements_of_one_entry_stay_together),
        WITH_DATA(names_with_blanks_and_marks_are_taken_apart_by_the_list),
        WITH_DATA(a_header_inside_a_comment_text_is_not_one),
        WITH_DATA(kinds_follow_the_types),
        WITH_DATA(a_comment_comes_with_what_it_is_about),
        WITH_DATA(hashes_are_of_the_statement),
        WITH_DATA(the_preamble_is_settings_without_psql_commands),
        WITH_DATA(scripts_of_older_minors_have_no_restrict),
        WITH_DATA(a_restrict_without_its_end_is_refused),
        cmocka_unit_test(transaction_timeout_is_left_to_our_sessions),
        cmocka_unit_test(the_attribute_version_is_no_option),
        WITH_DATA(a_script_that_differs_from_the_list_is_refused),
        WITH_DATA(an_entry_that_the_list_does_not_have_is_refused),
        WITH_DATA(an_entry_that_the_script_does_not_have_is_refused),
        WITH_DATA(a_script_cut_at_any_byte_is_refused),
        cmocka_unit_test(an_owner_is_what_the_list_says_or_left_out),
        cmocka_unit_test(entries_are_found_in_the_list_wherever_the_script_has_them),
        cmocka_unit_test(what_stands_on_a_key_is_a_definition),
        cmocka_unit_test(twenty_thousand_entries_take_no_time),
        cmocka_unit_test(no_entries_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
