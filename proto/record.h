/* record: what an encoder makes of an event: up to three records for one topic, each a key, a value and headers, in one
 * buffer that is used again for the next event. Views are valid until then. Knows no Kafka. */
#ifndef WALFERRY_PROTO_RECORD_H
#define WALFERRY_PROTO_RECORD_H

#include "core/bytes.h"

enum { RECORDS_MOST = 3, HEADERS_MOST = 14 };

/* A place in the buffer, which may move while it grows. */
typedef struct Span {
    size_t from, len;
    bool exists; /* else null, which is not the same as empty */
} Span;

typedef struct RecordHeader {
    const char *name;
    Span value;
} RecordHeader;

typedef struct Record {
    Span key, value;
    int header_count;
    RecordHeader headers[HEADERS_MOST];
} Record;

typedef struct Records {
    Writer bytes;
    int count;
    Record list[RECORDS_MOST];
    Writer special_before, special_after, unchanged; /* the encoder's own, as is what follows */
    void *space;
    size_t space_size;
} Records;

Records records_new(size_t limit); /* of all bytes of one event */
void records_free(Records *records);
void records_reset(Records *records); /* memory is kept */
/* At least `size` bytes, until it is called again. */
void *records_space(Records *records, size_t size);
Record *records_add(Records *records, Span key, Span value);
void record_header(Record *record, const char *name, Span value);
/* What is counted as events: records that are no tombstones. */
int records_events(const Records *records);
/* at == NULL: null. */
Slice records_view(const Records *records, Span span);

/* What is written into `bytes` between the two becomes the span. */
static inline size_t span_begin(const Records *records) {
    return records->bytes.len;
}
static inline Span span_end(const Records *records, size_t from) {
    return (Span){from, records->bytes.len - from, true};
}

#endif
