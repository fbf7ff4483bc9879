/* ledger: which position the source may be told. Positions of transactions enter when their COMMIT frame is read;
 * each sink says how far it is durable; what comes out is the smallest, and it never goes back. It holds no
 * transaction, talks to nobody, and takes time as an argument. One mutex, held for no I/O; any thread.
 *
 * Confirmed moves in two ways (traps A9, B11):
 *   - over transaction ends: to the smallest durable position of all required sinks;
 *   - over idle WAL: to a keepalive's position, only while nothing is in flight (a BEGIN without its COMMIT, or a
 *     COMMIT that some sink has not made durable), and only after every sink has promised it, that is, noted
 *     durably that the slot may stand there. */
#ifndef WALFERRY_CORE_LEDGER_H
#define WALFERRY_CORE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/lsn.h"

enum { LEDGER_SINKS_MAX = 4 };
#define LEDGER_IDLE_BYTES (16u << 20) /* an idle position is worth a write at the destination from here on */
enum { LEDGER_IDLE_MS = 10000 };      /* and at most this often */

typedef struct Ledger Ledger;

/* `confirmed`: where the slot stands. Each sink begins as durable up to `applied[sink]`. */
Ledger *ledger_new(int sinks, const Lsn *applied, Lsn confirmed);
void ledger_free(Ledger *l);

/* By the reading thread, in the order of the frames: */
void ledger_begin(Ledger *l); /* BEGIN, or the first piece of anything that will end with a commit */
/* COMMIT, STREAM COMMIT, the PREPARE family; also of an empty transaction. */
void ledger_commit(Ledger *l, Lsn end);
void ledger_idle(Ledger *l, Lsn wal_end); /* keepalive */

/* By the sinks; `end` is never beyond what was read (asserted): */
void ledger_durable(Ledger *l, int sink, Lsn end);
/* The position that every sink should promise now, or none: nothing is in flight, the last keepalive is
 * LEDGER_IDLE_BYTES beyond what is confirmed, and LEDGER_IDLE_MS have passed since the last promise was wanted.
 * It stays the same until every sink has promised it, so each sink's thread may ask and promise what is new to it. */
Lsn ledger_promise_wanted(Ledger *l, int64_t now_ms);
void ledger_promised(Ledger *l, int sink, Lsn upto);

Lsn ledger_confirmed(Ledger *l); /* what the source may be told now; never goes back */
bool ledger_in_flight(Ledger *l);
Lsn ledger_last_commit(Ledger *l); /* highest end that was read */

#endif
