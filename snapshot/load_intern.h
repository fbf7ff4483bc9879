/* load_intern: what the files of the load share. */
#ifndef WALFERRY_SNAPSHOT_LOAD_INTERN_H
#define WALFERRY_SNAPSHOT_LOAD_INTERN_H

#include "snapshot/load.h"

typedef struct LoadStatement {
    const char *sql, *hash, *what, *settings;
} LoadStatement;

enum { LOAD_CONNECT_WAIT_MS = 10000 };

/* A connection to the destination that holds the job's lock in shared mode. */
Pg *load_target_open(const Load *load, Error *e);
/* The same with the dump's preamble. */
Pg *load_entry_open(const Load *load, const char *preamble, Error *e);
/* Runs `sql` in one transaction with its note, behind `settings` (""); `what` is for messages and the note. Left out
 * when an earlier run made it. */
bool load_entry_make(const Load *load, Pg *target, const LoadStatement *statement, const atomic_bool *halt,
                     Error *e);

#endif
