/* load_plan: what the load does first. Pure. */
#ifndef WALFERRY_SNAPSHOT_LOAD_PLAN_H
#define WALFERRY_SNAPSHOT_LOAD_PLAN_H

#include "core/selection.h"
#include "core/state.h"

/* Indexes of the tables that `records` (NULL: nothing is) does not call loaded, largest first: a large one
 * that began last would run alone at the end. `out` has room for all; returns how many. */
int load_plan_tables(const Selection *selection, const TableRecords *records, int *out);

/* One transaction's worth of rows. */
typedef struct LoadPiece {
    int table;        /* of the selection */
    int range;        /* of its table, from 0; -1: the whole table */
    int64_t from, to; /* units of a range; to: not included, -1 for the last one: open above */
    int64_t bytes;    /* estimated */
} LoadPiece;

typedef struct LoadPlan {
    int count;
    LoadPiece *pieces; /* in the order in which they begin; of malloc */
} LoadPlan;

/* How many of the first tables of `order` are worth cutting into ranges: with split_above_bytes (-1: auto) those above
 * it; else as many as make the load end clearly sooner by a simple reckoning. It knows that a split table cannot be
 * frozen while it is copied: one worker has to vacuum it afterwards, before its indexes (trap B4). So where tables
 * of about one size keep all workers busy, none is split. `workers`: for auto those that help each other; on one machine
 * with both servers these may be fewer than there are. */
int load_plan_split(const Selection *selection, const int *order, int count, int workers,
                    int64_t split_above_bytes);
/* The pieces of all tables of `order`. units[table]: in which it can be cut (cuts) when it is to be split, else 0. Ranges are large at
 * first and smaller towards the end of their table, so that the workers end together; together with the whole tables
 * the largest begins first. */
LoadPlan load_plan_pieces(const Selection *selection, const int *order, int count, int workers,
                          const int64_t *units);

#endif
