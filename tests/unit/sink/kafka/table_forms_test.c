/* Forms that were forgotten say what they said before. */
#include "sink/kafka/table_forms.h"

#include <stdlib.h>

#include "proto/events.h"
#include "testing.h"

enum { TABLES = 3, ENVELOPES = 3, FORMATS = 3, NOTHING = 0, EVERYTHING = 1 << 30 };

static const ColumnMake COLUMNS[] = {{.name = "id", .oid = 23, .key = true},
                                     {.name = "price", .oid = 1700, .modifier = (10 << 16 | 2) + 4},
                                     {.name = "at", .oid = 1184, .not_null = true},
                                     {.name = "words", .oid = 25, .array = true},
                                     {.name = "note", .oid = 25, .default_expression = "'none'::text"}};
static const char *const ROWS[] = {"1|1.50|2026-01-01 00:00:00+00|{a,b}|x",
                                   "7|\\N|2026-01-02 00:00:00+00|?|?"};

typedef struct Fixture {
    Arena *arena;
    Format format;
    EventTable *tables[TABLES];
    TableForm forms[TABLES];
    TableForms *all;
    Records out;
    Error e;
} Fixture;

static uint32_t id_of(int table, bool key) {
    return 1000u + (uint32_t)table * 2u + key;
}

/* Each table has other columns, and ids of its own. */
static void fixture_begin(Fixture *f, Format format, size_t most_bytes) {
    *f = (Fixture){.arena = arena_new(), .format = format, .out = records_new(1 << 20)};
    f->format.origin = &ORIGIN;
    f->all = table_forms_new(&f->format, most_bytes);
    for (int table = 0; table < TABLES; table++) {
        f->tables[table] = table_make(f->arena, COLUMNS, (uint16_t)(3 + table));
        FormatTable *made = table_form_make(f->all, &f->forms[table], f->tables[table], &f->e);
        assert_non_null(made);
        format_table_ids(made, id_of(table, true), id_of(table, false));
    }
}

static void fixture_end(Fixture *f) {
    for (int table = 0; table < TABLES; table++)
        table_form_forget(f->all, &f->forms[table]);
    table_forms_free(f->all);
    records_free(&f->out);
    arena_free(f->arena);
}

static int held(const Fixture *f) {
    int count = 0;
    for (int table = 0; table < TABLES; table++)
        count += f->forms[table].arena != NULL;
    return count;
}

static void encode(Fixture *f, int table, const char *row) {
    const Event event = {
        .op = EVENT_CREATE, .place = &PLACE, .after = values_make(f->arena, f->tables[table], row)};
    assert_true(format_event(table_form_use(f->all, &f->forms[table]), &event, f->arena, &f->out, &f->e));
}

static void assert_same(const Fixture *f, Span span, const Fixture *other, Span others) {
    assert_true(slice_equal(records_view(&f->out, span), records_view(&other->out, others)));
}

static void same_records(Format format) {
    Fixture kept, forgotten;
    fixture_begin(&kept, format, EVERYTHING);
    fixture_begin(&forgotten, format, NOTHING);
    for (int step = 0; step < 4 * TABLES; step++) {
        int table = step * 2 % TABLES;
        const char *row = ROWS[step % 2];
        encode(&kept, table, row);
        encode(&forgotten, table, row);
        assert_int_equal(held(&kept), TABLES);
        assert_int_equal(held(&forgotten), 1);
        const Record *a = &kept.out.list[0], *b = &forgotten.out.list[0];
        assert_same(&kept, a->key, &forgotten, b->key);
        assert_same(&kept, a->value, &forgotten, b->value);
        assert_int_equal(a->header_count, b->header_count);
        for (int header = 0; header < a->header_count; header++)
            assert_same(&kept, a->headers[header].value, &forgotten, b->headers[header].value);
        const FormatTable *now = table_form_use(forgotten.all, &forgotten.forms[table]);
        assert_int_equal(format_key_id(now), id_of(table, true));
        assert_int_equal(format_value_id(now), id_of(table, false));
    }
    fixture_end(&kept);
    fixture_end(&forgotten);
}

static void a_form_that_is_made_again_says_the_same(void **unused) {
    (void)unused;
    for (int name = 0; name < FORMATS; name++)
        for (int envelope = 0; envelope < ENVELOPES; envelope++)
            same_records((Format){.name = (FormatName)name,
                                  .envelope = (FormatEnvelope)envelope,
                                  .schema = true,
                                  .tombstones = true});
}

static void what_was_used_longest_ago_goes_first(void **unused) {
    Fixture f;
    (void)unused;
    fixture_begin(&f, (Format){.name = FORMAT_AVRO}, EVERYTHING);
    size_t bytes = 0;
    for (int table = 0; table < TABLES; table++)
        bytes += arena_bytes(f.forms[table].arena);
    fixture_end(&f);
    fixture_begin(&f, (Format){.name = FORMAT_AVRO}, bytes);
    assert_int_equal(held(&f), TABLES);
    table_form_use(f.all, &f.forms[0]);
    TableForm another = {0};
    assert_non_null(table_form_make(f.all, &another, f.tables[0], &f.e));
    assert_non_null(f.forms[0].arena);
    assert_null(f.forms[1].arena);
    table_form_forget(f.all, &another);
    table_form_forget(f.all, &another);
    table_form_use(f.all, &f.forms[1]);
    assert_int_equal(held(&f), TABLES);
    fixture_end(&f);
}

static void columns_with_one_name_are_refused(void **unused) {
    static const ColumnMake columns[] = {{.name = "a-b", .oid = 23}, {.name = "a_b", .oid = 23}};
    Fixture f;
    (void)unused;
    fixture_begin(&f, (Format){.name = FORMAT_AVRO}, EVERYTHING);
    TableForm form = {0};
    assert_null(table_form_make(f.all, &form, table_make(f.arena, columns, 2), &f.e));
    assert_int_equal(f.e.kind, ERR_CONFIG);
    table_form_forget(f.all, &form);
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_form_that_is_made_again_says_the_same),
                                       cmocka_unit_test(what_was_used_longest_ago_goes_first),
                                       cmocka_unit_test(columns_with_one_name_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
