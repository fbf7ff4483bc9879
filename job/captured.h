/* captured: what becomes of captured tables without a row in the stream that would show it: dropped, made again under the
 * same name, attached or detached as a partition (seen against the session's beginning); and tables that are new on the
 * source: which of them may join. The keeper looks now and then, on its own connection. */
#ifndef WALFERRY_JOB_CAPTURED_H
#define WALFERRY_JOB_CAPTURED_H

#include "core/pg.h"
#include "core/selection.h"

typedef struct Captured Captured;

Captured *captured_new(const Config *cfg, const Selection *selection); /* lent: must live as long */
void captured_free(Captured *c);                                       /* NULL is fine */
/* Whether a table that the job's record does not know may join the job (job/join.h); *why not, for people. */
bool captured_takes(const Pg *source, const Config *cfg, const Table *table, const char **why);
/* Says that it may not. */
void captured_refused_tell(const Table *table, const char *why);
/* A table that may join the job is new: *joins. One that may not is told once. */
bool captured_look_for_new(Captured *c, Pg *source, bool *joins, Error *e);
/* Tells once of each table that is gone. ERR_DATA when another one has taken its name: what that one holds was never
 * copied. */
bool captured_look(Captured *c, Pg *source, Error *e);

/* That sentence; returns false. */
bool captured_made_again(const char *schema, const char *name, Error *e);

#endif
