#include "core/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"

typedef struct Node {
    struct Node *next;
    Batch *batch;
} Node;

struct Queue {
    pthread_mutex_t lock;
    pthread_cond_t readable, writable;
    Node *first, *last;
    size_t bytes, limit_bytes;
    bool closed;
};

Queue *queue_new(size_t limit_bytes) {
    Queue *q = memory_new(sizeof *q);
    q->limit_bytes = limit_bytes;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->readable, &monotonic);
    pthread_cond_init(&q->writable, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return q;
}

void queue_free(Queue *q) {
    if (q == NULL)
        return;
    while (q->first != NULL) {
        Node *node = q->first;
        q->first = node->next;
        batch_drop(node->batch);
        free(node);
    }
    pthread_cond_destroy(&q->readable);
    pthread_cond_destroy(&q->writable);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static bool has_room(const Queue *q, const Batch *b) {
    return q->first == NULL || (b->bytes <= q->limit_bytes && q->bytes <= q->limit_bytes - b->bytes);
}

/* Whoever waits is woken when the lock is free: else it would wake only to wait again. */
QueueResult queue_push(Queue *q, Batch *b, int wait_ms) {
    struct timespec deadline = clock_after_ms(wait_ms);
    QueueResult result = QUEUE_OK;
    Node *node = memory_raw(sizeof *node);
    *node = (Node){NULL, b};
    pthread_mutex_lock(&q->lock);
    while (!q->closed && !has_room(q, b) && result == QUEUE_OK)
        if (pthread_cond_timedwait(&q->writable, &q->lock, &deadline) == ETIMEDOUT)
            result = QUEUE_TIMEOUT;
    if (q->closed)
        result = QUEUE_CLOSED;
    else if (has_room(q, b))
        result = QUEUE_OK;
    if (result == QUEUE_OK) {
        if (q->first == NULL)
            q->first = node;
        else
            q->last->next = node;
        q->last = node;
        q->bytes += b->bytes;
    }
    pthread_mutex_unlock(&q->lock);
    if (result == QUEUE_OK)
        pthread_cond_signal(&q->readable);
    else
        free(node);
    return result;
}

/* Until there is something, or an end of it; 0: nobody sleeps, not even over a time that has passed. */
static void await_readable(Queue *q, int wait_ms) {
    struct timespec deadline = clock_after_ms(wait_ms);
    while (wait_ms > 0 && q->first == NULL && !q->closed)
        if (pthread_cond_timedwait(&q->readable, &q->lock, &deadline) == ETIMEDOUT)
            return;
}

QueueResult queue_pop(Queue *q, Batch **out, int wait_ms) {
    pthread_mutex_lock(&q->lock);
    await_readable(q, wait_ms);
    QueueResult result = q->closed ? QUEUE_CLOSED : QUEUE_TIMEOUT;
    Node *node = q->first;
    if (node != NULL) {
        q->first = node->next;
        q->bytes -= node->batch->bytes;
        *out = node->batch;
        result = QUEUE_OK;
    }
    pthread_mutex_unlock(&q->lock);
    if (node != NULL)
        pthread_cond_signal(&q->writable);
    free(node);
    return result;
}

void queue_close(Queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->readable);
    pthread_cond_broadcast(&q->writable);
    pthread_mutex_unlock(&q->lock);
}

size_t queue_bytes(Queue *q) {
    pthread_mutex_lock(&q->lock);
    size_t bytes = q->bytes;
    pthread_mutex_unlock(&q->lock);
    return bytes;
}
