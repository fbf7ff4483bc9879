/* apply_commit: the progress of a group and its COMMIT, on any session of the sink; such sessions; and how far the
 * destination has flushed what was committed. The sink's thread only. */
#ifndef WALFERRY_SINK_APPLY_COMMIT_H
#define WALFERRY_SINK_APPLY_COMMIT_H

#include "sink/postgres/apply_sink.h"

/* Another connection that applies for this sink: its session, started, with the job's lock. ApplySession.pg may be left
 * behind a failure. */
bool apply_open_beside(Sink *s, ApplySession *session, Error *e);
/* For apply_session_start: the results of any session of the sink. */
void group_check(void *session, const LiveNote *note, const PGresult *result, Error *e);

/* The sink's own statements, after a reset, too; those of the in-order session. */
bool group_prepare_on(Sink *s, ApplySession *session, Error *e);
bool group_prepare(Sink *s, Error *e);

/* On a session of the sink's choice, whose transaction `group` only counts: its commit, with the progress from s->applied
 * to group->end, which leaves its numbers in the group. Whoever commits knows that nothing older is open. */
bool group_commit_on(Sink *s, ApplySession *session, Group *group, Error *e);
/* The two steps of that: the progress, behind everything else; all answers read and found right, and COMMIT (A6). */
bool group_send_progress(Sink *s, ApplySession *session, const Group *group, Error *e);
bool group_commit_sent(Sink *s, ApplySession *session, Group *group, Error *e);
bool group_commit(Sink *s,
                  Error *e);        /* s->group, which has a transaction, on its session; it is empty then */
bool group_trim(Sink *s, Error *e); /* now and then, between commits: old rows of the progress */

bool group_ask_flushed(Sink *s, Error *e); /* the destination's WAL positions, and what is durable by them */

#endif
