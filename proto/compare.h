/* compare: whether two records of Kafka say the same, field by field: how one connector wrote a change, and how another did. JSON,
 * each with its schema inside or without; bodies whose schema stands elsewhere, as a decoder reads them; what is neither is one
 * text. Knows no registry. Pure, but for the decoder.
 *
 * Left out, because it says who wrote and when, not what:
 *   of an event         source.version, source.name, ts_ms, ts_us, ts_ns
 *   of a snapshot's row where and when it was read: source.ts_*, lsn, txId, xmin, sequence, and the marker source.snapshot, which
 *                       goes by the order of reading; where both are rows of a snapshot
 *   of a message outside of transactions  source.ts_*: nothing was committed
 *   headers             walferry.*, __debezium.context.*
 *   order               of the fields of an object; in a schema, too
 * Names in schemas may begin each with its own side's prefix. Numbers are equal as numbers: 1.0E10 and 10000000000; where one is not
 * whole, as doubles. */
#ifndef WALFERRY_PROTO_COMPARE_H
#define WALFERRY_PROTO_COMPARE_H

#include <jansson.h>

#include "core/bytes.h"
#include "core/error.h"

enum { OURS, THEIRS, SIDES };

typedef struct CompareHeader {
    const char *name;
    Slice value;
} CompareHeader;

/* Lent. at == NULL: there is none. */
typedef struct CompareRecord {
    Slice key, value;
    const CompareHeader *headers;
    size_t header_count;
} CompareRecord;

/* A record, read. */
typedef struct CompareParsed {
    json_t *key, *value, *headers; /* key, value NULL: none */
} CompareParsed;

/* Reads keys and values that begin with a zero byte (and the id of their schema at a registry), or with C3 01 (and its
 * fingerprint). NULL and e: it cannot. */
typedef struct CompareDecoder {
    void *context;
    json_t *(*decode)(void *context, Slice bytes, Error *e);
} CompareDecoder;

/* False and e as of the decoder; nothing is left to free. */
bool compare_parse(const CompareRecord *record, const CompareDecoder *decoder, CompareParsed *out, Error *e);
void compare_parsed_free(CompareParsed *parsed);
/* The key without its schema, so that equal keys have equal texts. */
void compare_key_write(const CompareParsed *parsed, Writer *out);
/* Where the change stands in the WAL; false: the record does not say, or is of a snapshot, whose rows have no order. */
bool compare_lsn(const CompareParsed *parsed, int64_t *lsn);
/* The row, before and after; or the whole value. Lent; NULL: none. */
const json_t *compare_before(const CompareParsed *parsed);
const json_t *compare_after(const CompareParsed *parsed);

/* values: as JSON, cut where they are long; "(absent)" where there is none. Lent. */
typedef void CompareDiffer(void *context, const char *path, const char *const values[SIDES]);

/* Calls differ for each field that is not the same, with its path: "value.after.price", "key.id", "value.schema.…",
 * "headers.__debezium.newkey.id". Returns how many fields were compared. */
int64_t compare_records(const CompareParsed records[SIDES], const char *const prefixes[SIDES],
                        CompareDiffer *differ, void *context);

#endif
