/* ticket: what the source's thread and a sink's thread know together of one streamed transaction whose parts are handed
 * out before its end is known (trap A7). The sink settles it once: applied, together with its progress, or given up,
 * that is rolled back, so that the whole has to be handed out at its commit. The source's thread looks at it between
 * parts and, behind BATCH_COMMIT, waits for it. Uses are counted as a batch's are. Any thread. */
#ifndef WALFERRY_CORE_TICKET_H
#define WALFERRY_CORE_TICKET_H

#include <stdint.h>

typedef struct Ticket Ticket;
typedef enum TicketOutcome { TICKET_OPEN, TICKET_APPLIED, TICKET_GIVEN_UP } TicketOutcome;

Ticket *ticket_new(void); /* one use */
void ticket_use(Ticket *t);
void ticket_drop(Ticket *t);
void ticket_settle(Ticket *t, TicketOutcome outcome); /* once */
TicketOutcome ticket_outcome(Ticket *t);
/* TICKET_OPEN when it was not settled within wait_ms. */
TicketOutcome ticket_wait(Ticket *t, int wait_ms);

#endif
