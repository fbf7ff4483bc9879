/* assembling: an assembler on a bench: fed with the lines of frames.h or with captured frames, its batches written as
 * text. A transaction is
 *
 *   [xid commit-end seq:change seq:change …]      a piece without its first or last bracket is joined by itself
 *   … prepares]  … commits prepared]  … rolls back prepared]      where it does not simply commit
 *   change:  I name(values)  U name(values)  U name(before)>(after)  D name(before)
 *            T name… cascade restart  M prefix=content  m prefix=content (not transactional)  beat n
 *   value:   - NULL, ~ unchanged, . absent, <hex> binary
 *
 * The xid and the positions can be left out (`heads`), and batches be told apart by "|" (`bars`). */
#ifndef WALFERRY_TESTS_ASSEMBLING_H
#define WALFERRY_TESTS_ASSEMBLING_H

#include <inttypes.h>

#include "data/frames.h"
#include "decoder/assembler.h"

typedef struct Bench {
    AssemblerOptions options;
    JournalSpace spill;
    Assembler *assembler;
    Writer frame, out;
    Error e;
    bool heads, bars, keep; /* keep: batches are not dropped until the end */
    Batch *kept[64];
    uint32_t batches;
} Bench;

/* Options that hold everything in memory and put everything into one batch; to be changed before bench_begin. */
static inline void bench_init(Bench *b) {
    *b = (Bench){.heads = true};
    b->spill = (JournalSpace){.dir = "/tmp", .max_bytes = 1 << 30};
    b->options = (AssemblerOptions){.held_bytes = 1 << 20,
                                    .batch_bytes = 1 << 24,
                                    .batch_changes = 1000,
                                    .job = "shop",
                                    .beat_schema = "public",
                                    .beat_table = "beats",
                                    .release = frame_release};
    b->frame = writer_new(1 << 20);
    b->out = writer_new(1 << 24);
}

static inline void bench_begin(Bench *b, Ledger *ledger) {
    b->options.spill = &b->spill;
    b->assembler = assembler_new(&b->options, ledger);
}

/* Everything that was fed is gone now, and the disk is given back. */
static inline void bench_end(Bench *b) {
    for (uint32_t batch = 0; b->keep && batch < b->batches; batch++)
        batch_drop(b->kept[batch]);
    assembler_free(b->assembler);
    writer_free(&b->frame);
    writer_free(&b->out);
    assert_int_equal(b->spill.used_bytes, 0);
    frames_all_gone();
}

static inline void text_value(Writer *out, const Value *value) {
    static const char *const BARE[] = {[VALUE_ABSENT] = ".", [VALUE_NULL] = "-", [VALUE_UNCHANGED] = "~"};
    if (value->kind == VALUE_TEXT && value->bytes.len > 1000)
        writer_format(out, "[%zu]", value->bytes.len);
    else if (value->kind == VALUE_TEXT)
        writer_bytes(out, value->bytes);
    else if (value->kind == VALUE_BINARY)
        for (size_t byte = 0; byte < value->bytes.len; byte++)
            writer_format(out, "%02x", (uint8_t)value->bytes.at[byte]);
    else
        writer_text(out, BARE[value->kind]);
}

static inline void text_tuple(Writer *out, const Relation *rel, const Value *values) {
    for (uint16_t column = 0; column < rel->column_count; column++) {
        writer_u8(out, column == 0 ? '(' : ',');
        text_value(out, &values[column]);
    }
    writer_text(out, rel->column_count == 0 ? "()" : ")");
}

static inline void text_row(Writer *out, const Change *change) {
    writer_format(out, "%c %s", "IUD"[change->kind], change -> rel -> name);
    if (change->row.before != NULL)
        text_tuple(out, change->rel, change->row.before);
    if (change->row.before != NULL && change->row.after != NULL)
        writer_u8(out, '>');
    if (change->row.after != NULL)
        text_tuple(out, change->rel, change->row.after);
}

static inline void text_truncate(Writer *out, const Change *change) {
    writer_u8(out, 'T');
    for (uint32_t rel = 0; rel < change->truncate.count; rel++)
        writer_format(out, " %s", change->truncate.rels[rel]->name);
    writer_text(out, change->truncate.cascade ? " cascade" : "");
    writer_text(out, change->truncate.restart_identity ? " restart" : "");
}

static inline void text_change(Writer *out, const Change *change) {
    writer_format(out, " %" PRIu32 ":", change->seq);
    switch (change->kind) {
    case CHANGE_INSERT:
    case CHANGE_UPDATE:
    case CHANGE_DELETE: text_row(out, change); break;
    case CHANGE_TRUNCATE: text_truncate(out, change); break;
    case CHANGE_MESSAGE:
        writer_u8(out, change->message.transactional ? 'M' : 'm');
        writer_u8(out, ' ');
        writer_bytes(out, change->message.prefix);
        writer_u8(out, '=');
        writer_bytes(out, change->message.content);
        break;
    case CHANGE_BEAT: writer_format(out, "beat %" PRId64, change->beat.number); break;
    }
}

static inline void text_transaction(Writer *out, const Transaction *tx, bool heads) {
    if (tx->begins && heads)
        writer_format(out, "[%" PRIu32 " %" PRIu64 "-%" PRIu64, tx->xid, tx->commit.at, tx->end.at);
    else if (tx->begins)
        writer_u8(out, '[');
    for (uint32_t change = 0; change < tx->count; change++)
        text_change(out, &tx->changes[change]);
    static const char *const endings[] = {"]", " prepares]", " commits prepared]", " rolls back prepared]"};
    if (tx->ends)
        writer_text(out, endings[tx->ending]);
}

static inline void bench_note(Bench *b, Batch *batch) {
    assert_true(batch->count > 0);
    for (uint32_t tx = 0; tx < batch->count; tx++)
        text_transaction(&b->out, &batch->transactions[tx], b->heads);
    if (b->bars)
        writer_u8(&b->out, '|');
    assert_true(!b->keep || b->batches < sizeof b->kept / sizeof b->kept[0]);
    if (b->keep)
        b->kept[b->batches] = batch;
    else
        batch_drop(batch);
    b->batches++;
}

/* Takes what there is. */
static inline bool bench_take(Bench *b, bool flush) {
    for (;;) {
        Batch *batch;
        if (!assembler_take(b->assembler, flush, &batch, &b->e)) {
            assert_null(batch);
            return false;
        }
        if (batch == NULL)
            return true;
        bench_note(b, batch);
    }
}

static inline bool bench_frame(Bench *b, Slice bytes) {
    Slice frame;
    void *memory = frame_give(bytes, &frame);
    return assembler_feed(b->assembler, frame, memory, bytes.len, &b->e) && bench_take(b, false);
}

static inline bool bench_line(Bench *b, const char *line) {
    writer_reset(&b->frame);
    frame_write(&b->frame, line);
    return bench_frame(b, writer_slice(&b->frame));
}

/* Lines with "; " between them; all must be accepted. */
static inline void bench_feed(Bench *b, const char *lines) {
    char copy[4000], *rest = copy;
    assert_true(strlen(lines) < sizeof copy);
    strcpy(copy, lines);
    while (rest != NULL) {
        char *line = rest, *semicolon = strstr(rest, "; ");
        rest = semicolon == NULL ? NULL : semicolon + 2;
        if (semicolon != NULL)
            *semicolon = '\0';
        if (!bench_line(b, line))
            fail_test("\"%s\": %s", line, b->e.text);
    }
}

/* What came out since the last call, flushed. */
static inline void bench_gave(Bench *b, const char *expected) {
    if (!bench_take(b, true))
        fail_test("%s", b->e.text);
    assert_string_equal(writer_string(&b->out), expected);
    writer_reset(&b->out);
}

/* The line, which ends the session, or what is taken after it. */
static inline void bench_refused(Bench *b, const char *line, const char *says) {
    assert_false(bench_line(b, line));
    assert_int_equal(b->e.kind, ERR_PROTOCOL);
    if (strstr(b->e.text, says) == NULL)
        assert_string_equal(b->e.text, says);
}

#endif
