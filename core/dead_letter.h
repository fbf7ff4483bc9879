/* dead_letter: the table at the destination of changes that were left out because they did not fit (`conflicts`): one row
 * each, written by sink/postgres/conflict in the transaction in which the change would have been, and so before it is
 * confirmed. What is here counts, lists and clears. A change is named as everywhere, by the end of its transaction and its
 * place in it (trap C2). Values are JSON objects of texts: null is NULL; what the source did not send is not in
 * it. Any connection outside of a transaction. */
#ifndef WALFERRY_CORE_DEAD_LETTER_H
#define WALFERRY_CORE_DEAD_LETTER_H

#include "core/config.h"
#include "core/pg.h"

typedef struct DeadLetter {
    const char *lsn, *xid, *seq, *schema, *table, *operation;
    const char *key, *values; /* NULL: it has none */
    const char *sqlstate;     /* NULL: no error of the server's: a row was not there */
    const char *reason, *at;
} DeadLetter;

/* 0 where an earlier version has left no such table. */
bool dead_letter_count(Pg *pg, const Config *cfg, int64_t *count, Error *e);
/* Calls visit for each in the source's order, until it is false; `clear`: removes exactly those that were visited, if
 * visit has taken them all. */
bool dead_letter_visit(Pg *pg, const Config *cfg, bool clear,
                       bool (*visit)(void *context, const DeadLetter *), void *context, Error *e);

#endif
