/* debezium_offsets: where a Debezium connector has come to, read from what Kafka Connect keeps of it: the file of a standalone worker
 * (a serialized java.util.HashMap of byte[] to byte[], keys and values in JSON), or one record of its offsets topic. Pure.
 *   key    ["connector's name",{"server":"<topic.prefix>"}]
 *   value  {"lsn":…,"lsn_proc":…,"lsn_commit":…,"txId":…,"ts_usec":…,…}   (kafka-contract.md, section 9) */
#ifndef WALFERRY_PROTO_DEBEZIUM_OFFSETS_H
#define WALFERRY_PROTO_DEBEZIUM_OFFSETS_H

#include "core/bytes.h"
#include "core/error.h"
#include "core/lsn.h"

typedef struct DebeziumOffset {
    bool snapshot; /* in the middle of its first snapshot: the topics do not have all rows */
    Lsn commit; /* behind the last transaction that is whole in the topics; of one that it was in, part is there, too (trap C11) */
} DebeziumOffset;

/* What is known of the connectors with one topic.prefix; by their names, which may have changed. */
typedef struct DebeziumOffsets DebeziumOffsets;
DebeziumOffsets *debezium_offsets_new(const char *prefix);
void debezium_offsets_free(DebeziumOffsets *offsets);

/* ERR_CONFIG: it is no such file, or damaged. */
bool debezium_offsets_file(DebeziumOffsets *offsets, Slice bytes, Error *e);
/* A record of the topic; of those with the same key the last one counts. value.at == NULL: there is no offset any more. Others'
 * records are passed over. */
void debezium_offsets_record(DebeziumOffsets *offsets, Slice key, Slice value);

/* connector NULL: the only one. *found false: there is none of the prefix, and of that name. ERR_CONFIG: there are several, or its offset
 * is not one of Debezium's for PostgreSQL. */
bool debezium_offsets_choose(const DebeziumOffsets *offsets, const char *connector, bool *found,
                             DebeziumOffset *out, Error *e);

#endif
