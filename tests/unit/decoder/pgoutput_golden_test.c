#include <stdio.h>

#include "data/golden.h"
#include "data/listings.h"
#include "decoder/pgoutput.h"

#include "data/decoding.h"

static const char *const FILES[] = {"pgoutput_1_text.hex", "pgoutput_2_stream.hex",
                                    "pgoutput_3_two_phase.hex", "pgoutput_3_binary.hex"};
enum { FILE_COUNT = sizeof FILES / sizeof FILES[0], NAMES_MAX = 100, FIRST_USER_OID = 16384 };

/* What a listing remembers: the names of relations, and the stream it is in. */
typedef struct Listing {
    Writer text;
    struct {
        uint32_t oid;
        char name[200];
    } names[NAMES_MAX];
    size_t count;
    uint32_t stream_xid;
} Listing;

static const char *listing_name(const Listing *l, uint32_t oid) {
    for (size_t name = l->count; name-- > 0;)
        if (l->names[name].oid == oid)
            return l->names[name].name;
    return "unknown";
}

static void listing_bytes(Listing *l, const Value *value) {
    if (value->bytes.len > 1000)
        writer_format(&l->text, "[%zu]", value->bytes.len);
    else if (value->kind == VALUE_TEXT)
        writer_bytes(&l->text, value->bytes);
    else
        for (size_t byte = 0; byte < value->bytes.len; byte++)
            writer_format(&l->text, "%02x", (uint8_t)value->bytes.at[byte]);
}

static void listing_tuple(Listing *l, char kind, const Tuple *tuple) {
    static const char *const WITHOUT_BYTES[] = {[VALUE_NULL] = "null", [VALUE_UNCHANGED] = "~"};
    writer_format(&l->text, " %c(", kind);
    for (unsigned column = 0; column < tuple->count; column++) {
        const Value *value = &tuple->values[column];
        writer_text(&l->text, column == 0 ? "" : ",");
        if (value->kind == VALUE_TEXT || value->kind == VALUE_BINARY)
            listing_bytes(l, value);
        else
            writer_text(&l->text, WITHOUT_BYTES[value->kind]);
    }
    writer_text(&l->text, ")");
}

static void listing_row(Listing *l, const Message *m) {
    writer_format(&l->text, " %s", listing_name(l, m->row.oid));
    if (m->row.before_kind != 0)
        listing_tuple(l, m->row.before_kind, &m->row.before);
    if (m->kind != MESSAGE_DELETE)
        listing_tuple(l, 'N', &m->row.after);
}

static void listing_relation(Listing *l, const Message *m) {
    assert_true(l->count < NAMES_MAX);
    l->names[l->count].oid = m->relation.oid;
    snprintf(l->names[l->count++].name, sizeof l->names[0].name, "%s", m->relation.name.at);
    writer_format(&l->text, " %s.%s %c", m->relation.schema.at, m->relation.name.at, m->relation.identity);
    for (unsigned column = 0; column < m->relation.column_count; column++) {
        const Column *c = &m->relation.columns[column];
        writer_format(&l->text, " %s%s:", c->name, c->key ? "*" : "");
        writer_format(&l->text, c->type >= FIRST_USER_OID ? "user" : "%u", c->type);
        if (c->modifier != -1)
            writer_format(&l->text, "/%d", c->modifier);
    }
}

static void listing_truncate(Listing *l, const Message *m) {
    for (uint32_t relation = 0; relation < m->truncate.count; relation++)
        writer_format(&l->text, " %s", listing_name(l, m->truncate.oids[relation]));
    writer_text(&l->text, m->truncate.cascade ? " cascade" : "");
    writer_text(&l->text, m->truncate.restart_identity ? " restart" : "");
}

static void listing_logical(Listing *l, const Message *m) {
    writer_format(&l->text, " %s \"%s\" ", m->logical.transactional ? "tx" : "now", m->logical.prefix.at);
    Value content = {m->logical.content.len > 0 && m->logical.content.at[0] == 0 ? VALUE_BINARY : VALUE_TEXT,
                     m->logical.content};
    listing_bytes(l, &content);
}

/* One line for each message; transaction ids as their distance from the streamed transaction's. */
static void listing_add(Listing *l, const Message *m, bool in_stream) {
    if (m->kind == MESSAGE_STREAM_START)
        l->stream_xid = m->xid;
    writer_format(&l->text, "%c", (char)m->kind);
    if (in_stream && m->xid != 0)
        writer_format(&l->text, "+%u", m->xid - l->stream_xid);
    switch (m->kind) {
    case MESSAGE_INSERT:
    case MESSAGE_UPDATE:
    case MESSAGE_DELETE: listing_row(l, m); break;
    case MESSAGE_RELATION: listing_relation(l, m); break;
    case MESSAGE_TYPE: writer_format(&l->text, " %s.%s", m->type.schema.at, m->type.name.at); break;
    case MESSAGE_TRUNCATE: listing_truncate(l, m); break;
    case MESSAGE_LOGICAL: listing_logical(l, m); break;
    case MESSAGE_ORIGIN:
        writer_format(&l->text, " " LSN_FMT " %s", LSN_ARGS(m->origin.lsn), m->origin.name.at);
        break;
    case MESSAGE_STREAM_START: writer_text(&l->text, m->stream_start.first ? " first" : " again"); break;
    case MESSAGE_STREAM_ABORT: writer_format(&l->text, " +%u", m->stream_abort.subxid - m->xid); break;
    case MESSAGE_BEGIN_PREPARE:
    case MESSAGE_PREPARE:
    case MESSAGE_COMMIT_PREPARED:
    case MESSAGE_ROLLBACK_PREPARED:
    case MESSAGE_STREAM_PREPARE: writer_format(&l->text, " %s", m->commit.gid.at); break;
    default: break;
    }
    writer_text(&l->text, "\n");
}

static Listing listing_of(const char *file) {
    Golden *g = golden_load(file);
    Listing l = {.text = writer_new(1 << 20)};
    for (size_t frame = 0; frame < g->count; frame++) {
        DecodeOptions options = {.in_stream = g->frames[frame].in_stream};
        Message m = decode_ok(g->frames[frame].bytes, options, g->arena);
        listing_add(&l, &m, options.in_stream);
    }
    golden_free(g);
    return l;
}

static void text_capture_says_what_the_workload_did(void **state) {
    (void)state;
    Listing l = listing_of("pgoutput_1_text.hex");
    assert_string_equal(writer_string(&l.text), LISTING_TEXT);
    writer_free(&l.text);
}

static void assert_listed(const char *file, const char *expected) {
    Listing l = listing_of(file);
    if (strstr(writer_string(&l.text), expected) == NULL)
        assert_string_equal(writer_string(&l.text), expected);
    writer_free(&l.text);
}

static void streamed_capture_has_subtransactions_and_private_relations(void **state) {
    (void)state;
    assert_listed("pgoutput_2_stream.hex", LISTING_STREAMED);
}

static void interleaved_streams_come_in_the_order_of_their_blocks(void **state) {
    (void)state;
    assert_listed("pgoutput_2_stream.hex", LISTING_INTERLEAVED);
}

static void two_phase_capture_has_all_five_kinds(void **state) {
    (void)state;
    assert_listed("pgoutput_3_two_phase.hex", LISTING_PREPARED);
}

static void binary_capture_has_the_send_functions_bytes(void **state) {
    (void)state;
    assert_listed("pgoutput_3_binary.hex", LISTING_BINARY);
}

static void long_value_is_a_view_into_the_frame(void **state) {
    (void)state;
    Golden *g = golden_load("pgoutput_1_text.hex");
    for (size_t frame = 0; frame < g->count; frame++) {
        Slice bytes = g->frames[frame].bytes;
        if (bytes.len < 2560)
            continue;
        Message m = decode_ok(bytes, (DecodeOptions){0}, g->arena);
        Slice big = m.row.after.values[2].bytes;
        assert_ptr_equal(big.at, bytes.at + bytes.len - 2560);
        for (size_t byte = 0; byte < big.len; byte++)
            assert_int_equal(big.at[byte], "0123456789abcdef"[byte % 16]);
        golden_free(g);
        return;
    }
    fail_msg("no frame with a long value");
}

/* The transaction from another server has that server's commit time: 2021-01-01. */
static const int64_t ORIGIN_TIME_US = INT64_C(1609459200000000);

static void assert_time(const Golden *g, int64_t time_us) {
    assert_true(time_us >= g->from_us && time_us <= g->upto_us);
}

/* Against what the server reports beside the frame: the end of what it belongs to, and its transaction. */
static void assert_place(const Golden *g, const GoldenFrame *frame, const Message *m, const Message *begin) {
    switch (m->kind) {
    case MESSAGE_BEGIN:
        assert_int_equal(m->xid, frame->xid);
        if (m->begin.time_us != ORIGIN_TIME_US)
            assert_time(g, m->begin.time_us);
        break;
    case MESSAGE_ORIGIN: assert_int_equal(begin->begin.time_us, ORIGIN_TIME_US); break;
    case MESSAGE_COMMIT:
        assert_int_equal(m->commit.commit.at, begin->begin.final.at);
        assert_int_equal(m->commit.end.at, frame->lsn.at);
        assert_int_equal(m->commit.time_us, begin->begin.time_us);
        break;
    case MESSAGE_LOGICAL: assert_int_equal(m->logical.lsn.at, frame->lsn.at); break;
    case MESSAGE_STREAM_START: assert_int_equal(m->xid, frame->xid); break;
    case MESSAGE_STREAM_ABORT: assert_int_equal(m->stream_abort.subxid, frame->xid); break;
    case MESSAGE_STREAM_COMMIT:
    case MESSAGE_PREPARE:
    case MESSAGE_STREAM_PREPARE:
    case MESSAGE_COMMIT_PREPARED:
        assert_int_equal(m->xid, frame->xid);
        assert_int_equal(m->commit.end.at, frame->lsn.at);
        assert_true(lsn_before(m->commit.commit, m->commit.end));
        assert_time(g, m->commit.time_us);
        break;
    case MESSAGE_ROLLBACK_PREPARED:
        assert_int_equal(m->xid, frame->xid);
        assert_true(lsn_before(m->commit.prepare_end, m->commit.end));
        assert_time(g, m->commit.time_us);
        break;
    default: break;
    }
}

static void positions_transactions_and_times_are_the_servers(void **state) {
    (void)state;
    for (int file = 0; file < FILE_COUNT; file++) {
        Golden *g = golden_load(FILES[file]);
        Message begin = {0};
        for (size_t frame = 0; frame < g->count; frame++) {
            DecodeOptions options = {.in_stream = g->frames[frame].in_stream};
            Message m = decode_ok(g->frames[frame].bytes, options, g->arena);
            assert_place(g, &g->frames[frame], &m, &begin);
            if (m.kind == MESSAGE_BEGIN)
                begin = m;
        }
        golden_free(g);
    }
}

/* Adds up everything that a message points to, so that ASan sees each byte; views must lie in the frame. */
static unsigned touch(Slice frame, Slice view) {
    unsigned sum = 0;
    if (view.len > 0 && !slice_is(view, "pg_catalog"))
        assert_true(view.at >= frame.at && view.at + view.len <= frame.at + frame.len);
    for (size_t byte = 0; byte < view.len; byte++)
        sum += (uint8_t)view.at[byte];
    return sum;
}

static unsigned touch_tuple(Slice frame, const Tuple *tuple) {
    unsigned sum = 0;
    for (unsigned column = 0; column < tuple->count; column++)
        sum += touch(frame, tuple->values[column].bytes);
    return sum;
}

static unsigned touch_message(Slice frame, const Message *m) {
    unsigned sum = 0;
    switch (m->kind) {
    case MESSAGE_INSERT:
    case MESSAGE_UPDATE:
    case MESSAGE_DELETE: return touch_tuple(frame, &m->row.before) + touch_tuple(frame, &m->row.after);
    case MESSAGE_TYPE: return touch(frame, m->type.schema) + touch(frame, m->type.name);
    case MESSAGE_LOGICAL: return touch(frame, m->logical.prefix) + touch(frame, m->logical.content);
    case MESSAGE_ORIGIN: return touch(frame, m->origin.name);
    case MESSAGE_TRUNCATE:
        for (uint32_t relation = 0; relation < m->truncate.count; relation++)
            sum += m->truncate.oids[relation];
        return sum;
    case MESSAGE_RELATION:
        for (unsigned column = 0; column < m->relation.column_count; column++)
            sum += touch(frame, slice_text(m->relation.columns[column].name));
        return sum + touch(frame, m->relation.schema) + touch(frame, m->relation.name);
    case MESSAGE_BEGIN_PREPARE:
    case MESSAGE_PREPARE:
    case MESSAGE_COMMIT_PREPARED:
    case MESSAGE_ROLLBACK_PREPARED:
    case MESSAGE_STREAM_PREPARE: return touch(frame, m->commit.gid);
    default: return 0;
    }
}

static void visit_golden_frames(void (*visit)(const GoldenFrame *frame)) {
    for (int file = 0; file < FILE_COUNT; file++) {
        Golden *g = golden_load(FILES[file]);
        for (size_t frame = 0; frame < g->count; frame++)
            visit(&g->frames[frame]);
        golden_free(g);
    }
}

static void assert_cuts_refused(const GoldenFrame *frame) {
    for (size_t len = 0; len < frame->bytes.len; len++) {
        Arena *arena = arena_new();
        Slice cut = golden_copy(arena, (Slice){frame->bytes.at, len});
        assert_refused(cut, (DecodeOptions){.in_stream = frame->in_stream}, "");
        arena_free(arena);
    }
}

static void every_frame_cut_at_every_byte_is_refused(void **state) {
    (void)state;
    visit_golden_frames(assert_cuts_refused);
}

static void assert_longer_refused(const GoldenFrame *frame) {
    Arena *arena = arena_new();
    char *memory = golden_memory(arena, frame->bytes.len + 1);
    memcpy(memory, frame->bytes.at, frame->bytes.len);
    memory[frame->bytes.len] = 0;
    assert_refused((Slice){memory, frame->bytes.len + 1}, (DecodeOptions){.in_stream = frame->in_stream}, "");
    arena_free(arena);
}

static void every_frame_with_one_byte_more_is_refused(void **state) {
    (void)state;
    visit_golden_frames(assert_longer_refused);
}

static void decode_any(Slice frame, DecodeOptions options) {
    Arena *arena = arena_new();
    Message m;
    Error e = {0};
    if (pgoutput_decode(frame, options, arena, &m, &e))
        touch_message(frame, &m);
    else
        assert_int_equal(e.kind, ERR_PROTOCOL);
    arena_free(arena);
}

static void decode_flipped(const GoldenFrame *frame) {
    static const char FLIPS[] = {'\x01', '\x80', '\xff'};
    Arena *arena = arena_new();
    Slice copy = golden_copy(arena, frame->bytes);
    char *bytes = golden_memory(arena, copy.len);
    for (size_t byte = 0; byte < copy.len; byte++)
        for (size_t flip = 0; flip < sizeof FLIPS; flip++) {
            memcpy(bytes, copy.at, copy.len);
            bytes[byte] = (char)(bytes[byte] ^ FLIPS[flip]);
            decode_any((Slice){bytes, copy.len}, (DecodeOptions){.in_stream = frame->in_stream});
        }
    decode_any(copy, (DecodeOptions){.in_stream = !frame->in_stream});
    arena_free(arena);
}

static void every_byte_flipped_is_refused_or_a_message(void **state) {
    (void)state;
    visit_golden_frames(decode_flipped);
}

static void assert_peek(const GoldenFrame *frame) {
    Arena *arena = arena_new();
    DecodeOptions options = {.in_stream = frame->in_stream};
    Message m = decode_ok(frame->bytes, options, arena);
    MessageKind kind;
    uint32_t xid;
    Error e = {0};
    assert_true(pgoutput_peek(frame->bytes, frame->in_stream, &kind, &xid, &e));
    assert_int_equal(kind, m.kind);
    assert_int_equal(xid, frame->in_stream ? m.xid : 0);
    arena_free(arena);
}

static void peek_tells_kind_and_the_xid_in_a_stream(void **state) {
    (void)state;
    visit_golden_frames(assert_peek);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_capture_says_what_the_workload_did),
        cmocka_unit_test(streamed_capture_has_subtransactions_and_private_relations),
        cmocka_unit_test(interleaved_streams_come_in_the_order_of_their_blocks),
        cmocka_unit_test(two_phase_capture_has_all_five_kinds),
        cmocka_unit_test(binary_capture_has_the_send_functions_bytes),
        cmocka_unit_test(long_value_is_a_view_into_the_frame),
        cmocka_unit_test(positions_transactions_and_times_are_the_servers),
        cmocka_unit_test(every_frame_cut_at_every_byte_is_refused),
        cmocka_unit_test(every_frame_with_one_byte_more_is_refused),
        cmocka_unit_test(every_byte_flipped_is_refused_or_a_message),
        cmocka_unit_test(peek_tells_kind_and_the_xid_in_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
