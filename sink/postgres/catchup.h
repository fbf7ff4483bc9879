/* catchup: the gear for when there is much to do: changes of an open transaction are collected (net.h) and sent set by
 * set: for each table probes, deletes and updates by arrays of column values, inserts by COPY where they are many. What
 * it cannot do that way goes change by change, in its place, by apply_change: TRUNCATE, tables with triggers or without a
 * key, `existing: keep`, types that no array carries.
 *
 * Every set has to touch exactly as many rows as it has, before COMMIT (trap A6). If one does not, or is refused, the run
 * fails with ERR_DATA: the caller rolls back and applies change by change, which has the same outcome or tells the
 * conflict (A15); the table in question is then left to that for a while. Belongs to one ApplySession. */
#ifndef WALFERRY_SINK_CATCHUP_H
#define WALFERRY_SINK_CATCHUP_H

#include "sink/postgres/apply_session.h"
#include "sink/postgres/collected.h"

/* Sends what was collected and reads every answer; nothing is collected any more. The transaction goes on. */
bool catchup_flush(ApplySession *s, Error *e);
/* The same, but the last answers have yet to be read when it returns: collected_sent_forget behind that, or behind a
 * failure, which leaves nothing collected either. */
bool catchup_send(ApplySession *s, Error *e);
/* In any gear: everything applied so far was sent; or was answered, too, and found right. */
bool apply_sent(ApplySession *s, Error *e);
bool apply_settled(ApplySession *s, Error *e);

/* ---- step by step (runs.h) ---- */

/* What was collected is what is sent next, row by row; something else may be collected meanwhile. False: a row lacks a
 * value, and nothing of it can be sent. */
bool catchup_close(ApplySession *s, Error *e);
NetTable *catchup_closed(const ApplySession *s); /* up to collected_sent_forget; NULL: none */
/* Sends of it what is not bound, as long as it need not wait for the destination. */
bool catchup_send_free(ApplySession *s, Error *e);
/* Sends what is left of it. */
bool catchup_send_rest(ApplySession *s, Error *e);
/* Its transaction was rolled back: nothing of it is sent. */
void catchup_take_back(ApplySession *s);

/* It fails with ERR_DATA: what was collected for the plan's table does not fit, and its changes go one by one for a while. */
bool catchup_refused(Plan *plan, Error *e);
/* The result of a set. One that was refused while the session is `hurried` is only named in
 * ApplySession.doubted. */
void catchup_check(ApplySession *s, const LiveNote *note, const PGresult *result, Error *e);
/* The plan that a statement on its way is about; NULL: it is none of a set. */
Plan *catchup_plan_of(const LiveNote *note);

#endif
