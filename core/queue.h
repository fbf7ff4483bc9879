/* queue: batches on their way from the source's thread to one sink's thread, in order, bounded by bytes.
 * A batch larger than the bound is let in when the queue is empty: a row is never refused for its size.
 * Both ends time out, because both have other duties (status messages, settling). All functions: any thread. */
#ifndef WALFERRY_CORE_QUEUE_H
#define WALFERRY_CORE_QUEUE_H

#include "core/change.h"

typedef struct Queue Queue;
typedef enum QueueResult { QUEUE_OK, QUEUE_TIMEOUT, QUEUE_CLOSED } QueueResult;

Queue *queue_new(size_t limit_bytes);
void queue_free(Queue *q); /* drops what is left; no thread may be inside */
/* Hands over one use of the batch; on anything but QUEUE_OK the caller still holds it. */
QueueResult queue_push(Queue *q, Batch *b, int wait_ms);
/* *out is the oldest batch; its use goes to the caller. Closed: only when it is empty, too. */
QueueResult queue_pop(Queue *q, Batch **out, int wait_ms);
/* No more pushes; what is inside can still be popped. */
void queue_close(Queue *q);
size_t queue_bytes(Queue *q);

#endif
