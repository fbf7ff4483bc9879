/* kafka_blocks: with kafka.transactions: debezium, which place each event has in its source transaction, and how many there were of
 * which table (kafka-contract.md, section 6). An update of the key is two events, a tombstone is none; orders are from 1 on.
 * Counting goes on over the pieces of a large transaction, and goes by the table's name, whatever version of it. Logical
 * messages are counted as the table "message", as their topic is called. An id is "<xid>:<lsn>": that of BEGIN has the place where
 * the transaction begins, that of an event its own record, that of END the transaction's end. Of their headers walferry.seq is 0, and that behind the last change's. Pure; one thread. */
#ifndef WALFERRY_SINK_KAFKA_BLOCKS_H
#define WALFERRY_SINK_KAFKA_BLOCKS_H

#include "proto/event.h"

typedef struct KafkaBlocks KafkaBlocks;
typedef struct BlockTable BlockTable;

KafkaBlocks *kafka_blocks_new(void);
void kafka_blocks_free(KafkaBlocks *b); /* NULL is fine */
/* Lives as long as `b`. schema NULL: none, as of messages. */
BlockTable *kafka_blocks_table(KafkaBlocks *b, const char *schema, const char *name);

/* What is handed out is valid until the next call. */
EventTransaction kafka_blocks_begin(KafkaBlocks *b, const EventPlace *place, Lsn began);
/* Of the next event, whose place.lsn is `at`. */
const EventBlock *kafka_blocks_next(KafkaBlocks *b, const BlockTable *table, Lsn at);
/* It was written, as that many events. */
void kafka_blocks_count(KafkaBlocks *b, BlockTable *table, int events);
EventTransaction kafka_blocks_end(KafkaBlocks *b, const EventPlace *place);

#endif
