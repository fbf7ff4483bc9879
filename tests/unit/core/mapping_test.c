#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_value.h"
#include "core/mapping.h"

#include <cmocka.h> /* last: it makes a macro of "fail" */

/* 63 bytes, the most that a server keeps. */
#define LONG_NAME "a2345678901234567890123456789012345678901234567890123456789012b"

static Config *job(const ConfigSetting *settings, size_t count, Error *e) {
    ConfigSetting all[20] = {{"source.dsn", "dbname=a"}, {"target.dsn", "dbname=b"}};
    memcpy(all + 2, settings, count * sizeof *settings);
    return config_load(NULL, all, count + 2, e);
}

typedef struct Fixture {
    Config *cfg;
    Mapping *m;
    Arena *arena;
} Fixture;

static Fixture begin(const ConfigSetting *settings, size_t count) {
    Error e;
    Config *cfg = job(settings, count, &e);
    if (cfg == NULL)
        fail_msg("%s", e.text);
    return (Fixture){cfg, mapping_new(cfg), arena_new()};
}

static void end(Fixture *f) {
    mapping_free(f->m);
    config_free(f->cfg);
    arena_free(f->arena);
}

static void names_are_read_with_quotes_where_a_dot_needs_them(void **state) {
    (void)state;
    static const struct {
        const char *text, *schema, *table, *rest; /* schema NULL: no name */
    } CASES[] = {
        {"a.b", "a", "b", NULL},
        {"\"a.b\".c", "a.b", "c", NULL},
        {"a.\"b.c\"", "a", "b.c", NULL},
        {"\"a\"\"b\".\"c\"\"\"", "a\"b", "c\"", NULL},
        {"\"\"\"\".x", "\"", "x", NULL},
        {"a\"b.c\"", "a\"b", "c\"", NULL}, /* a quote that does not begin a part is a letter */
        {" a .b ", " a ", "b ", NULL},
        {LONG_NAME "." LONG_NAME, LONG_NAME, LONG_NAME, NULL},
        {"a.b.c", "a", "b", "c"},
        {"a.\"b.c\".d.e", "a", "b.c", "d.e"},
        {LONG_NAME "x.b", NULL, NULL, NULL},
        {"a", NULL, NULL, NULL},
        {"a.", NULL, NULL, NULL},
        {".a", NULL, NULL, NULL},
        {"", NULL, NULL, NULL},
        {"a..b", NULL, NULL, NULL},
        {"\"a.b", NULL, NULL, NULL},
        {"\"a\"b.c", NULL, NULL, NULL},
        {"a.\"b\"\"", NULL, NULL, NULL},
        {"\"\".b", NULL, NULL, NULL},
        {"a\n.b", NULL, NULL, NULL},
    };
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        ConfigName name;
        const char *rest = NULL;
        bool whole = CASES[n].rest == NULL;
        bool read = config_table_read(CASES[n].text, &name, whole ? NULL : &rest);
        if (read != (CASES[n].schema != NULL))
            fail_msg("%s", CASES[n].text);
        if (!read)
            continue;
        assert_string_equal(name.schema, CASES[n].schema);
        assert_string_equal(name.table, CASES[n].table);
        if (!whole)
            assert_string_equal(rest, CASES[n].rest);
        assert_true(whole || !config_table_read(CASES[n].text, &name, NULL));
    }
}

static void patterns_choose(void **state) {
    (void)state;
    static const struct {
        const char *include, *exclude, *schema, *name;
        Taken taken;
    } CASES[] = {
        {NULL, NULL, "any", "thing", TAKEN_YES},
        {"s.t", NULL, "s", "t", TAKEN_YES},
        {"s.t", NULL, "s", "T", TAKEN_NO},
        {"s.t", NULL, "S", "t", TAKEN_NO},
        {"s.t", NULL, "s", "t2", TAKEN_NO},
        {"s.t", NULL, "s", "", TAKEN_NO},
        {"s.*", NULL, "s", "t", TAKEN_YES},
        {"s.*", NULL, "s", "a.b", TAKEN_YES},
        {"s.*", NULL, "s2", "t", TAKEN_NO},
        {"*.t", NULL, "whatever", "t", TAKEN_YES},
        {"*.*", NULL, "a", "b", TAKEN_YES},
        {"s.a*b", NULL, "s", "ab", TAKEN_YES},
        {"s.a*b", NULL, "s", "a.x.b", TAKEN_YES},
        {"s.a*b", NULL, "s", "abc", TAKEN_NO},
        {"s.a*b", NULL, "s", "aabbab", TAKEN_YES},
        {"s.a*b*c", NULL, "s", "abbcabc", TAKEN_YES},
        {"s.a*b*c", NULL, "s", "acb", TAKEN_NO},
        {"s.**x", NULL, "s", "x", TAKEN_YES},
        {"s.t**", NULL, "s", "t", TAKEN_YES},
        {"s.?", NULL, "s", "t", TAKEN_NO}, /* only "*" is special */
        {"s.t_", NULL, "s", "tx", TAKEN_NO},
        {"s.%", NULL, "s", "%", TAKEN_YES},
        {"\"a.b\".t", NULL, "a.b", "t", TAKEN_YES},
        {"\"a.*\".t", NULL, "a.b", "t", TAKEN_YES},
        {"a.\"b.c\"", NULL, "a", "b.c", TAKEN_YES},
        {"a.b*", NULL, "a", "b.c", TAKEN_YES},
        {"*\xC3\xA4.t", NULL, "\xC3\xA4", "t", TAKEN_YES},
        {"s." LONG_NAME, NULL, "s", LONG_NAME, TAKEN_YES},
        {"s.a2*2b", NULL, "s", LONG_NAME, TAKEN_YES},
        {"a.t,b.t", NULL, "b", "t", TAKEN_YES},
        {"!s.tmp_*", NULL, "s", "tmp_1", TAKEN_EXCLUDED},
        {"!s.tmp_*", NULL, "s", "t", TAKEN_YES}, /* only what is excluded was said */
        {"s.*,!s.tmp_*", NULL, "s", "tmp_1", TAKEN_EXCLUDED},
        {"!s.tmp_*,s.*", NULL, "s", "tmp_1", TAKEN_EXCLUDED}, /* the order does not count */
        {"s.*,!s.tmp_*", NULL, "s", "t", TAKEN_YES},
        {"s.*,!s.tmp_*", NULL, "x", "t", TAKEN_NO},
        {"s.t", "s.*", "s", "t", TAKEN_EXCLUDED},
        {NULL, "s.*", "s", "t", TAKEN_EXCLUDED},
        {NULL, "s.*", "t", "t", TAKEN_YES},
        {"a.*", "s.*", "s", "t", TAKEN_EXCLUDED},
    };
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        ConfigSetting settings[2];
        size_t count = 0;
        if (CASES[n].include != NULL)
            settings[count++] = (ConfigSetting){"objects.include", CASES[n].include};
        if (CASES[n].exclude != NULL)
            settings[count++] = (ConfigSetting){"objects.exclude", CASES[n].exclude};
        Fixture f = begin(settings, count);
        if (mapping_takes(f.m, CASES[n].schema, CASES[n].name) != CASES[n].taken)
            fail_msg("case %zu: %s", n, CASES[n].include);
        bool includes = CASES[n].include != NULL && strcmp(CASES[n].include, "!s.tmp_*") != 0;
        assert_int_equal(mapping_chooses(f.m), includes);
        assert_false(mapping_renames(f.m));
        end(&f);
    }
}

/* Every name over a small alphabet against every pattern, by the definition. */
static bool matches_plainly(const char *pattern, const char *name) {
    if (*pattern == '\0')
        return *name == '\0';
    if (*pattern == '*')
        return matches_plainly(pattern + 1, name) || (*name != '\0' && matches_plainly(pattern, name + 1));
    return *pattern == *name && matches_plainly(pattern + 1, name + 1);
}

static void word_of(int number, const char *letters, int base, int length, char *out) {
    for (int at = 0; at < length; at++, number /= base)
        out[at] = letters[number % base];
    out[length] = '\0';
}

static void every_short_pattern_matches_as_defined(void **state) {
    (void)state;
    for (int pattern_number = 0; pattern_number < 3 * 3 * 3 * 3; pattern_number++) {
        char pattern[12] = "s.", name[8];
        word_of(pattern_number, "ab*", 3, 4, pattern + 2);
        Fixture f = begin(&(ConfigSetting){"objects.include", pattern}, 1);
        for (int length = 1; length <= 6; length++)
            for (int number = 0; number < 1 << length; number++) {
                word_of(number, "ab", 2, length, name);
                Taken expected = matches_plainly(pattern + 2, name) ? TAKEN_YES : TAKEN_NO;
                if (mapping_takes(f.m, "s", name) != expected)
                    fail_msg("%s against %s", pattern, name);
            }
        end(&f);
    }
}

static void check_relation(const Fixture *f, const char *schema, const char *name, const char *to_schema,
                           const char *to) {
    MappedName mapped = mapping_relation(f->m, f->arena, schema, name);
    assert_string_equal(mapped.schema, to_schema);
    assert_string_equal(mapped.name, to);
    assert_int_equal(strcmp(schema, to_schema) == 0, mapped.schema == schema);
    assert_int_equal(strcmp(name, to) == 0, mapped.name == name);
}

static void names_are_mapped(void **state) {
    (void)state;
    const ConfigSetting settings[] = {{"objects.rename.schemas.sales", "shop.sales"},
                                      {"objects.rename.schemas.a.b", "ab"},
                                      {"objects.rename.tables.sales.customer", "crm.client"},
                                      {"objects.rename.tables.\"a.b\".c", "\"c.d\".\"e\"\"f\""},
                                      {"objects.rename.tables.s." LONG_NAME, "s.x"},
                                      {"objects.rename.columns.sales.customer.nm", "name"},
                                      {"objects.rename.columns.sales.customer.x.y", "x y"},
                                      {"objects.rename.columns.sales.orders.nm", "nm"}};
    Fixture f = begin(settings, 8);
    assert_true(mapping_renames(f.m));
    assert_false(mapping_chooses(f.m));
    assert_string_equal(mapping_schema(f.m, f.arena, "sales"), "shop.sales");
    assert_string_equal(mapping_schema(f.m, f.arena, "a.b"), "ab");
    const char *other = "Sales";
    assert_ptr_equal(mapping_schema(f.m, f.arena, other), other);
    check_relation(&f, "sales", "orders", "shop.sales", "orders");
    check_relation(&f, "sales", "customer", "crm", "client");
    check_relation(&f, "a.b", "c", "c.d", "e\"f");
    check_relation(&f, "a.b", "d", "ab", "d");
    check_relation(&f, "s", LONG_NAME, "s", "x");
    check_relation(&f, "public", "Orders", "public", "Orders");
    assert_string_equal(mapping_column(f.m, f.arena, "sales", "customer", "nm"), "name");
    assert_string_equal(mapping_column(f.m, f.arena, "sales", "customer", "x.y"), "x y");
    assert_string_equal(mapping_column(f.m, f.arena, "sales", "orders", "nm"), "nm");
    const char *column = "NM";
    assert_ptr_equal(mapping_column(f.m, f.arena, "sales", "customer", column), column);
    end(&f);
}

static void letter_case_touches_only_what_has_no_name_of_its_own(void **state) {
    (void)state;
    const ConfigSetting settings[] = {{"objects.case", "lower"},
                                      {"objects.rename.schemas.Sales", "SHOP"},
                                      {"objects.rename.tables.Sales.Customer", "CRM.Client"},
                                      {"objects.rename.columns.Sales.Customer.Nm", "Name"}};
    Fixture f = begin(settings, 4);
    assert_true(mapping_renames(f.m));
    check_relation(&f, "Sales", "Customer", "CRM", "Client");
    check_relation(&f, "Sales", "Orders", "SHOP", "orders");
    check_relation(&f, "SALES", "Customer", "sales", "customer");
    check_relation(&f, "public", "plain", "public", "plain");
    assert_string_equal(mapping_column(f.m, f.arena, "Sales", "Customer", "Nm"), "Name");
    assert_string_equal(mapping_column(f.m, f.arena, "Sales", "Customer", "NM"), "nm");
    /* Letters beyond A to Z stay, in every encoding. */
    assert_string_equal(mapping_column(f.m, f.arena, "s", "t", "A[\xC3\x84Z@`{"), "a[\xC3\x84z@`{");
    assert_string_equal(mapping_column(f.m, f.arena, "s", "t", "\xC4X"), "\xC4x");
    end(&f);
    f = begin(&(ConfigSetting){"objects.case", "upper"}, 1);
    check_relation(&f, "public", LONG_NAME, "PUBLIC",
                   "A2345678901234567890123456789012345678901234567890123456789012B");
    check_relation(&f, "az{`@[\xC3\xA4", "ALL", "AZ{`@[\xC3\xA4", "ALL");
    end(&f);
}

static void tables_have_their_filters_and_lists(void **state) {
    (void)state;
    const ConfigSetting settings[] = {{"objects.tables.s.t.where", "a > 1"},
                                      {"objects.tables.s.t.columns", "b,a"},
                                      {"objects.tables.s.u.columns", "c"},
                                      {"objects.tables.\"x.y\".z.where", "true"}};
    Fixture f = begin(settings, 4);
    assert_false(mapping_renames(f.m) || mapping_chooses(f.m));
    assert_string_equal(mapping_where(f.m, "s", "t"), "a > 1");
    assert_null(mapping_where(f.m, "s", "u"));
    assert_string_equal(mapping_where(f.m, "x.y", "z"), "true");
    assert_true(mapping_lists(f.m, "s", "t") && mapping_lists(f.m, "s", "u"));
    assert_false(mapping_lists(f.m, "s", "v") || mapping_lists(f.m, "x.y", "z"));
    assert_true(mapping_list_holds(f.m, "s", "t", "a") && mapping_list_holds(f.m, "s", "t", "b"));
    assert_false(mapping_list_holds(f.m, "s", "t", "c") || mapping_list_holds(f.m, "s", "u", "a"));
    end(&f);
}

static unsigned takes(const Fixture *f, bool by_pattern, const char *schema, const char *table) {
    return (unsigned)mapping_choice(f->m, CHOICE_TAKES, by_pattern, schema, table);
}

static void a_choice_is_made_by_name_or_by_the_longest_pattern(void **state) {
    (void)state;
    const ConfigSetting settings[] = {
        {"objects.tables.s.*.dml", "insert"},     {"objects.tables.s.tmp_*.dml", "insert,update"},
        {"objects.tables.*.t.dml", "delete"},     {"objects.tables.s.t.dml", "truncate"},
        {"objects.tables.s.*.conflicts", "skip"}, {"objects.tables.s.u.conflicts", "source-wins"},
        {"objects.dml", "insert,delete"},         {"conflicts", "source-wins"}};
    Fixture f = begin(settings, 8);
    assert_int_equal(takes(&f, true, "s", "x"), 1);
    assert_int_equal(takes(&f, true, "s", "tmp_1"), 3);
    assert_int_equal(takes(&f, true, "s", "t"), 1); /* as long as "*.t", and first */
    assert_int_equal(takes(&f, true, "q", "t"), 4);
    assert_int_equal(takes(&f, false, "s", "t"), 8);
    assert_int_equal(mapping_choice(f.m, CHOICE_TAKES, false, "s", "x"), -1);
    assert_int_equal(mapping_choice(f.m, CHOICE_TAKES, true, "q", "x"), -1);
    assert_int_equal(mapping_choice(f.m, CHOICE_CONFLICTS, true, "s", "u"), CONFLICTS_SKIP);
    assert_int_equal(mapping_choice(f.m, CHOICE_CONFLICTS, false, "s", "u"), CONFLICTS_SOURCE_WINS);
    assert_int_equal(mapping_choice_of_job(f.m).takes, 5);
    assert_int_equal(mapping_choice_of_job(f.m).conflicts, CONFLICTS_SOURCE_WINS);
    end(&f);
    f = begin(settings, 0);
    assert_int_equal(mapping_choice_of_job(f.m).takes, APPLY_ALL);
    assert_int_equal(mapping_choice_of_job(f.m).conflicts, CONFLICTS_STOP);
    end(&f);
}

static bool named_note(void *context, const NamedObject *named, Error *e) {
    Writer *w = context;
    (void)e;
    writer_format(w, "%s %s %s %s\n", named->option, named->schema, named->table == NULL ? "-" : named->table,
                  named->column == NULL ? "-" : named->column);
    return w->len < 200;
}

static void what_is_named_by_hand_is_told(void **state) {
    (void)state;
    const ConfigSetting settings[] = {
        {"objects.include", "s.t"},           {"objects.rename.schemas.s", "x"},
        {"objects.rename.tables.s.t", "x.y"}, {"objects.rename.columns.s.t.c", "d"},
        {"objects.tables.s.t.where", "true"}, {"objects.tables.s.t.columns", "c"}};
    Fixture f = begin(settings, 6);
    Writer w = writer_new(4096);
    Error e;
    assert_true(mapping_visit(f.m, named_note, &w, &e));
    assert_string_equal(writer_string(&w), "objects.rename.schemas s - -\nobjects.rename.tables s t -\n"
                                           "objects.rename.columns s t c\nobjects.tables s t -\n"
                                           "objects.tables s t c\n");
    w.len = 200;
    assert_false(mapping_visit(f.m, named_note, &w, &e));
    writer_free(&w);
    end(&f);
}

static void print_of(const ConfigSetting *settings, size_t count, char out[MAPPING_PRINT_SIZE]) {
    Fixture f = begin(settings, count);
    mapping_print(f.m, out);
    end(&f);
}

static void what_is_said_of_names_has_a_print(void **state) {
    (void)state;
    const ConfigSetting base[] = {{"objects.rename.tables.s.t", "x.y"},
                                  {"objects.tables.s.t.where", "a"},
                                  {"objects.tables.s.t.columns", "b,c"},
                                  {"objects.rename.schemas.s", "z"}};
    const ConfigSetting turned[] = {base[3], base[2], base[1], base[0], {"objects.exclude", "q.*"}};
    const ConfigSetting others[][2] = {{{"objects.rename.tables.s.t", "x.z"}, {"objects.case", "keep"}},
                                       {{"objects.tables.s.t.where", "aa"}, {"objects.case", "keep"}},
                                       {{"objects.tables.s.t.columns", "b"}, {"objects.case", "keep"}},
                                       {{"objects.case", "upper"}, {"objects.case", "upper"}}};
    char first[MAPPING_PRINT_SIZE], again[MAPPING_PRINT_SIZE];
    print_of(base, 4, first);
    assert_int_equal(strlen(first), 16);
    print_of(turned, 5, again);
    assert_string_equal(first, again);
    for (size_t n = 0; n < 4; n++) {
        const ConfigSetting changed[] = {base[0], base[1], base[2], base[3], others[n][0], others[n][1]};
        print_of(changed, 6, again);
        assert_string_not_equal(first, again);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_with_quotes_where_a_dot_needs_them),
        cmocka_unit_test(patterns_choose),
        cmocka_unit_test(every_short_pattern_matches_as_defined),
        cmocka_unit_test(names_are_mapped),
        cmocka_unit_test(letter_case_touches_only_what_has_no_name_of_its_own),
        cmocka_unit_test(tables_have_their_filters_and_lists),
        cmocka_unit_test(a_choice_is_made_by_name_or_by_the_longest_pattern),
        cmocka_unit_test(what_is_named_by_hand_is_told),
        cmocka_unit_test(what_is_said_of_names_has_a_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
