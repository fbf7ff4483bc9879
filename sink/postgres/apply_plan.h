/* apply_plan: what a session knows of the relations that come by: the record of each one's table, and its plan. With the
 * session's thread. */
#ifndef WALFERRY_SINK_APPLY_PLAN_H
#define WALFERRY_SINK_APPLY_PLAN_H

#include "sink/postgres/apply_session.h"

/* The record of the relation's table, which is loaded; else ERR_DATA. */
TableRecord *apply_record(ApplySession *s, const Relation *rel, Error *e);
/* Whether the transaction counts for the table (trap A2); asked before anything else, because what came before a table
 * was loaded may be of a form that the destination never had. */
bool apply_is_due(const TableRecord *table, const Transaction *tx);
/* The relation's plan; the destination is asked the first time, within the pipeline. `change` is named in errors. */
Plan *apply_plan(ApplySession *s, const Relation *rel, const Transaction *tx, const Change *change, Error *e);
/* What the destination has answered (NOTE_PLAN). */
void apply_plan_arrived(ApplySession *s, const PGresult *result, Error *e);

#endif
