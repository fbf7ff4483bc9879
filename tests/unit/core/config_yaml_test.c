#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/config_yaml.h"

#include <cmocka.h> /* last: its fail() would break the prototype of ours */

/* "key=value@line" for each entry, with ~, [] and {} for what is no value; the error's text when there is
 * one. */
static const char *flat(Slice text, Writer *out) {
    static const char *const MARKS[] = {"", "~", "[]", "{}"};
    Arena *arena = arena_new();
    ConfigEntries entries;
    Error e = {0};
    writer_reset(out);
    if (config_yaml_parse(arena, "job.yaml", text, &entries, &e)) {
        for (size_t n = 0; n < entries.count; n++) {
            const ConfigEntry *entry = &entries.items[n];
            writer_format(out, "%s%s=%s%s@%d", n > 0 ? " " : "", entry->key, entry->value,
                          MARKS[entry->shape], entry->line);
        }
    } else {
        assert_int_equal(e.kind, ERR_CONFIG);
        writer_text(out, e.text);
    }
    config_entries_free(&entries);
    arena_free(arena);
    return writer_string(out);
}

static void check_all(const char *const (*cases)[2], size_t count) {
    Writer out = writer_new(100000);
    for (size_t n = 0; n < count; n++)
        assert_string_equal(flat(slice_text(cases[n][0]), &out), cases[n][1]);
    writer_free(&out);
}

static void a_file_becomes_dotted_keys_with_lines(void **state) {
    static const char *const CASES[][2] = {
        {"name: shop\nsource:\n  dsn: \"a b\"\n  heartbeat: 1s # default\n",
         "name=shop@1 source.dsn=a b@3 source.heartbeat=1s@4"},
        {"phases: [schema,\n  full]\n", "phases[]=schema@1 phases[]=full@2"},
        {"a:\n- b\n- c: 1\n  d: 2\n", "a[]=b@2 a[].c=1@3 a[].d=2@4"},
        {"a: {x.y: {nm: name}}", "a.x.y.nm=name@1"},
        {"a: []\nb: {}\nc:\nd: ~\ne: null\nf: \"\"\ng: 'null'\n",
         "a[]=[]@1 b={}@2 c=~@3 d=~@4 e=~@5 f=@6 g=null@7"},
        {"a: {b: 1}\nc: {b: 1}\n", "a.b=1@1 c.b=1@2"},
        {"a: [{b: 1}, {b: 2}]", "a[].b=1@1 a[].b=2@1"},
        {"a: |\n  one\n  two\n", "a=one\ntwo\n@1"},
        {"\xEF\xBB\xBFname: shop\r\nmemory: 1GiB\r\n", "name=shop@1 memory=1GiB@2"},
        {"---\nname: shop\n...\n", "name=shop@2"},
        {"{}", "={}@1"},
        {"a: &anchor b", "a=b@1"},
    };
    (void)state;
    check_all(CASES, sizeof CASES / sizeof *CASES);
}

static void what_is_no_job_file_is_refused_with_its_line(void **state) {
    static const char *const CASES[][2] = {
        {"", "job.yaml: the job file is empty"},
        {"# nothing\n\n", "job.yaml: the job file is empty"},
        {"shop", "job.yaml:1: the job file must consist of keys such as \"source:\""},
        {"\n- a\n", "job.yaml:2: the job file must consist of keys such as \"source:\""},
        {"a: 1\n---\nb: 2\n", "job.yaml:2: a second YAML document begins"},
        {"a: 1\nb: 2\na: 3\n", "job.yaml:3: the key \"a\" stands here a second time, first in line 1"},
        {"a:\n  b: 1\n  c: 2\n  \"b\": 3\n",
         "job.yaml:4: the key \"b\" stands here a second time, first in line 2"},
        {"a: &x 1\nb: *x\n", "job.yaml:2: a YAML alias is not allowed"},
        {"a: &x 1\n*x : 2\n", "job.yaml:2: a YAML alias is not allowed"},
        {"a: [sales.*,\n *b]\n", "job.yaml:2: a YAML alias is not allowed"},
        {"a: !b c\n", "job.yaml:1: a YAML tag is not allowed"},
        {"a: !!seq [c]\n", "job.yaml:1: a YAML tag is not allowed"},
        {"a: !!map {c: d}\n", "job.yaml:1: a YAML tag is not allowed"},
        {"[a]: 1\n", "job.yaml:1: a key must be a single word"},
        {"\"\": 1\n", "job.yaml:1: a key is empty"},
        {"\na: \"b\\0c\"\n", "job.yaml:2: a NUL character is not allowed"},
        {"\"a\\0\": c\n", "job.yaml:1: a NUL character is not allowed"},
        {"a: \xFF\n", "job.yaml: the job file is not UTF-8"},
    };
    (void)state;
    check_all(CASES, sizeof CASES / sizeof *CASES);
}

static void broken_yaml_is_named_with_its_line(void **state) {
    static const struct {
        const char *text, *begin;
    } CASES[] = {{"a: 1\nb: [1, 2\nc: 3\n", "job.yaml:3: not valid YAML: "},
                 {"a: 1\n b: 2\n", "job.yaml:2: not valid YAML: "},
                 {"a: \"b\n", "job.yaml:2: not valid YAML: "},
                 {"a: 1\nb: c\x01\n", "job.yaml:2: not valid YAML: "},
                 {"a: b: c\n", "job.yaml:1: not valid YAML: "},
                 {"a: 1\n\tb: 2\n", "job.yaml:2: not valid YAML: "}};
    Writer out = writer_new(100000);
    (void)state;
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        const char *text = flat(slice_text(CASES[n].text), &out);
        if (strncmp(text, CASES[n].begin, strlen(CASES[n].begin)) != 0)
            fail_msg("case %zu: %s", n, text);
    }
    writer_free(&out);
}

static void a_nul_byte_is_found_in_its_line(void **state) {
    Writer out = writer_new(1000);
    (void)state;
    assert_string_equal(flat((Slice){"a: 1\nb: \0\n", 10}, &out),
                        "job.yaml:2: a NUL character is not allowed");
    writer_free(&out);
}

static void depth_keys_and_size_have_limits(void **state) {
    Writer text = writer_new(2 * CONFIG_FILE_BYTES_MAX), out = writer_new(1000);
    (void)state;
    writer_text(&text, "a: ");
    for (int depth = 0; depth < CONFIG_DEPTH_MAX + 10; depth++)
        writer_text(&text, "[");
    assert_string_equal(flat(writer_slice(&text), &out), "job.yaml:1: nested deeper than 16 levels");

    writer_reset(&text);
    for (int part = 0; part < 12; part++)
        writer_format(&text, "%*s%0100d:\n", part, "", 1);
    assert_string_equal(flat(writer_slice(&text), &out), "job.yaml:10: the key is longer than 1000 bytes");

    writer_reset(&text);
    writer_text(&text, "a: [");
    for (int item = 0; item <= CONFIG_ENTRIES_MAX; item++)
        writer_text(&text, "1,");
    writer_text(&text, "]");
    assert_string_equal(flat(writer_slice(&text), &out), "job.yaml:1: more than 100000 values");

    writer_reset(&text);
    writer_text(&text, "#");
    while (text.len <= CONFIG_FILE_BYTES_MAX)
        writer_text(&text, "                                                               ");
    assert_string_equal(flat(writer_slice(&text), &out), "job.yaml: the job file is larger than 1MiB");
    writer_free(&text);
    writer_free(&out);
}

static void a_file_cut_anywhere_is_parsed_or_refused(void **state) {
    static const char TEXT[] =
        "name: shop\nsource: {dsn: \"postgresql://a@b/c\", heartbeat: 1s}\nphases:\n  - schema\n"
        "  - 'full'\nobjects: {tables: {s.t: {columns: [a, b]}}}\nx: |\n  y\n  z\n";
    Writer out = writer_new(10000);
    (void)state;
    for (size_t length = 0; length < sizeof TEXT; length++)
        assert_true(strlen(flat((Slice){TEXT, length}, &out)) > 0);
    writer_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_becomes_dotted_keys_with_lines),
        cmocka_unit_test(what_is_no_job_file_is_refused_with_its_line),
        cmocka_unit_test(broken_yaml_is_named_with_its_line),
        cmocka_unit_test(a_nul_byte_is_found_in_its_line),
        cmocka_unit_test(depth_keys_and_size_have_limits),
        cmocka_unit_test(a_file_cut_anywhere_is_parsed_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
