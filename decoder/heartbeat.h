/* heartbeat: a row of ours on the source, updated in a transaction of its own, that travels the whole pipeline: it
 * measures the lag, moves the slot on idle databases, and marks "everything before this is there".
 * Table <source.heartbeat_table> (job text primary key, beat bigint, at timestamptz), one row a job. Where the account
 * may not make it, pg_logical_emit_message(true, 'walferry.beat.<job>', '<beat> <microseconds>') carries the same
 * beat (servers 14 and newer). */
#ifndef WALFERRY_DECODER_HEARTBEAT_H
#define WALFERRY_DECODER_HEARTBEAT_H

#include "core/config.h"
#include "core/pg.h"

typedef enum HeartbeatForm { HEARTBEAT_OFF, HEARTBEAT_TABLE, HEARTBEAT_MESSAGE } HeartbeatForm;

/* The heartbeat table's OID when it is there and ours to write and to publish; else 0. */
bool heartbeat_table(Pg *source, const Config *cfg, uint32_t *oid, Error *e);
/* Makes table and row where missing and says which form is used; ERR_CONFIG when neither form is possible. */
bool heartbeat_make(Pg *source, const Config *cfg, HeartbeatForm *form, Error *e);
/* Which form a running job uses, without making anything. */
bool heartbeat_find(Pg *source, const Config *cfg, HeartbeatForm *form, Error *e);
/* One beat; its number and the server's current WAL position after its commit. */
bool heartbeat_beat(Pg *source, const Config *cfg, HeartbeatForm form, int64_t number, Lsn *after, Error *e);
/* Removes our row, and the table with the last row; absent is fine. */
bool heartbeat_drop(Pg *source, const Config *cfg, Error *e);

#endif
