/* load_intern: what the files of the load share. */
#ifndef WALFERRY_SNAPSHOT_LOAD_INTERN_H
#define WALFERRY_SNAPSHOT_LOAD_INTERN_H

#include "snapshot/load.h"

enum { LOAD_CONNECT_WAIT_MS = 10000 };

/* A connection to the destination that holds the job's lock in shared mode. */
Pg *load_target_open(const Load *load, Error *e);

#endif
