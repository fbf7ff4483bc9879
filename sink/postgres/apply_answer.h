/* apply_answer: what the destination has said to a session's statements. With the session's thread. */
#ifndef WALFERRY_SINK_APPLY_ANSWER_H
#define WALFERRY_SINK_APPLY_ANSWER_H

#include "sink/postgres/apply_session.h"

/* The result of a statement with one of the SessionNotes. e as for LiveCheck. */
void apply_answer(ApplySession *s, const LiveNote *note, const PGresult *result, Error *e);

#endif
