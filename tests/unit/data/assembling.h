/* assembling: an assembler on a bench: fed with the lines of frames.h or with captured frames, its batches written as
 * text. A transaction is
 *
 *   [xid commit-end seq:change seq:change …]      a piece without its first or last bracket is joined by itself
 *   … prepares]  … commits prepared]  … rolls back prepared]      where it does not simply commit
 *   change:  I name(values)  U name(values)  U name(before)>(after)  D name(before)
 *            T name… cascade restart  M prefix=content  m prefix=content (not transactional)  beat n
 *   value:   - NULL, ~ unchanged, . absent, <hex> binary
 *
 * The xid and the positions can be left out (`heads`), and batches be told apart by "|" (`bars`).
 *
 * Parts (trap A7) go to a sink that does what sink/postgres/early does at the destination, in text: savepoints, cuts,
 * giving up at random. What it applied is written as the whole would be; the numbers in front of the changes are left
 * out in a bench with parts, because there is none in a part. */
#ifndef WALFERRY_TESTS_ASSEMBLING_H
#define WALFERRY_TESTS_ASSEMBLING_H

#include <inttypes.h>

#include "data/frames.h"
#include "decoder/assembler.h"

typedef struct BenchPart {
    Ticket *ticket; /* NULL: free */
    Writer text;
    struct {
        uint32_t subxid;
        size_t at;
    } saved[400];
    int saved_count;
} BenchPart;

typedef struct Bench {
    AssemblerOptions options;
    JournalSpace spill;
    Assembler *assembler;
    Writer frame, out;
    Error e;
    bool heads, bars, keep; /* keep: batches are not dropped until the end */
    Batch *kept[64];
    uint32_t batches;
    uint64_t fed; /* frames; the newest one's record is said to lie there */
    /* parts */
    bool bare;            /* no numbers */
    bool refused, steady; /* what was decided; nothing is given up at random */
    bool whole; /* the whole is wanted behind every commit: its transaction is not written for the parts */
    uint64_t part_seed;
    BenchPart parts[8];
    uint32_t parts_applied, parts_given_up, parts_cut, parts_aborted;
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
    for (size_t part = 0; part < sizeof b->parts / sizeof b->parts[0]; part++)
        if (b->parts[part].ticket != NULL) {
            ticket_drop(b->parts[part].ticket);
            writer_free(&b->parts[part].text);
        }
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

static inline void text_change(Writer *out, const Change *change, bool bare) {
    if (bare)
        writer_u8(out, ' ');
    else
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

static inline void text_transaction(Writer *out, const Transaction *tx, bool heads, bool bare) {
    if (tx->begins && heads)
        writer_format(out, "[%" PRIu32 " %" PRIu64 "-%" PRIu64, tx->xid, tx->commit.at, tx->end.at);
    else if (tx->begins)
        writer_u8(out, '[');
    for (uint32_t change = 0; change < tx->count; change++)
        text_change(out, &tx->changes[change], bare);
    static const char *const endings[] = {"]", " prepares]", " commits prepared]", " rolls back prepared]"};
    if (tx->ends)
        writer_text(out, endings[tx->ending]);
}

/* ---- a sink that takes parts ---- */

static inline BenchPart *part_find(Bench *b, const Ticket *ticket) {
    size_t at = 0;
    while (at < sizeof b->parts / sizeof b->parts[0] && b->parts[at].ticket != ticket)
        at++;
    assert_true(at < sizeof b->parts / sizeof b->parts[0] || ticket != NULL);
    return at < sizeof b->parts / sizeof b->parts[0] ? &b->parts[at] : NULL;
}

static inline void part_end(BenchPart *part) {
    ticket_drop(part->ticket);
    part->ticket = NULL;
    writer_free(&part->text);
}

static inline bool part_gives_up(Bench *b) {
    b->part_seed = b->part_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return !b->steady && (b->part_seed >> 33) % 16 == 0;
}

static inline void part_settle(Bench *b, BenchPart *part, TicketOutcome outcome) {
    ticket_settle(part->ticket, outcome);
    b->parts_applied += outcome == TICKET_APPLIED;
    b->parts_given_up += outcome == TICKET_GIVEN_UP;
    part_end(part);
}

static inline void part_runs(Bench *b, BenchPart *part, const Batch *batch) {
    for (uint32_t run = 0; run < batch->count; run++) {
        const Transaction *tx = &batch->transactions[run];
        int known = 0;
        assert_true(tx->count > 0 && !tx->ends && lsn_is_none(tx->end));
        while (known < part->saved_count && part->saved[known].subxid != tx->subxid)
            known++;
        if (tx->subxid != tx->xid && known == part->saved_count) {
            assert_true(known < 400);
            part->saved[known].subxid = tx->subxid;
            part->saved[known].at = part->text.len;
            part->saved_count++;
        }
        for (uint32_t change = 0; change < tx->count; change++)
            text_change(&part->text, &tx->changes[change], b->bare);
    }
}

static inline void part_cut(Bench *b, BenchPart *part, uint32_t subxid) {
    for (int known = 0; known < part->saved_count; known++)
        if (part->saved[known].subxid == subxid) {
            part->text.len = part->saved[known].at;
            part->saved_count = known;
            b->parts_cut++;
            return;
        }
}

static inline void part_commit(Bench *b, BenchPart *part, const Transaction *tx) {
    bool given_up = part == NULL || part_gives_up(b);
    if (!given_up && !b->whole) {
        writer_format(&b->out, "[%" PRIu32 " %" PRIu64 "-%" PRIu64, tx->xid, tx->commit.at, tx->end.at);
        writer_bytes(&b->out, writer_slice(&part->text));
        writer_u8(&b->out, ']');
    }
    if (part != NULL)
        part_settle(b, part, given_up ? TICKET_GIVEN_UP : TICKET_APPLIED);
    b->refused = !assembler_decide(b->assembler, given_up || b->whole, &b->e);
}

static inline void bench_part(Bench *b, Batch *batch) {
    BenchPart *part = part_find(b, batch->ticket);
    const Transaction *tx = &batch->transactions[0];
    if (part == NULL && ticket_outcome(batch->ticket) == TICKET_OPEN) {
        assert_true(batch->kind == BATCH_PART && tx->begins);
        part = part_find(b, NULL);
        *part = (BenchPart){.ticket = batch->ticket, .text = writer_new(1 << 20)};
        ticket_use(part->ticket);
    }
    if (batch->kind == BATCH_COMMIT)
        part_commit(b, part, tx);
    else if (part == NULL)
        return;
    else if (batch->kind == BATCH_PART && part_gives_up(b))
        part_settle(b, part, TICKET_GIVEN_UP);
    else if (batch->kind == BATCH_PART)
        part_runs(b, part, batch);
    else if (batch->kind == BATCH_CUT)
        part_cut(b, part, tx->subxid);
    else {
        part_end(part);
        b->parts_aborted++;
    }
}

static inline void bench_note(Bench *b, Batch *batch) {
    assert_true(batch->count > 0);
    if (batch->kind != BATCH_WHOLE) {
        bench_part(b, batch);
        batch_drop(batch);
        return;
    }
    for (uint32_t tx = 0; tx < batch->count; tx++)
        text_transaction(&b->out, &batch->transactions[tx], b->heads, b->bare);
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
        if (b->refused)
            return false;
    }
}

static inline bool bench_frame(Bench *b, Slice bytes) {
    Slice frame;
    void *memory = frame_give(bytes, &frame);
    return assembler_feed(b->assembler, (Lsn){++b->fed}, frame, memory, bytes.len, &b->e) &&
           bench_take(b, false);
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
