/* net: what a run of changes comes to, row by row (trap A4). Pure: it sends nothing. It follows rows, not keys: a row is
 * found under the key that it has now and remembers the key under which the destination holds it (its origin), or that
 * the destination does not hold it. Of a value that the source did not send (unchanged TOAST) the newest one of the run
 * counts, else the destination's own.
 *
 *   origin, gone               DELETE        origin, another key, all known      DELETE and INSERT
 *   origin, the same key       UPDATE        origin, another key, not all known  UPDATE that sets the key, too
 *   none                       INSERT        none, gone                          PROBE: no such row may be there (A15)
 *
 * and a PROBE for each key that a row took on its way and left again.
 * Executed over the whole run in the order probes, deletes, updates, inserts; but for a key that was an origin nothing is
 * probed. A change that does not fit what the run says of its row (an INSERT of a key that is there, an UPDATE of one that
 * has gone) is refused: whoever called rolls back and applies change by change, which tells the conflict as it is.
 * Keys are compared by the image that the source sent, which is the image that it stores. The batches and plans behind
 * the changes outlive the run. */
#ifndef WALFERRY_SINK_NET_H
#define WALFERRY_SINK_NET_H

#include "sink/postgres/plan.h"

typedef enum NetKind { NET_NOTHING, NET_PROBE, NET_DELETE, NET_UPDATE, NET_INSERT } NetKind;

typedef struct NetRow {
    struct NetRow *next; /* of its table, in the order of arrival */
    NetKind kind;        /* as net_settle says */
    bool moved;          /* NET_INSERT: and the row with the origin's key goes */
    const Value
        *origin; /* values of the relation's columns, those of the key set; NULL: the destination has none */
    const Value *
        values; /* newest known value of each column; VALUE_UNCHANGED: the destination's own. Of a row that is
                          * gone the key alone counts */
    bool sets_key;      /* NET_UPDATE: the key has changed */
    bool deleted, sent; /* how far whoever executes it has come */
    bool bound;         /* it waits for another run (touched.h) */
} NetRow;

/* The rows of one table of the destination, all of one relation version. */
typedef struct NetTable {
    struct NetTable *next;
    Plan *plan;
    NetRow *rows;
    uint32_t count;
    bool bound; /* all of its rows are */
} NetTable;

typedef struct Net Net;

Net *net_new(void);
void net_free(Net *net); /* NULL is fine */
/* False: refused; the run is spoilt. Of a table without key (plan->where) only INSERTs may be added. */
bool net_add(Net *net, Plan *plan, const Change *change);
/* Rows of another version of the same table are collected: settle, execute and clear before this one. */
bool net_has_other_version(const Net *net, const Plan *plan);
bool net_has_table(const Net *net, const Plan *plan);
uint32_t net_changes(const Net *net); /* added since it was cleared */
/* Decides over the kind of every row, and puts rows that are looked up in the order of their keys. The list of tables, NULL: none. False: refused, an INSERT into *lacking lacks a
 * value. */
bool net_settle(Net *net, NetTable **tables, NetTable **lacking);
void *net_alloc(Net *net, size_t size); /* until it is cleared */
/* Its plans are free for another run; what it holds stays until it is cleared. */
void net_detach(Net *net);
void net_clear(Net *net);

#endif
