#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/pg.h"
#include "fake_server.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

/* ---- rows ---- */

static PGresult *names_result(const char *const (*names)[2], int count) {
    char schema[] = "schema", name[] = "name";
    PGresAttDesc columns[] = {{.name = schema, .typlen = -1}, {.name = name, .typlen = -1}};
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    assert_int_equal(PQsetResultAttrs(result, 2, columns), 1);
    for (int row = 0; row < count; row++)
        for (int part = 0; part < 2; part++) {
            char text[64];
            int length = snprintf(text, sizeof text, "%s", names[row][part]);
            assert_int_equal(PQsetvalue(result, row, part, text, length), 1);
        }
    return result;
}

/* Also where a name stands several times, and where only its schema is there. */
static void the_first_row_of_a_name_is_found(void **state) {
    (void)state;
    static const char *const names[][2] = {{"A", "z"}, {"a", "a"}, {"a", "b"},
                                           {"a", "b"}, {"a", "b"}, {"b", "a"}};
    for (int count = 0; count <= 6; count++) {
        PGresult *rows = names_result(names, count);
        for (int row = 0; row < 6; row++) {
            int first = row >= 2 && row <= 4 ? 2 : row;
            assert_int_equal(pg_row_of_name(rows, names[row][0], names[row][1]), first < count ? first : -1);
        }
        assert_int_equal(pg_row_of_name(rows, "a", "c"), -1);
        assert_int_equal(pg_row_of_name(rows, "a", ""), -1);
        assert_int_equal(pg_row_of_name(rows, "c", "a"), -1);
        PQclear(rows);
    }
    assert_int_equal(pg_row_of_name(NULL, "a", "a"), -1);
}

/* ---- connection strings ---- */

static void dsn_forms_are_understood(void **state) {
    (void)state;
    Error e;
    assert_true(pg_dsn_valid("postgresql://reader:geheim@db1,db2:5433/shop?sslmode=require", &e));
    assert_true(pg_dsn_valid("host=db1 password='a b' dbname=shop", &e));
    assert_true(pg_dsn_valid("", &e));
}

static void no_piece_of_a_broken_dsn_is_shown(void **state) {
    (void)state;
    static const char *const broken[] = {
        "geheim",
        "host=db1 password=x geheim",
        "host=db1 password='geheim",
        "host=db1 geheim=x",
        "password=geheim\\",
        "postgresql://u:x\"geheim\"y@[db1/shop",
        "postgresql://u:geheim@[::1/shop",
        "postgresql://u:%zzgeheim@db1/shop",
        "postgresql://u:p?geheim=1@db1/shop",
        "postgresql://db1/shop?geheim",
        "postgresql://db1/shop?a=b=geheim",
        "postgresql://u:%00geheim@db1",
    };
    for (size_t n = 0; n < sizeof broken / sizeof *broken; n++) {
        Error e;
        if (pg_dsn_valid(broken[n], &e))
            continue;
        assert_int_equal(e.kind, ERR_CONFIG);
        assert_null(strstr(e.text, "geheim"));
        assert_null(strstr(e.hint, "geheim"));
    }
    Error e;
    assert_false(pg_dsn_valid(broken[1], &e));
    assert_string_equal(
        e.text, "the connection string cannot be read: missing \"=\" after \"…\" in connection info string");
}

static void mistyped_keyword_gets_a_hint(void **state) {
    (void)state;
    Error e;
    assert_false(pg_dsn_valid("host=db1 pasword=geheim", &e));
    assert_string_equal(e.hint, "did you mean \"password\"?");
    assert_false(pg_dsn_valid("postgresql://db1/shop?sslmod=require", &e));
    assert_string_equal(e.hint, "did you mean \"sslmode\"?");
}

static void description_has_no_secret(void **state) {
    (void)state;
    char out[200];
    Error e;
    assert_true(pg_describe("postgresql://reader:geheim@db1:5433/shop?sslmode=require&sslpassword=geheim",
                            out, sizeof out, &e));
    assert_string_equal(out, "host=db1 port=5433 dbname=shop user=reader");
    assert_true(pg_describe("dbname='my shop' user=a\\'b password=geheim", out, sizeof out, &e));
    assert_string_equal(out, "dbname='my shop' user='a\\'b'");
    assert_true(pg_describe("host=db1 user=reader", out, 8, &e));
    assert_string_equal(out, "host=db");
    assert_false(pg_describe("host", out, sizeof out, &e));
}

static void database_is_found(void **state) {
    (void)state;
    char out[20];
    pg_dsn_database("postgresql://db1/sh%6fp", out, sizeof out);
    assert_string_equal(out, "shop");
    pg_dsn_database("host=db1", out, sizeof out);
    assert_string_equal(out, "");
    pg_dsn_database("no dsn", out, sizeof out);
    assert_string_equal(out, "");
}

static const char *parsed(const PQconninfoOption *options, const char *keyword) {
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val == NULL ? "" : o->val;
    return "";
}

static void split_keeps_everything_but_the_secrets(void **state) {
    (void)state;
    Error e;
    char *rest, *password;
    assert_true(pg_dsn_split("host=db1 dbname='it''s' application_name='a\\\\b \\'c\\'' password='ge heim' "
                             "sslpassword=heimlich sslmode=require",
                             &rest, &password, &e) == false); /* '' is no escape here */
    assert_true(pg_dsn_split("host=db1 dbname=\\'s application_name='a\\\\b \\'c\\'' password='ge heim' "
                             "sslpassword=heimlich sslmode=require",
                             &rest, &password, &e));
    assert_string_equal(password, "ge heim");
    assert_null(strstr(rest, "heim"));
    PQconninfoOption *options = PQconninfoParse(rest, NULL);
    assert_non_null(options);
    assert_string_equal(parsed(options, "host"), "db1");
    assert_string_equal(parsed(options, "dbname"), "'s");
    assert_string_equal(parsed(options, "application_name"), "a\\b 'c'");
    assert_string_equal(parsed(options, "sslmode"), "require");
    PQconninfoFree(options);
    free(rest);
    pg_forget(password);
    assert_true(pg_dsn_split("host=db1", &rest, &password, &e));
    assert_string_equal(password, "");
    free(rest);
    pg_forget(password);
    pg_forget(NULL);
}

/* ---- logins ---- */

static Pg *open_at(const FakeServer *f, Error *e) {
    const PgAddress to = {.dsn = f->dsn, .side = "source", .job = "shop"};
    return pg_open(&to, 5000, e);
}

static void login_errors_are_classified(void **state) {
    (void)state;
    static const struct {
        const char *sqlstate, *message;
        ErrorKind kind;
        const char *hint;
    } cases[] = {
        {"28P01", "password authentication failed for user \"reader\"", ERR_CONFIG, "user and password"},
        {"28000", "no pg_hba.conf entry for host \"::1\"", ERR_CONFIG, "pg_hba.conf"},
        {"3D000", "database \"shop\" does not exist", ERR_CONFIG, "the name of the database"},
        {"42501", "must be replication role", ERR_CONFIG, "REPLICATION"},
        {"53300", "sorry, too many clients already", ERR_RETRY, "max_connections"},
        {"57P03", "the database system is starting up", ERR_RETRY, ""},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeServer f = {.login_sqlstate = cases[n].sqlstate, .login_message = cases[n].message};
        char text[200];
        Error e;
        fake_start(&f);
        assert_null(open_at(&f, &e));
        fake_stop(&f);
        snprintf(text, sizeof text, "source: %s", cases[n].message);
        assert_string_equal(e.text, text);
        assert_string_equal(e.sqlstate, cases[n].sqlstate);
        assert_int_equal(e.kind, cases[n].kind);
        assert_int_equal(e.connection, cases[n].kind == ERR_RETRY);
        assert_non_null(strstr(e.hint, cases[n].hint));
    }
}

static void unreachable_server_is_tried_again(void **state) {
    (void)state;
    Error e;
    const PgAddress nowhere = {.dsn = "host=/tmp/authentication/certificate port=5432", .side = "target"};
    assert_null(pg_open(&nowhere, 1000, &e));
    assert_int_equal(e.kind, ERR_RETRY);
    assert_true(e.connection);
    assert_int_equal(strncmp(e.text, "target: connection to server", 28), 0);
}

static void wrong_options_are_not_tried_again(void **state) {
    (void)state;
    static const char *const wrong[] = {"host=/tmp sslmode=foo", "host=/tmp port=abc",
                                        "service=no_such_service", "host=/tmp,/var hostaddr=127.0.0.1",
                                        "host"};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        Error e;
        const PgAddress to = {.dsn = wrong[n], .side = "source"};
        assert_null(pg_open(&to, 1000, &e));
        assert_int_equal(e.kind, ERR_CONFIG);
        assert_false(e.connection);
        assert_int_equal(strncmp(e.text, "source: ", 8), 0);
    }
}

static void mute_server_costs_no_more_than_the_timeout(void **state) {
    (void)state;
    FakeServer f = {.mute = true};
    Error e;
    fake_start(&f);
    const PgAddress to = {.dsn = f.dsn, .side = "source"};
    int64_t began_ms = clock_ms();
    assert_null(pg_open(&to, 200, &e));
    int64_t took_ms = clock_ms() - began_ms;
    fake_stop(&f);
    assert_true(took_ms >= 200 && took_ms < 2000);
    assert_int_equal(e.kind, ERR_RETRY);
    assert_true(e.connection);
}

static void open_wait_outlasts_a_start(void **state) {
    (void)state;
    FakeServer f = {.login_sqlstate = "57P03", .login_message = "starting up", .login_refusals = 2};
    Error e;
    fake_start(&f);
    const PgAddress to = {.dsn = f.dsn, .side = "source"};
    Pg *pg = pg_open_wait(&to, 20000, &e);
    assert_non_null(pg);
    pg_close(pg);
    fake_stop(&f);
    assert_int_equal(f.logins, 3);
    fake_free(&f);
}

static void open_wait_gives_up(void **state) {
    (void)state;
    FakeServer passing = {.login_sqlstate = "57P03", .login_message = "starting up"};
    FakeServer lasting = {.login_sqlstate = "28P01", .login_message = "no"};
    Error e;
    fake_start(&passing);
    const PgAddress to_passing = {.dsn = passing.dsn, .side = "source"};
    assert_null(pg_open_wait(&to_passing, 400, &e));
    fake_stop(&passing);
    assert_int_equal(e.kind, ERR_RETRY);
    assert_true(passing.logins >= 2);
    fake_start(&lasting);
    const PgAddress to_lasting = {.dsn = lasting.dsn, .side = "source"};
    assert_null(pg_open_wait(&to_lasting, 20000, &e));
    fake_stop(&lasting);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_int_equal(lasting.logins, 1);
}

/* ---- sessions ---- */

/* Trap C5. */
static void trap_C5_settings_fit_the_version(void **state) {
    (void)state;
    static const struct {
        const char *version, *last_known, *first_unknown;
    } cases[] = {{"12.3", "lock_timeout", "idle_session_timeout"},
                 {"14.1", "idle_session_timeout", "transaction_timeout"},
                 {"17.0", "transaction_timeout", "no such setting"}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        FakeServer f = {.version = cases[n].version};
        Error e;
        fake_start(&f);
        const PgAddress to = {.dsn = f.dsn, .side = "source", .job = "shop", .replication = true};
        Pg *pg = pg_open(&to, 5000, &e);
        assert_non_null(pg);
        assert_int_equal(pg->backend_pid, 42);
        pg_close(pg);
        fake_stop(&f);
        assert_int_equal(f.count, 1);
        assert_null(strchr(f.statements[0], ';'));
        assert_non_null(strstr(f.statements[0], "('row_security', 'off', false)"));
        assert_non_null(strstr(f.statements[0], "('search_path', '', false)"));
        assert_non_null(strstr(f.statements[0], cases[n].last_known));
        assert_null(strstr(f.statements[0], cases[n].first_unknown));
        assert_non_null(strstr(f.startup, "application_name=walferry_shop\n"));
        assert_non_null(strstr(f.startup, "client_encoding=UTF8\n"));
        assert_non_null(strstr(f.startup, "replication=database\n"));
        assert_null(strstr(f.startup, "options="));
        fake_free(&f);
    }
}

static void server_that_cannot_watch_clients_is_served(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "client_connection_check_interval",
                         .sqlstate = "22023",
                         .message = "must be 0 on this platform"},
                        {0}};
    FakeServer f = {.rules = rules};
    Error e;
    fake_start(&f);
    Pg *pg = open_at(&f, &e);
    assert_non_null(pg);
    pg_close(pg);
    fake_stop(&f);
    assert_int_equal(f.count, 2);
    assert_null(strstr(f.statements[1], "client_connection_check_interval"));
    fake_free(&f);
}

static void options_run_after_the_settings(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "SET x = 2", .sqlstate = "42704", .message = "no parameter \"x\""}, {0}};
    FakeServer f = {.rules = rules};
    Error e;
    fake_start(&f);
    PgAddress to = {.dsn = f.dsn, .side = "source", .options = "SET x = 1"};
    Pg *pg = pg_open(&to, 5000, &e);
    assert_non_null(pg);
    pg_close(pg);
    to.options = "SET x = 2";
    assert_null(pg_open(&to, 5000, &e));
    fake_stop(&f);
    assert_string_equal(f.statements[1], "SET x = 1");
    assert_string_equal(e.text, "source: no parameter \"x\"");
    fake_free(&f);
}

/* ---- statements ---- */

static void statement_errors_are_classified_by_when(void **state) {
    (void)state;
    FakeRule rules[] = {
        {.contains = "INSERT", .sqlstate = "42703", .message = "no column \"a\"\nsecond line"}, {0}};
    FakeServer f = {.rules = rules};
    Error e;
    fake_start(&f);
    Pg *pg = open_at(&f, &e);
    assert_non_null(pg);
    assert_false(pg_run(pg, "INSERT", &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    pg->when = RETRY_APPLYING;
    assert_null(pg_query(pg, "INSERT", 0, NULL, &e));
    assert_int_equal(e.kind, ERR_DATA);
    assert_string_equal(e.text, "source: no column \"a\"");
    assert_string_equal(e.sqlstate, "42703");
    assert_string_equal(e.hint, "mend it");
    assert_false(e.connection);
    assert_true(pg_run(pg, "SELECT", &e));
    pg_close(pg);
    fake_stop(&f);
    fake_free(&f);
}

/* F92: the connection is up and says nothing. */
static void silence_of_an_expected_answer_is_a_lost_connection(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "SELECT 7", .silent = true}, {0}};
    static atomic_bool given_up;
    for (int way = 0; way < 2; way++) {
        FakeServer f = {.rules = rules};
        char dsn[200];
        Error e;
        fake_start(&f);
        snprintf(dsn, sizeof dsn, "%s%s", f.dsn, way == 0 ? " tcp_user_timeout=200" : "");
        const PgAddress to = {.dsn = dsn, .side = "source"};
        Pg *pg = pg_open(&to, 5000, &e);
        assert_non_null(pg);
        atomic_store(&given_up, false);
        pg_give_up_when(pg, &given_up);
        assert_true(pg_run(pg, "SELECT 1", &e));
        atomic_store(&given_up, way == 1);
        int64_t began_ms = clock_ms();
        assert_null(pg_query(pg, "SELECT 7", 0, NULL, &e));
        assert_in_range(clock_ms() - began_ms, way == 0 ? 200 : 0, 5000);
        assert_int_equal(e.kind, ERR_RETRY);
        assert_true(e.connection);
        assert_non_null(strstr(e.text, "no answer in time"));
        assert_int_equal(PQstatus(pg->conn), CONNECTION_BAD);
        pg_close(pg);
        fake_stop(&f);
        fake_free(&f);
    }
}

static void broken_connection_is_retried(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "SELECT 1",
                         .sqlstate = "57P01",
                         .message = "terminating connection",
                         .severity = "FATAL"},
                        {0}};
    FakeServer f = {.rules = rules};
    Error e;
    fake_start(&f);
    Pg *pg = open_at(&f, &e);
    assert_non_null(pg);
    pg->when = RETRY_APPLYING;
    for (int n = 0; n < 2; n++) {
        assert_false(pg_run(pg, "SELECT 1", &e));
        assert_int_equal(e.kind, ERR_RETRY);
        assert_true(e.connection);
        assert_string_equal(e.text, n == 0 ? "source: terminating connection"
                                           : "source: no connection to the server");
    }
    pg_close(pg);
    fake_stop(&f);
    fake_free(&f);
}

static void one_value_is_one_value(void **state) {
    (void)state;
    FakeRule rules[] = {{.contains = "one", .rows = "16/B374D848"},
                        {.contains = "null", .rows = "~"},
                        {.contains = "wide", .rows = "1|2"},
                        {.contains = "long", .rows = "1\n2"},
                        {.contains = "cells", .rows = "t|f|-5|0/1F|~|"},
                        {0}};
    FakeServer f = {.rules = rules};
    char out[8];
    Error e;
    fake_start(&f);
    Pg *pg = open_at(&f, &e);
    assert_non_null(pg);
    assert_true(pg_value(pg, "one", 0, NULL, out, sizeof out, &e));
    assert_string_equal(out, "16/B374");
    assert_true(pg_value(pg, "null", 0, NULL, out, sizeof out, &e));
    assert_string_equal(out, "");
    assert_false(pg_value(pg, "wide", 0, NULL, out, sizeof out, &e));
    assert_int_equal(e.kind, ERR_PROTOCOL);
    assert_false(pg_value(pg, "long", 0, NULL, out, sizeof out, &e));
    PGresult *rows = pg_query(pg, "cells", 0, NULL, &e);
    assert_non_null(rows);
    assert_true(pg_cell_bool(rows, 0, 0) && !pg_cell_bool(rows, 0, 1));
    assert_int_equal(pg_cell_int(rows, 0, 2), -5);
    assert_int_equal(pg_cell_lsn(rows, 0, 3).at, 0x1f);
    assert_true(pg_cell_null(rows, 0, 4) && !pg_cell_null(rows, 0, 5));
    assert_string_equal(pg_cell(rows, 0, 4), "");
    assert_int_equal(pg_cell_int(rows, 0, 4), 0);
    assert_int_equal(pg_cell_lsn(rows, 0, 4).at, 0);
    assert_int_equal(pg_affected(rows), 1);
    PQclear(rows);
    pg_close(pg);
    fake_stop(&f);
    fake_free(&f);
}

static void names_and_literals_are_quoted(void **state) {
    (void)state;
    FakeServer f = {0};
    Error e;
    fake_start(&f);
    Pg *pg = open_at(&f, &e);
    assert_non_null(pg);
    Writer w = writer_new(1000);
    pg_write_table(&w, pg, "a\"b", "c d");
    pg_write_literal(&w, pg, "it's");
    pg_write_name(&w, pg, "\xff\"");
    pg_write_literal(&w, pg, "\xff'");
    assert_string_equal(writer_string(&w), "\"a\"\"b\".\"c d\"'it''s'\"\xff\"\"\"'\xff'''");
    writer_free(&w);
    pg_close(pg);
    fake_stop(&f);
    fake_free(&f);
}

/* Trap A17: a walk stays at the server that it found; options and secrets go with it. */
static void a_pinned_dsn_names_one_server(void **state) {
    (void)state;
    FakeServer f = {.version = "15.4"};
    char list[300];
    Error e;
    fake_start(&f);
    snprintf(list, sizeof list,
             "host=/nowhere,%s port=1,5432 user=u dbname=shop password='ge heim' "
             "target_session_attrs=any",
             f.dir);
    PgAddress to = {.dsn = list, .side = "source", .job = "shop"};
    Pg *pg = pg_open(&to, 5000, &e);
    assert_non_null(pg);
    char *pinned = pg_dsn_pin(list, pg);
    to.dsn = pinned;
    PQconninfoOption *options = PQconninfoParse(to.dsn, NULL);
    assert_string_equal(parsed(options, "host"), f.dir);
    assert_string_equal(parsed(options, "port"), "5432");
    assert_string_equal(parsed(options, "password"), "ge heim");
    assert_string_equal(parsed(options, "target_session_attrs"), "any");
    PQconninfoFree(options);
    pg_close(pg);
    pg = pg_open(&to, 5000, &e);
    assert_non_null(pg);
    pg_close(pg);
    pg_forget(pinned);
    fake_stop(&f);
    fake_free(&f);
}

/* ---- memory ---- */

/* The sanitizers have allocators of their own, which no limit of the kernel stops. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { REFUSED = 9 };
static void *volatile kept;

static void memory_told(size_t size) {
    (void)size;
    _exit(REFUSED);
}

/* The end of a process that has this much memory left to open a connection with. */
static int opened_with(size_t left_bytes) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0};
        PgAddress nowhere = {.dsn = "host=127.0.0.1 port=1", .side = "source"};
        Error e;
        memory_when_refused(memory_told);
        void *volatile left = malloc(left_bytes);
        setrlimit(RLIMIT_AS, &none);
        for (size_t size = (size_t)1 << 20; size >= 16; size /= 2)
            while ((kept = malloc(size)) != NULL)
                ;
        free(left);
        pg_close(pg_open(&nowhere, 1000, &e));
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* F06. libpq gives NULL for a connection that it has no memory for, and a sentence later on. */
static void too_little_memory_for_a_connection_is_told(void **state) {
    (void)state;
    int refused = 0, failed = 0;
    for (size_t left_bytes = 64; left_bytes <= 100000; left_bytes += left_bytes / 32 + 16) {
        int end = opened_with(left_bytes);
        if (end != REFUSED && end != 0)
            fail_msg("ended with %d under %zu bytes", end, left_bytes);
        refused += end == REFUSED;
        failed += end == 0;
    }
    assert_true(refused > 0 && failed > 0);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_row_of_a_name_is_found),
        cmocka_unit_test(dsn_forms_are_understood),
        cmocka_unit_test(no_piece_of_a_broken_dsn_is_shown),
        cmocka_unit_test(mistyped_keyword_gets_a_hint),
        cmocka_unit_test(description_has_no_secret),
        cmocka_unit_test(database_is_found),
        cmocka_unit_test(split_keeps_everything_but_the_secrets),
        cmocka_unit_test(a_pinned_dsn_names_one_server),
        cmocka_unit_test(login_errors_are_classified),
        cmocka_unit_test(unreachable_server_is_tried_again),
        cmocka_unit_test(wrong_options_are_not_tried_again),
        cmocka_unit_test(mute_server_costs_no_more_than_the_timeout),
        cmocka_unit_test(open_wait_outlasts_a_start),
        cmocka_unit_test(open_wait_gives_up),
        cmocka_unit_test(trap_C5_settings_fit_the_version),
        cmocka_unit_test(server_that_cannot_watch_clients_is_served),
        cmocka_unit_test(options_run_after_the_settings),
        cmocka_unit_test(statement_errors_are_classified_by_when),
        cmocka_unit_test(silence_of_an_expected_answer_is_a_lost_connection),
        cmocka_unit_test(broken_connection_is_retried),
        cmocka_unit_test(one_value_is_one_value),
        cmocka_unit_test(names_and_literals_are_quoted),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(too_little_memory_for_a_connection_is_told),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
