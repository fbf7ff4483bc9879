#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/dump_intern.h"
#include "testing.h"

/* A folder of programs that only say a version. */
typedef struct Machine {
    char root[64], path[256], versions[128];
} Machine;

static void shell(const char *command) {
    assert_int_equal(system(command), 0);
}

static int machine_make(void **state) {
    Machine *m = calloc(1, sizeof *m);
    snprintf(m->root, sizeof m->root, "/tmp/walferry-tool-XXXXXX");
    assert_non_null(mkdtemp(m->root));
    snprintf(m->path, sizeof m->path, "relative:%s/none:%s/bin", m->root, m->root);
    snprintf(m->versions, sizeof m->versions, "%s/versions", m->root);
    *state = m;
    return 0;
}

static int machine_drop(void **state) {
    Machine *m = *state;
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", m->root);
    shell(command);
    free(m);
    return 0;
}

static void program_add(const Machine *m, const char *folder, const char *name, const char *version) {
    char path[300], command[400];
    snprintf(command, sizeof command, "mkdir -p '%s/%s'", m->root, folder);
    shell(command);
    snprintf(path, sizeof path, "%s/%s/%s", m->root, folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version);
    fclose(file);
    assert_int_equal(chmod(path, 0700), 0);
}

static void pair_add(const Machine *m, const char *folder, const char *version) {
    program_add(m, folder, "pg_dump", version);
    program_add(m, folder, "pg_restore", version);
}

static bool choose_for(const Machine *m, int source_major, int target_major, DumpTool *out, Error *e) {
    return dump_choose_among(m->path, m->versions, (DumpWish){source_major, target_major}, out, e);
}

static bool choose(const Machine *m, int source_major, DumpTool *out, Error *e) {
    return choose_for(m, source_major, 18, out, e);
}

static void versions_are_read(void **unused) {
    (void)unused;
    assert_int_equal(dump_tool_version("pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), 15);
    assert_int_equal(dump_tool_version("pg_dump (PostgreSQL) 18beta1\n"), 18);
    assert_int_equal(dump_tool_version("pg_dump (PostgreSQL) devel\n"), 0);
    assert_int_equal(dump_tool_version("something else\n"), 0);
}

static void the_newest_is_chosen(void **state) {
    Machine *m = *state;
    DumpTool tool;
    Error e;
    char expected[200];
    pair_add(m, "bin", "15.3");
    pair_add(m, "versions/14/bin", "14.9");
    pair_add(m, "versions/17/bin", "17.1");
    pair_add(m, "versions/16/bin", "16.1");
    assert_true(choose(m, 15, &tool, &e));
    assert_int_equal(tool.version, 17);
    snprintf(expected, sizeof expected, "%s/versions/17/bin/pg_restore", m->root);
    assert_string_equal(tool.pg_restore, expected);
}

/* A target may not know what a newer pg_dump than itself writes. */
static void one_that_the_target_understands_comes_first(void **state) {
    static const struct {
        int source, target, chosen;
    } cases[] = {{14, 17, 16}, {15, 15, 15}, {15, 16, 16}, {16, 17, 16}, {14, 18, 18},
                 {14, 14, 15}, {17, 17, 18}, {16, 15, 16}, {18, 15, 18}, {12, 13, 15}};
    Machine *m = *state;
    DumpTool tool;
    Error e;
    pair_add(m, "bin", "18.1");
    pair_add(m, "versions/15/bin", "15.3");
    pair_add(m, "versions/16/bin", "16.1");
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        assert_true(choose_for(m, cases[at].source, cases[at].target, &tool, &e));
        assert_int_equal(tool.version, cases[at].chosen);
    }
    assert_false(choose_for(m, 19, 19, &tool, &e));
    assert_non_null(strstr(e.text, "version 18"));
}

static void too_old_ones_are_refused_with_the_package_to_install(void **state) {
    Machine *m = *state;
    DumpTool tool;
    Error e;
    pair_add(m, "bin", "15.3");
    assert_false(choose(m, 17, &tool, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "version 15"));
    assert_non_null(strstr(e.hint, "postgresql-client-17"));
}

static void none_at_all_is_refused(void **state) {
    Machine *m = *state;
    DumpTool tool;
    Error e;
    assert_false(choose(m, 16, &tool, &e));
    assert_non_null(strstr(e.text, "no pg_dump was found"));
    assert_non_null(strstr(e.hint, "postgresql-client-16"));
}

static void one_without_its_pg_restore_is_no_candidate(void **state) {
    Machine *m = *state;
    DumpTool tool;
    Error e;
    pair_add(m, "bin", "15.3");
    program_add(m, "versions/16/bin", "pg_dump", "16.1");
    pair_add(m, "versions/17/bin", "17.1");
    program_add(m, "versions/17/bin", "pg_restore", "16.1");
    assert_true(choose(m, 15, &tool, &e));
    assert_int_equal(tool.version, 15);
}

static void a_wrapper_is_passed_over(void **state) {
    Machine *m = *state;
    DumpTool tool;
    Error e;
    char command[400];
    program_add(m, "share", "pg_wrapper", "99.1");
    snprintf(command, sizeof command,
             "mkdir '%s/bin'; ln -s ../share/pg_wrapper '%s/bin/pg_dump'; ln -s pg_dump '%s/bin/pg_restore'",
             m->root, m->root, m->root);
    shell(command);
    pair_add(m, "versions/16/bin", "16.1");
    assert_true(choose(m, 15, &tool, &e));
    assert_int_equal(tool.version, 16);
}

static void a_named_one_must_exist_and_be_new_enough(void **state) {
    Machine *m = *state;
    DumpTool tool;
    Error e;
    Config cfg = {0};
    char program[200];
    snprintf(program, sizeof program, "%s/mine/pg_dump", m->root);
    cfg.schema.pg_dump = program;
    assert_false(dump_choose(&cfg, 150020, 180000, &tool, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "schema.pg_dump"));
    pair_add(m, "mine", "15.3");
    assert_true(dump_choose(&cfg, 150020, 180000, &tool, &e));
    assert_int_equal(tool.version, 15);
    assert_false(dump_choose(&cfg, 160001, 180000, &tool, &e));
    assert_non_null(strstr(e.text, "cannot read a server of version 16"));
}

#define ON_MACHINE(test) cmocka_unit_test_setup_teardown(test, machine_make, machine_drop)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_read),
        ON_MACHINE(the_newest_is_chosen),
        ON_MACHINE(one_that_the_target_understands_comes_first),
        ON_MACHINE(too_old_ones_are_refused_with_the_package_to_install),
        ON_MACHINE(none_at_all_is_refused),
        ON_MACHINE(one_without_its_pg_restore_is_no_candidate),
        ON_MACHINE(a_wrapper_is_passed_over),
        ON_MACHINE(a_named_one_must_exist_and_be_new_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
