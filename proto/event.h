/* event: what a record in Debezium's envelope says, and the schemas that its parts have (kafka-contract.md, sections 2 to 5
 * and 8). One model for all formats: they walk over the Kinds and know no table. Knows no broker and no topic's settings.
 * Pure; everything is made in an arena. */
#ifndef WALFERRY_PROTO_EVENT_H
#define WALFERRY_PROTO_EVENT_H

#include "core/change.h"
#include "proto/kind.h"

/* What is the same in every record of a job. */
typedef struct EventOrigin {
    const char *version;  /* this program's */
    const char *prefix;   /* topic.prefix: source.name */
    const char *database; /* at the source */
} EventOrigin;

typedef struct EventColumn {
    const char *name;
    const Kind *kind; /* NULL: the column is left out */
} EventColumn;

/* What is said of a column in events of a table's shape. */
typedef struct EventType {
    uint32_t oid;
    int32_t modifier; /* -1: none */
    const char *name; /* of the type; NULL: it is not there any more */
    bool not_null;
    const char *default_expression; /* NULL: none */
    int label_count;                /* of an enum */
    const char *const *labels;
} EventType;

/* A version of a relation, as its topic has it. */
typedef struct EventTable {
    const char *topic, *schema, *name;
    uint16_t column_count; /* as many as the relation has, in its order */
    const EventColumn *columns;
    const EventType *types; /* of each; NULL: unknown, and no event of the shape can be made */
    const int16_t *numbers; /* attnum of each, which numbers the fields of Protobuf; NULL: as they stand */
    uint16_t key_count;     /* 0: its records have no key */
    const uint16_t *key;    /* which columns, in the key's order; none of them is left out */
    /* A text behind the key's columns, the same in every record: tells the keys of tables with one topic apart; NULL: none. */
    const char *key_field, *key_value;
} EventTable;

typedef enum EventOp { EVENT_CREATE, EVENT_UPDATE, EVENT_DELETE, EVENT_READ, EVENT_TRUNCATE } EventOp;

typedef enum SnapshotMark {
    SNAPSHOT_FALSE,
    SNAPSHOT_TRUE,
    SNAPSHOT_FIRST,
    SNAPSHOT_FIRST_IN_TABLE,
    SNAPSHOT_LAST_IN_TABLE,
    SNAPSHOT_LAST,
    SNAPSHOT_INCREMENTAL
} SnapshotMark;

/* Where and when: of a change, or of a row of a snapshot. */
typedef struct EventPlace {
    Lsn end;              /* behind the commit record, or the snapshot's: header walferry.lsn */
    int64_t seq;          /* in its transaction; -1: a snapshot's row */
    uint32_t xid;         /* 0: none */
    Lsn lsn, last_commit; /* source.lsn and source.sequence; none: null */
    int64_t committed_us; /* source.ts_*: of the commit, or of the read; since 1970 */
    int64_t now_us;       /* ts_*: when the event is made */
    SnapshotMark snapshot;
} EventPlace;

/* The transaction block, with `transactions: debezium`. An update of the key is two events: its create has the next
 * order of both. */
typedef struct EventBlock {
    const char *id;
    int64_t total_order, data_collection_order;
} EventBlock;

/* Values of `after` that the change did not carry, and that were read at the source behind it. */
typedef struct EventRead {
    const bool *columns; /* table->column_count of them */
    Lsn at;              /* none of the values is newer */
} EventRead;

typedef struct Event {
    EventOp op;
    const EventPlace *place;
    const EventBlock *block; /* NULL: none */
    /* table->column_count values each, in text form. NULL: none. */
    const Value *before, *after;
    const EventRead *read; /* NULL: nothing */
} Event;

typedef struct EventMessage {
    const EventPlace *place;
    const EventBlock *block;
    Slice prefix, content;
} EventMessage;

typedef struct EventCount {
    const char *table; /* "schema.name" */
    int64_t count;
} EventCount;

/* A record of <prefix>.transaction. */
typedef struct EventTransaction {
    const EventPlace *place;
    const char *id; /* "<xid>:<lsn>" */
    bool ends;      /* else it begins, and nothing is counted yet */
    int64_t count;
    uint32_t table_count;
    const EventCount *tables;
} EventTransaction;

extern const Kind event_source; /* the source block */
extern const Kind event_block;  /* the transaction block */
extern const Kind event_message_key, event_message;
extern const Kind event_heartbeat_key, event_heartbeat;
extern const Kind event_transaction_key, event_transaction;
const char *event_snapshot_name(SnapshotMark mark);

const Kind *event_key(Arena *arena, const EventTable *table); /* NULL: no key */
const Kind *event_envelope(Arena *arena, const EventTable *table);
/* The row alone, nothing in it required, with __op, __lsn, __seq and __ts_ms behind it. */
const Kind *event_flat(Arena *arena, const EventTable *table);
const Kind *event_row(Arena *arena, const EventTable *table); /* without them */
enum {
    EVENT_MARKS = 4,
    EVENT_MARK_NUMBER = 2001 /* of the first; no column has it */,
    EVENT_KEY_FIELD_NUMBER = 2005
};

/* Of an update: some column of the key has another value than before, as far as both are known. */
bool event_changes_key(const EventTable *table, const Event *event);

/* What stands for a value that did not come along (section 5); NULL: this Kind has none. For an array it is the element,
 * or, of integers and dates, the text whose bytes are the elements. */
#define PLACEHOLDER "__debezium_unavailable_value"
const char *event_placeholder(const Kind *kind);

#endif
