/* sequence: carries the sequences' values over: they are not in the stream. Never sets one back. */
#ifndef WALFERRY_SNAPSHOT_SEQUENCE_H
#define WALFERRY_SNAPSHOT_SEQUENCE_H

#include "core/config.h"
#include "core/pg.h"

/* Every sequence of the source outside system schemas, extensions and walferry's own; one that the destination does
 * not have is an error that names it. *count: how many were set. */
bool sequence_carry(Pg *source, Pg *target, int *count, Error *e);

#endif
