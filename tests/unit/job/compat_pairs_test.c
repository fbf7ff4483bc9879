#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "job/compat_pairs.h"
#include "testing.h"

static const char *const PREFIXES[SIDES] = {"shop", "dbz"};

typedef struct Scene {
    CompatPairs *pairs;
    int64_t next[SIDES];
    char text[4000];
} Scene;

/* "ours/theirs: path;" by offsets; "-" where there is none. */
static void found(void *context, const CompatFinding *finding) {
    Scene *s = context;
    char *to = s->text + strlen(s->text);
    char at[SIDES][24];
    for (int side = 0; side < SIDES; side++)
        snprintf(at[side], sizeof at[side], "%" PRId64, finding->at[side].offset);
    snprintf(to, sizeof s->text - (size_t)(to - s->text), "%s/%s %s: %s;", at[OURS], at[THEIRS],
             finding->key == NULL ? "null" : finding->key, finding->path == NULL ? "alone" : finding->path);
}

static bool take(Scene *s, int side, const char *key, const char *value, Error *e) {
    CompareRecord record = {.headers = NULL};
    if (key != NULL)
        record.key = slice_text(key);
    if (value != NULL)
        record.value = slice_text(value);
    return compat_pairs_take(s->pairs, side, (CompatPlace){0, s->next[side]++}, &record, e);
}

static void put(Scene *s, int side, const char *key, const char *value) {
    Error e;
    assert_true(take(s, side, key, value, &e));
}

static void change(Scene *s, int side, const char *key, const char *op, int lsn, const char *row) {
    char value[300];
    snprintf(value, sizeof value, "{\"before\":null,\"after\":%s,\"source\":{\"lsn\":%d},\"op\":\"%s\"}", row,
             lsn, op);
    put(s, side, key, value);
}

/* What was found, at the end of all. */
static void assert_found(Scene *s, const char *expected, int64_t ours, int64_t theirs, int64_t differing) {
    Error e;
    assert_true(compat_pairs_end(s->pairs, OURS, &e));
    assert_true(compat_pairs_end(s->pairs, THEIRS, &e));
    const CompatCounts *counts = compat_pairs_counts(s->pairs);
    assert_string_equal(s->text, expected);
    assert_int_equal(counts->alone[OURS], ours);
    assert_int_equal(counts->alone[THEIRS], theirs);
    assert_int_equal(counts->differing, differing);
    assert_int_equal(counts->records[OURS] - ours, counts->pairs);
    assert_int_equal(counts->records[THEIRS] - theirs, counts->pairs);
    compat_pairs_free(s->pairs);
}

#define SCENE(name)                                                                                          \
    Scene name = {.next = {0, 0}};                                                                           \
    name.pairs = compat_pairs_new(PREFIXES, NULL, 1 << 20, found, &name)

static void each_key_has_its_own_order(void **unused) {
    (void)unused;
    SCENE(s);
    for (int lsn = 1; lsn <= 3000; lsn++) {
        char key[20];
        snprintf(key, sizeof key, "%d", lsn);
        change(&s, OURS, key, "c", lsn, "1");
    }
    change(&s, OURS, "1", "u", 4000, "2");
    put(&s, THEIRS, NULL, NULL); /* tells nothing */
    for (int lsn = 3000; lsn > 0; lsn--) {
        char key[20];
        snprintf(key, sizeof key, " %d", lsn);
        change(&s, THEIRS, key, "c", lsn, lsn == 7 ? "7" : "1");
    }
    change(&s, THEIRS, "1", "u", 4000, "2");
    assert_found(&s, "6/2994 7: value.after;", 0, 0, 1);
}

static void what_is_missing_leaves_the_rest_with_its_partners(void **unused) {
    (void)unused;
    SCENE(s);
    for (int lsn = 1; lsn <= 5; lsn++) {
        if (lsn != 2)
            change(&s, OURS, "1", "u", lsn, "1");
        if (lsn != 4)
            change(&s, THEIRS, "1", "u", lsn, "1");
    }
    change(&s, OURS, "1", "u", 5, "1"); /* twice */
    assert_found(&s, "-1/1 1: alone;2/-1 1: alone;4/-1 1: alone;", 2, 1, 0);
}

static void tombstones_are_records(void **unused) {
    (void)unused;
    SCENE(s);
    change(&s, OURS, "1", "d", 1, "null");
    put(&s, OURS, "1", NULL);
    change(&s, OURS, "1", "c", 2, "1");
    change(&s, THEIRS, "1", "d", 1, "null");
    change(&s, THEIRS, "1", "c", 2, "1");
    put(&s, THEIRS, "1", NULL);
    assert_found(&s, "1/-1 1: alone;-1/2 1: alone;", 1, 1, 0);
}

static void records_without_lsn_go_by_their_number(void **unused) {
    (void)unused;
    SCENE(s);
    put(&s, OURS, "1", "{\"a\":1}");
    put(&s, OURS, "1", "{\"a\":2}");
    put(&s, THEIRS, "1", "{\"a\":1}");
    put(&s, THEIRS, "1", "{\"a\":3}");
    put(&s, THEIRS, "1", "{\"a\":4}");
    assert_found(&s, "1/1 1: value.a;-1/2 1: alone;", 0, 1, 1);
}

static void without_keys_the_same_rows_belong_together(void **unused) {
    (void)unused;
    SCENE(s);
    change(&s, OURS, NULL, "c", 1, "\"a\"");
    change(&s, OURS, NULL, "c", 1, "\"b\"");
    change(&s, OURS, NULL, "c", 1, "\"c\"");
    change(&s, OURS, NULL, "c", 2, "\"d\"");
    change(&s, OURS, NULL, "r", 3, "\"e\"");
    change(&s, THEIRS, NULL, "r", 4, "\"e\"");
    change(&s, THEIRS, NULL, "c", 1, "\"b\"");
    change(&s, THEIRS, NULL, "c", 1, "\"x\"");
    change(&s, THEIRS, NULL, "c", 1, "\"a\"");
    assert_found(&s, "2/2 null: value.after;3/-1 null: alone;", 1, 0, 1);
}

static void nobody_waits_for_a_side_that_has_ended(void **unused) {
    (void)unused;
    SCENE(s);
    Error e;
    change(&s, OURS, "1", "c", 1, "1");
    change(&s, OURS, "2", "c", 2, "1");
    change(&s, THEIRS, "3", "c", 3, "1");
    assert_true(compat_pairs_end(s.pairs, OURS, &e));
    assert_string_equal(s.text, "-1/0 3: alone;");
    change(&s, THEIRS, "3", "c", 4, "1");
    assert_string_equal(s.text, "-1/0 3: alone;-1/1 3: alone;");
    change(&s, THEIRS, "2", "c", 2, "1");
    assert_found(&s, "-1/0 3: alone;-1/1 3: alone;0/-1 1: alone;", 1, 2, 0);
}

static void what_waits_is_bounded(void **unused) {
    (void)unused;
    Scene s = {.next = {0, 0}};
    s.pairs = compat_pairs_new(PREFIXES, NULL, 10000, found, &s);
    Error e = {0};
    int count = 0;
    char key[30];
    for (bool ok = true; ok && count < 1000; count++) {
        snprintf(key, sizeof key, "\"key %d\"", count);
        ok = take(&s, THEIRS, key, "{\"a\":1}", &e);
    }
    assert_in_range(count, 20, 200);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "wait for their partners, such as the one with key \"key "));
    compat_pairs_free(s.pairs);
    /* without a key, but of one LSN, they can be settled */
    s = (Scene){.next = {0, 0}};
    s.pairs = compat_pairs_new(PREFIXES, NULL, 10000, found, &s);
    for (int lsn = 1; lsn < 1000; lsn++) {
        change(&s, OURS, NULL, "c", lsn, "\"a\"");
        change(&s, THEIRS, NULL, "c", lsn, lsn < 990 ? "\"a\"" : "\"b\"");
    }
    for (int lsn = 1000; lsn < 1100; lsn++) {
        s.text[0] = '\0';
        change(&s, OURS, NULL, "c", lsn, "\"a\"");
        change(&s, THEIRS, NULL, "c", lsn, "\"b\"");
    }
    s.text[0] = '\0';
    assert_true(compat_pairs_end(s.pairs, OURS, &e) && compat_pairs_end(s.pairs, THEIRS, &e));
    assert_int_equal(compat_pairs_counts(s.pairs)->differing, 110);
    compat_pairs_free(s.pairs);
}

static json_t *decode_nothing(void *context, Slice bytes, Error *e) {
    (void)context;
    (void)bytes;
    fail(e, ERR_CONFIG, "no schema");
    return NULL;
}

static void a_record_that_cannot_be_read_is_named(void **unused) {
    (void)unused;
    Scene s = {.next = {41, 0}};
    static const CompareDecoder decoder = {NULL, decode_nothing};
    s.pairs = compat_pairs_new(PREFIXES, &decoder, 10000, found, &s);
    Error e = {0};
    assert_false(take(&s, OURS, "1", "\xc3\x01", &e));
    assert_string_equal(e.text, "partition 0, offset 41: the value: no schema");
    compat_pairs_free(s.pairs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_has_its_own_order),
        cmocka_unit_test(what_is_missing_leaves_the_rest_with_its_partners),
        cmocka_unit_test(tombstones_are_records),
        cmocka_unit_test(records_without_lsn_go_by_their_number),
        cmocka_unit_test(without_keys_the_same_rows_belong_together),
        cmocka_unit_test(nobody_waits_for_a_side_that_has_ended),
        cmocka_unit_test(what_waits_is_bounded),
        cmocka_unit_test(a_record_that_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
