/* cuts: where a source table can be cut into ranges that together hold each of its rows once, under any snapshot. By the
 * blocks of its heap, where the server finds rows by their place (14 and newer); else between values of the first column
 * of its primary key, which the server's statistics give. Not into how many ranges (load_plan). */
#ifndef WALFERRY_SNAPSHOT_CUTS_H
#define WALFERRY_SNAPSHOT_CUTS_H

#include "core/bytes.h"
#include "core/pg.h"
#include "core/selection.h"

typedef struct Cuts {
    int64_t units; /* blocks, or one more than there are values; 0: the table cannot be cut */
    PGresult *
        key; /* NULL: by blocks; else rows of the column's quoted name and a value as an SQL literal, ascending;
                    * owned */
} Cuts;

/* Somebody's lock that hides the table: no units. The session waits for no lock for long afterwards. */
bool cuts_find(Pg *source, const Table *table, Cuts *cuts, Error *e);
void cuts_free(Cuts *cuts);
/* The condition on the rows from one unit to another, which is not included; -1: whatever comes. Never empty. */
void cuts_write(const Cuts *cuts, int64_t from, int64_t to, Writer *out);

#endif
