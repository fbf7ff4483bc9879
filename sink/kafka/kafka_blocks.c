#include "sink/kafka/kafka_blocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"

enum { ID_SIZE = 32 + 1 }; /* two numbers and a colon */

struct BlockTable {
    char *name;    /* "schema.table" */
    int64_t count; /* of the transaction under way */
    UT_hash_handle hh;
};

struct KafkaBlocks {
    BlockTable *tables;
    BlockTable **touched; /* by the transaction under way, in order */
    EventCount *counts;   /* room for as many */
    uint32_t touched_count, touched_capacity;
    uint32_t xid;
    int64_t count;
    char id[ID_SIZE];
    EventBlock block;
};

KafkaBlocks *kafka_blocks_new(void) {
    return memory_new(sizeof(KafkaBlocks));
}

void kafka_blocks_free(KafkaBlocks *b) {
    if (b == NULL)
        return;
    BlockTable *table, *next;
    HASH_ITER (hh, b->tables, table, next) {
        HASH_DEL(b->tables, table);
        free(table->name);
        free(table);
    }
    free(b->touched);
    free(b->counts);
    free(b);
}

BlockTable *kafka_blocks_table(KafkaBlocks *b, const char *schema, const char *name) {
    BlockTable *table;
    Writer full = writer_new(SIZE_MAX);
    writer_format(&full, "%s%s%s", schema == NULL ? "" : schema, schema == NULL ? "" : ".", name);
    HASH_FIND_STR(b->tables, writer_string(&full), table);
    if (table == NULL) {
        table = memory_new(sizeof *table);
        table->name = memory_text(writer_string(&full));
        HASH_ADD_KEYPTR(hh, b->tables, table->name, strlen(table->name), table);
    }
    writer_free(&full);
    return table;
}

static const char *id_of(KafkaBlocks *b, Lsn at) {
    snprintf(b->id, sizeof b->id, "%" PRIu32 ":%" PRIu64, b->xid, at.at);
    return b->id;
}

EventTransaction kafka_blocks_begin(KafkaBlocks *b, const EventPlace *place, Lsn began) {
    for (uint32_t at = 0; at < b->touched_count; at++)
        b->touched[at]->count = 0;
    b->touched_count = 0;
    b->count = 0;
    b->xid = place->xid;
    return (EventTransaction){.place = place, .id = id_of(b, began)};
}

const EventBlock *kafka_blocks_next(KafkaBlocks *b, const BlockTable *table, Lsn at) {
    b->block = (EventBlock){id_of(b, at), b->count + 1, table->count + 1};
    return &b->block;
}

void kafka_blocks_count(KafkaBlocks *b, BlockTable *table, int events) {
    if (table->count == 0 && events > 0) {
        if (b->touched_count == b->touched_capacity) {
            b->touched_capacity = b->touched_capacity == 0 ? 16 : b->touched_capacity * 2;
            b->touched = memory_grow(b->touched, b->touched_capacity * sizeof(BlockTable *));
            b->counts = memory_grow(b->counts, b->touched_capacity * sizeof *b->counts);
        }
        b->touched[b->touched_count++] = table;
    }
    table->count += events;
    b->count += events;
}

EventTransaction kafka_blocks_end(KafkaBlocks *b, const EventPlace *place) {
    for (uint32_t at = 0; at < b->touched_count; at++)
        b->counts[at] = (EventCount){b->touched[at]->name, b->touched[at]->count};
    return (EventTransaction){.place = place,
                              .id = id_of(b, place->end),
                              .ends = true,
                              .count = b->count,
                              .table_count = b->touched_count,
                              .tables = b->counts};
}
