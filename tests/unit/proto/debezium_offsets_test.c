#include <stdlib.h>
#include <string.h>

#include "proto/debezium_offsets.h"
#include "testing.h"

#define KEY   "[\"debezium\",{\"server\":\"shop\"}]"
#define OTHER "[\"other\",{\"server\":\"crm\"}]"

static void array_write(Writer *w, bool first, const char *text) {
    static const char class[] = "\x72\x00\x02[B\xac\xf3\x17\xf8\x06\x08\x54\xe0\x02\x00\x00\x78\x70";
    writer_u8(w, 0x75);
    if (first)
        writer_bytes(w, (Slice){class, sizeof class - 1});
    else
        writer_bytes(w, (Slice){"\x71\x00\x7e\x00\x02", 5});
    writer_u32(w, (uint32_t)strlen(text));
    writer_text(w, text);
}

/* As java.io.ObjectOutputStream writes a HashMap of these. */
static void map_write(Writer *w, const char *const *texts, uint32_t entries) {
    static const char head[] =
        "\xac\xed\x00\x05\x73\x72\x00\x11java.util.HashMap\x05\x07\xda\xc1\xc3\x16\x60\xd1\x03\x00\x02"
        "F\x00\x0aloadFactorI\x00\x09threshold\x78\x70\x3f\x40\x00\x00\x00\x00\x00\x0c\x77\x08\x00\x00\x00"
        "\x10";
    writer_bytes(w, (Slice){head, sizeof head - 1});
    writer_u32(w, entries);
    for (uint32_t text = 0; text < entries * 2; text++)
        array_write(w, text == 0, texts[text]);
    writer_u8(w, 0x78);
}

/* Of what the bytes have, the offset of the connector with this prefix. */
static bool file_find(Slice bytes, const char *prefix, bool *found, DebeziumOffset *out, Error *e) {
    DebeziumOffsets *offsets = debezium_offsets_new(prefix);
    *found = false;
    bool ok =
        debezium_offsets_file(offsets, bytes, e) && debezium_offsets_choose(offsets, NULL, found, out, e);
    debezium_offsets_free(offsets);
    return ok;
}

static void the_connectors_offset_is_found(void **unused) {
    (void)unused;
    static const char offset_text[] =
        "{\"lsn_proc\":53195832,\"messageType\":\"INSERT\",\"lsn_commit\":53195829,"
        "\"lsn\":53195832,\"txId\":571,\"ts_usec\":1}";
    static const char *const texts[] = {OTHER, "{\"lsn\":5}", KEY, offset_text};
    Writer file = writer_new(1000);
    DebeziumOffset offset;
    bool found;
    Error e;
    map_write(&file, texts, 2);
    assert_true(file_find(writer_slice(&file), "shop", &found, &offset, &e));
    assert_true(found);
    assert_int_equal(offset.commit.at, 53195829);
    assert_false(offset.snapshot);
    assert_true(file_find(writer_slice(&file), "nobody", &found, &offset, &e));
    assert_false(found);
    writer_free(&file);
}

/* Every prefix, and every byte changed: an answer, and no read beyond the end (under ASan). */
static void what_is_damaged_is_refused(void **unused) {
    (void)unused;
    static const char *const texts[] = {OTHER, "{\"lsn\":5}", KEY, "{\"lsn\":7}"};
    Writer file = writer_new(1000);
    DebeziumOffset offset;
    bool found;
    Error e;
    map_write(&file, texts, 2);
    for (size_t length = 0; length + 1 < file.len; length++) {
        char *copy = malloc(length + 1);
        memcpy(copy, file.at, length);
        bool ok = file_find((Slice){copy, length}, "shop", &found, &offset, &e);
        assert_true(!ok || !found);
        if (!ok)
            assert_int_equal(e.kind, ERR_CONFIG);
        free(copy);
    }
    for (size_t at = 0; at < file.len; at++)
        for (int byte = 0; byte < 256; byte++) {
            char was = file.at[at];
            file.at[at] = (char)byte;
            file_find(writer_slice(&file), "shop", &found, &offset, &e);
            file.at[at] = was;
        }
    writer_free(&file);
}

static DebeziumOffset offset_of(const char *value) {
    DebeziumOffset offset = {0};
    bool found;
    Error e;
    DebeziumOffsets *offsets = debezium_offsets_new("shop");
    debezium_offsets_record(offsets, slice_text(KEY), slice_text(value));
    assert_true(debezium_offsets_choose(offsets, NULL, &found, &offset, &e));
    assert_true(found);
    debezium_offsets_free(offsets);
    return offset;
}

static void snapshots_are_told(void **unused) {
    (void)unused;
    assert_true(offset_of("{\"lsn\":7,\"snapshot\":\"INITIAL\",\"snapshot_completed\":false}").snapshot);
    assert_true(offset_of("{\"lsn\":7,\"snapshot\":true}").snapshot);
    assert_false(offset_of("{\"lsn\":7,\"snapshot\":\"INITIAL\",\"snapshot_completed\":true}").snapshot);
    assert_false(offset_of("{\"lsn\":7,\"snapshot\":\"false\"}").snapshot);
    assert_int_equal(offset_of("{\"lsn\":7,\"lsn_proc\":8}").commit.at, 8);
    assert_int_equal(offset_of("{\"lsn\":7,\"lsn_commit\":null}").commit.at, 7);
}

static void an_offset_without_a_position_is_refused(void **unused) {
    (void)unused;
    DebeziumOffset offset;
    bool found;
    Error e;
    static const char *const values[] = {"{}", "no json", "[]", "{\"lsn\":\"x\"}"};
    for (size_t value = 0; value < sizeof values / sizeof *values; value++) {
        DebeziumOffsets *offsets = debezium_offsets_new("shop");
        debezium_offsets_record(offsets, slice_text(KEY), slice_text("{\"lsn\":5}")); /* an older one */
        debezium_offsets_record(offsets, slice_text(KEY), slice_text(values[value]));
        assert_false(debezium_offsets_choose(offsets, NULL, &found, &offset, &e));
        assert_int_equal(e.kind, ERR_CONFIG);
        debezium_offsets_free(offsets);
    }
}

#define SECOND "[\"second\",{\"server\":\"shop\"}]"

static void of_a_topic_the_newest_record_of_one_connector_counts(void **unused) {
    (void)unused;
    DebeziumOffset offset;
    bool found;
    Error e;
    DebeziumOffsets *offsets = debezium_offsets_new("shop");
    assert_true(debezium_offsets_choose(offsets, NULL, &found, &offset, &e) && !found);
    debezium_offsets_record(offsets, slice_text(KEY), slice_text("{\"lsn\":5}"));
    debezium_offsets_record(offsets, slice_text(OTHER), slice_text("{\"lsn\":6}"));
    debezium_offsets_record(offsets, slice_text("no json"), slice_text("{\"lsn\":6}"));
    debezium_offsets_record(offsets, slice_text("{\"server\":\"shop\"}"), slice_text("{\"lsn\":6}"));
    debezium_offsets_record(offsets, slice_text(KEY), slice_text("{\"lsn\":7}"));
    assert_true(debezium_offsets_choose(offsets, NULL, &found, &offset, &e) && found);
    assert_int_equal(offset.commit.at, 7);
    debezium_offsets_record(offsets, slice_text(SECOND), slice_text("{\"lsn\":8}"));
    assert_false(debezium_offsets_choose(offsets, NULL, &found, &offset, &e));
    assert_non_null(strstr(e.text, "\"debezium\", \"second\""));
    assert_true(debezium_offsets_choose(offsets, "debezium", &found, &offset, &e) && found);
    assert_int_equal(offset.commit.at, 7);
    assert_true(debezium_offsets_choose(offsets, "third", &found, &offset, &e) && !found);
    debezium_offsets_record(offsets, slice_text(KEY), (Slice){NULL, 0});
    assert_true(debezium_offsets_choose(offsets, NULL, &found, &offset, &e) && found);
    assert_int_equal(offset.commit.at, 8);
    debezium_offsets_free(offsets);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_connectors_offset_is_found),
        cmocka_unit_test(what_is_damaged_is_refused),
        cmocka_unit_test(snapshots_are_told),
        cmocka_unit_test(an_offset_without_a_position_is_refused),
        cmocka_unit_test(of_a_topic_the_newest_record_of_one_connector_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
