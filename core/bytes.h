/* bytes: a lent run of bytes, a reader over it that never reads outside, and a writer that grows up to a maximum.
 * The reader is sticky: after the first read past the end `bad` stays true and every further read gives zero, so
 * a parser checks once at its end. Numbers are in network byte order (protocol chapter "Message Data Types"). */
#ifndef WALFERRY_CORE_BYTES_H
#define WALFERRY_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Slice {
    const char *at; /* not terminated; may be NULL when len is 0 */
    size_t len;
} Slice;

Slice slice_text(const char *text); /* lends a C string, without its NUL */
bool slice_equal(Slice a, Slice b);
bool slice_is(Slice a, const char *text); /* same bytes as the C string */

typedef struct Reader {
    const uint8_t *start, *at, *end;
    bool bad;
} Reader;

Reader reader_new(Slice over);
size_t reader_left(const Reader *r);
size_t reader_offset(const Reader *r); /* bytes read so far: for error messages */
uint8_t reader_u8(Reader *r);
uint16_t reader_u16(Reader *r);
uint32_t reader_u32(Reader *r);
uint64_t reader_u64(Reader *r);
Slice reader_bytes(Reader *r, size_t count);
/* Up to a NUL, which is read, too; bad when there is none. The slice is NUL-terminated in the buffer. */
Slice reader_text(Reader *r);

/* A growing buffer of its own memory; `limit` bounds it: a write beyond it sets `full` and writes nothing. */
typedef struct Writer {
    char *at;
    size_t len, capacity, limit;
    bool full;
} Writer;

Writer writer_new(size_t limit);
void writer_free(Writer *w);
void writer_reset(Writer *w); /* empty again, memory kept */
void writer_u8(Writer *w, uint8_t value);
void writer_u16(Writer *w, uint16_t value);
void writer_u32(Writer *w, uint32_t value);
void writer_u64(Writer *w, uint64_t value);
void writer_bytes(Writer *w, Slice bytes);
void writer_text(Writer *w, const char *text); /* the characters, no NUL */
void writer_format(Writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *writer_string(Writer *w); /* NUL-terminated view, valid until the next write */
Slice writer_slice(const Writer *w);

#endif
