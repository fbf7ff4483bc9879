/* collected: the changes of an open transaction that have not gone as they came, for sets (catchup.h), which
 * sends them. Belongs to one ApplySession. */
#ifndef WALFERRY_SINK_COLLECTED_H
#define WALFERRY_SINK_COLLECTED_H

#include "sink/postgres/net.h"
#include "sink/postgres/set_rows.h"

typedef struct Collected {
    Net *net;         /* what is being collected */
    Net *sent;        /* what was sent last, or is sent next: */
    NetTable *tables; /* its rows */
    bool waits;       /* a statement may wait until the destination has taken earlier ones */
    SetRows *rows;
    Writer copy;
} Collected;

Collected *collected_new(void);
/* NULL is fine for all of these. */
void collected_free(Collected *c);
void collected_forget(Collected *c);      /* what was collected and not sent */
void collected_sent_forget(Collected *c); /* what was sent: behind its last answer, or behind a failure */

#endif
