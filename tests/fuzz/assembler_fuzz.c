/* Any sequence of frames is refused, or whole transactions come out of it. The first byte of the input chooses the
 * options: bit 0 abort_has_lsn, bit 1 two_phase, bit 2 in small pieces, bit 3 held on disk; the second says how much
 * lies before the server's beginning, in MiB of log. Then frames, each behind its length of two bytes. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "decoder/assembler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has come out so far. */
typedef struct Seen {
    bool inside; /* of a transaction in pieces */
    uint32_t xid, seq;
    Lsn end;
} Seen;

static void look_at_piece(Seen *seen, const Transaction *tx, bool two_phase) {
    assert(two_phase || tx->ending == TRANSACTION_COMMITS);
    assert(lsn_before(tx->commit, tx->end) && tx->begins == !seen->inside);
    assert(tx->begins ? lsn_before(seen->end, tx->end)
                      : tx->xid == seen->xid && lsn_equal(seen->end, tx->end));
    if (tx->ending == TRANSACTION_COMMITS_PREPARED || tx->ending == TRANSACTION_ROLLS_BACK_PREPARED)
        assert(tx->begins && tx->ends && tx->count == 0);
    for (uint32_t change = 0; change < tx->count; change++) {
        assert((tx->begins && change == 0) || tx->changes[change].seq > seen->seq);
        seen->seq = tx->changes[change].seq;
    }
    *seen = (Seen){!tx->ends, tx->xid, seen->seq, tx->end};
}

static bool take_all(Assembler *a, Seen *seen, bool two_phase, Error *e) {
    for (;;) {
        Batch *b;
        if (!assembler_take(a, true, &b, e))
            return false;
        if (b == NULL)
            return true;
        for (uint32_t tx = 0; tx < b->count; tx++)
            look_at_piece(seen, &b->transactions[tx], two_phase);
        batch_drop(b);
    }
}

/* As libpq gives a frame: with one byte behind it. */
static bool feed(Assembler *a, const uint8_t *bytes, size_t size, Error *e) {
    char *memory = malloc(size + 1);
    assert(memory != NULL);
    memcpy(memory, bytes, size);
    memory[size] = '\0';
    return assembler_feed(a, LSN_NONE, (Slice){memory, size}, memory, size + 1, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    bool two_phase = (data[0] & 2) != 0, ok = true;
    JournalSpace spill = {.dir = "/tmp", .max_bytes = 1 << 24};
    AssemblerOptions options = {.abort_has_lsn = (data[0] & 1) != 0,
                                .two_phase = two_phase,
                                .late_before = {(uint64_t)data[1] << 20},
                                .held_bytes = (data[0] & 8) != 0 ? 100 : 1 << 20,
                                .batch_bytes = 1 << 20,
                                .batch_changes = (data[0] & 4) != 0 ? 1 : 1000,
                                .spill = &spill,
                                .job = "shop",
                                .beat_schema = "public",
                                .beat_table = "dts_postgres_heartbeat",
                                .release = free};
    Ledger *ledger = ledger_new(1, (Lsn[]){{1}}, (Lsn){1});
    Assembler *a = assembler_new(&options, ledger);
    Seen seen = {.end = LSN_NONE};
    Error e = {0};
    for (size_t at = 2; ok && size - at >= 2;) {
        size_t length = (size_t)data[at] << 8 | data[at + 1];
        at += 2;
        if (length > size - at)
            length = size - at;
        ok = feed(a, data + at, length, &e) && take_all(a, &seen, two_phase, &e);
        at += length;
        assert(!ok || lsn_equal(ledger_last_commit(ledger), seen.end));
    }
    assert(ok || e.kind == ERR_PROTOCOL);
    assembler_free(a);
    assert(spill.used_bytes == 0);
    ledger_free(ledger);
    return 0;
}
