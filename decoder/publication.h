/* publication: what the server sends. dts_sync_<job> publishes every captured table with all operations, and the
 * heartbeat table; dts_sync_<job>_i publishes the tables without identity (identity: insert-only) for INSERT and
 * TRUNCATE. Row filters and column lists of the job are theirs, too (15 and newer). Existing publications are compared and changed only by what differs; one that the user named is only
 * checked. Every statement runs under a short lock_timeout. Replica identities are set here, too (identity: full),
 * each under the same lock_timeout, and noted by the caller for cleanup. */
#ifndef WALFERRY_DECODER_PUBLICATION_H
#define WALFERRY_DECODER_PUBLICATION_H

#include "core/config.h"
#include "core/pg.h"
#include "core/selection.h"

/* Creates or mends; safe to repeat. */
bool publication_make(Pg *source, const Config *cfg, const Selection *selection, Error *e);
/* The publication(s) exist and hold exactly what they should: else ERR_LOST that names what is gone (F41). Tables that
 * were dropped are no part of that. */
bool publication_verify(Pg *source, const Config *cfg, const Selection *selection, Error *e);
/* Tells every decoder to look at ours again, and at the tables in them: see job/join.h. */
bool publication_renew(Pg *source, const Config *cfg, const Selection *selection, Error *e);
/* For START_REPLICATION: publication_names '"a","b"'. */
void publication_names(Pg *source, const Config *cfg, const Selection *selection, Writer *out);
bool publication_drop(Pg *source, const Config *cfg, Error *e); /* ours only; absent is fine */

/* Under the identity FULL the users could not change the table's rows any more (trap A1): from 18 on the server refuses it
 * where an identity holds a generated column, which our publications leave out. */
bool publication_forbids_full(const Pg *source, const Table *table);

/* Asks the server whether it publishes the table's row filter, in a transaction that is rolled back (of an owner's
 * account; nothing is made). *column: one that the filter names and `fits` does not take (trap A1), or "". */
bool publication_try_filter(Pg *source, const Config *cfg, const Table *table,
                            bool (*fits)(const TableColumn *), char column[64], Error *e);

/* ALTER TABLE … REPLICA IDENTITY FULL, or USING INDEX where the table has a candidate; retried for wait_ms. */
bool publication_set_identity(Pg *source, const Table *table, int64_t wait_ms, Error *e);
bool publication_restore_identity(Pg *source, const char *schema, const char *name, char setting,
                                  int64_t wait_ms, Error *e);

#endif
