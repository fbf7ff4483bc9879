#include "proto/record.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"

Records records_new(size_t limit) {
    return (Records){.bytes = writer_new(limit),
                     .special_before = writer_new(limit),
                     .special_after = writer_new(limit),
                     .unchanged = writer_new(limit)};
}

void records_free(Records *records) {
    writer_free(&records->bytes);
    writer_free(&records->special_before);
    writer_free(&records->special_after);
    writer_free(&records->unchanged);
    free(records->space);
    records->space = NULL;
    records->space_size = 0;
}

void *records_space(Records *records, size_t size) {
    if (size > records->space_size) {
        free(records->space);
        records->space = memory_raw(size);
        records->space_size = size;
    }
    return records->space;
}

void records_reset(Records *records) {
    records->count = 0;
    writer_reset(&records->bytes);
    writer_reset(&records->special_before);
    writer_reset(&records->special_after);
    writer_reset(&records->unchanged);
}

Record *records_add(Records *records, Span key, Span value) {
    assert(records->count < RECORDS_MOST);
    Record *record = &records->list[records->count++];
    record->key = key;
    record->value = value;
    record->header_count = 0;
    return record;
}

void record_header(Record *record, const char *name, Span value) {
    assert(record->header_count < HEADERS_MOST);
    record->headers[record->header_count++] = (RecordHeader){name, value};
}

int records_events(const Records *records) {
    int events = 0;
    for (int at = 0; at < records->count; at++)
        events += records->list[at].value.exists ? 1 : 0;
    return events;
}

Slice records_view(const Records *records, Span span) {
    if (!span.exists)
        return (Slice){NULL, 0};
    return (Slice){span.len > 0 ? records->bytes.at + span.from : "", span.len};
}
