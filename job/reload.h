/* reload: tables that somebody wants to be loaded again into a running job's Kafka topics (`walferry snapshot`), whether it has
 * a database as destination, too, or not; that one is left as it is.
 *
 * Round by round: the stream ends; a temporary slot is made, whose snapshot has the consistent point S, behind all that was
 * streamed; the stream goes on up to S and ends there; the tables of the round are read under the snapshot, by load.workers at
 * a time, and their rows written (op r, at S); the stream goes on. So in every topic the rows stand just where their snapshot
 * belongs: behind every change that they know, and before every other (trap A12). No key goes back to what it was, nothing is
 * sent again or left out, and tables without a key, truncation, key changes and unchanged TOAST need no rule of their own.
 *
 * The price is that the stream waits, of all sinks: for the making of the slot, as long as the tables of a round take, and for
 * the beginnings of three sessions. Watermarks in a stream that goes on would cost no wait, but would have to leave out rows
 * whose key was changed meanwhile: for good where the change says nothing of a large value or there is no key. The wait
 * is bounded: a round takes tables of ROUND_BYTES together (a larger one for itself: it cannot be read under two snapshots, trap
 * A2), and between two rounds the stream catches up whole. The slot waits for the source's open transactions only for
 * seconds; then the stream goes on, and it is tried again later, a little longer. What cannot be loaded at all is given up,
 * with a warning: the stream does not end for it. Meanwhile `status` says what waits and why,
 * and how much WAL the source keeps.
 *
 * Which tables are wanted is noted in the control topic, and with a table's last rows that they are there: a killed run goes on
 * with the rest, once it has caught up. `walferry snapshot` ends when it is noted. */
#ifndef WALFERRY_JOB_RELOAD_H
#define WALFERRY_JOB_RELOAD_H

#include "job/walk.h"

/* By the walk, where it would stream: all rounds, if any are wanted. *ends: the walk is over without an error. */
bool reload_run(Walk *walk, bool *ends, Error *e);

#endif
