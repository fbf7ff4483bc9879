/* ddl_trigger: three event triggers on the source, dts_<job>_ddl, _drop and _rewrite (ENABLE ALWAYS), with one function in
 * the schema `walferry`. In the transaction of a DDL command they write a logical message of the prefix
 * dts_ddl.<job> for each ordinary table that it was about (of a partitioned one, each leaf): what the table looks like
 * now, from the catalogs (trap A11), or that it was rewritten, or which index came or went. Temporary tables and those of the system are left out. The
 * body can never fail the user's command: a message that could not be written is missed, and the change is then noticed
 * at the first row (sink/postgres/apply_alter).
 * Content, one JSON object:
 *   {"oid": 16385, "schema": "s", "name": "t", "columns": [[name, type OID, modifier, attnum, type's schema or "",
 *    type's text without it, not null, default or null, attidentity, attgenerated, missing value or null], …]}
 *   {"rewrite": 16385}
 *   {"index": 16385, "create": "CREATE INDEX …", "schema": "s", "name": "i", "partitioned": false}   of that table
 *   {"drop_index": ["s", "name"]}
 * Order (A17): made before the slot, so that no change behind it goes without a message; a job that begins to use them
 * later has the first row's notice for what came before. Needs messages (14 and newer) and the right to make event
 * triggers: a superuser, before roles of the provider are given it. */
#ifndef WALFERRY_DECODER_DDL_TRIGGER_H
#define WALFERRY_DECODER_DDL_TRIGGER_H

#include "core/config.h"
#include "core/pg.h"

#define DDL_TRIGGER_PREFIX "dts_ddl."

/* Makes what is missing, in one transaction; safe to repeat. */
bool ddl_trigger_make(Pg *source, const Config *cfg, Error *e);
/* The same in a transaction that is rolled back: whether this account may. */
bool ddl_trigger_try(Pg *source, const Config *cfg, Error *e);
/* Absent is fine; *found (NULL: nobody asks): there was something. `dry_run` only looks. */
bool ddl_trigger_drop(Pg *source, const Config *cfg, bool dry_run, bool *found, Error *e);

#endif
