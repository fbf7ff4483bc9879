/* scratch: an empty database of our own on the destination's server, for definitions that have to be made before anybody
 * can say what they become. Its name holds the job's and the destination database's number; a killed run's is dropped by
 * the next one, and by cleanup. It has the destination's encoding and locale, so that what is refused there is refused
 * here. Under the job's lock: one at a time. */
#ifndef WALFERRY_SNAPSHOT_SCRATCH_H
#define WALFERRY_SNAPSHOT_SCRATCH_H

#include "core/config.h"
#include "core/pg.h"

typedef struct Scratch {
    Pg *outside; /* a session in the destination: databases are not made in a transaction */
    char name[64];
    char *dsn;  /* with secrets */
    Pg *inside; /* a session in it */
} Scratch;

/* On the server of `target`. ERR_CONFIG when the account may not make databases. */
bool scratch_make(const Config *cfg, Pg *target, Scratch *out, Error *e);
/* Drops it, whatever became of the making. */
bool scratch_end(Scratch *scratch, Error *e);
/* One that a killed run has left: drops it unless `only_look`; *found says whether there was one. */
bool scratch_clean(const Config *cfg, Pg *target, bool only_look, bool *found, Error *e);

#endif
