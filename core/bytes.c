#include "core/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

Slice slice_text(const char *text) {
    return (Slice){text, strlen(text)};
}

bool slice_equal(Slice a, Slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool slice_is(Slice a, const char *text) {
    return slice_equal(a, slice_text(text));
}

Reader reader_new(Slice over) {
    const uint8_t *at = (const uint8_t *)(over.len > 0 ? over.at : ""); /* no arithmetic on NULL */
    return (Reader){at, at, at + over.len, false};
}

size_t reader_left(const Reader *r) {
    return (size_t)(r->end - r->at);
}

size_t reader_offset(const Reader *r) {
    return (size_t)(r->at - r->start);
}

/* True when `count` bytes may be read; else the reader is bad from now on. */
static bool reader_has(Reader *r, size_t count) {
    if (!r->bad && reader_left(r) >= count)
        return true;
    r->bad = true;
    return false;
}

uint8_t reader_u8(Reader *r) {
    return reader_has(r, 1) ? *r->at++ : 0;
}

uint16_t reader_u16(Reader *r) {
    if (!reader_has(r, 2))
        return 0;
    uint16_t value = (uint16_t)(r->at[0] << 8 | r->at[1]);
    r->at += 2;
    return value;
}

uint32_t reader_u32(Reader *r) {
    if (!reader_has(r, 4))
        return 0;
    uint32_t value =
        (uint32_t)r->at[0] << 24 | (uint32_t)r->at[1] << 16 | (uint32_t)r->at[2] << 8 | (uint32_t)r->at[3];
    r->at += 4;
    return value;
}

uint64_t reader_u64(Reader *r) {
    if (!reader_has(r, 8))
        return 0;
    uint64_t high = reader_u32(r);
    return high << 32 | reader_u32(r);
}

Slice reader_bytes(Reader *r, size_t count) {
    if (!reader_has(r, count))
        return (Slice){NULL, 0};
    Slice out = {(const char *)r->at, count};
    r->at += count;
    return out;
}

Slice reader_text(Reader *r) {
    const uint8_t *end = r->bad || r->at == r->end ? NULL : memchr(r->at, 0, reader_left(r));
    if (end == NULL) {
        r->bad = true;
        return (Slice){"", 0};
    }
    Slice out = {(const char *)r->at, (size_t)(end - r->at)};
    r->at = end + 1;
    return out;
}

Writer writer_new(size_t limit) {
    return (Writer){.limit = limit};
}

void writer_free(Writer *w) {
    free(w->at);
    *w = (Writer){.limit = w->limit};
}

void writer_reset(Writer *w) {
    w->len = 0;
    w->full = false;
}

/* Room for `count` more bytes and a NUL behind them; NULL when that is beyond the limit. */
static char *writer_room(Writer *w, size_t count) {
    if (w->full || count > w->limit - w->len) {
        w->full = true;
        return NULL;
    }
    if (w->len + count + 1 > w->capacity) {
        size_t capacity = w->capacity == 0 ? 256 : w->capacity;
        while (capacity < w->len + count + 1)
            capacity *= 2;
        w->at = memory_grow(w->at, capacity);
        w->capacity = capacity;
    }
    return w->at + w->len;
}

void writer_bytes(Writer *w, Slice bytes) {
    char *to = writer_room(w, bytes.len);
    if (to == NULL || bytes.len == 0)
        return;
    memcpy(to, bytes.at, bytes.len);
    w->len += bytes.len;
}

static void writer_number(Writer *w, uint64_t value, size_t width) {
    char *to = writer_room(w, width);
    if (to == NULL)
        return;
    for (size_t byte = 0; byte < width; byte++)
        to[byte] = (char)(value >> 8 * (width - 1 - byte));
    w->len += width;
}

void writer_u8(Writer *w, uint8_t value) {
    writer_number(w, value, 1);
}
void writer_u16(Writer *w, uint16_t value) {
    writer_number(w, value, 2);
}
void writer_u32(Writer *w, uint32_t value) {
    writer_number(w, value, 4);
}
void writer_u64(Writer *w, uint64_t value) {
    writer_number(w, value, 8);
}
void writer_text(Writer *w, const char *text) {
    writer_bytes(w, slice_text(text));
}

void writer_format(Writer *w, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    char *to = writer_room(w, (size_t)length);
    if (to != NULL) {
        vsnprintf(to, (size_t)length + 1, format, again);
        w->len += (size_t)length;
    }
    va_end(again);
}

const char *writer_string(Writer *w) {
    if (w->at == NULL)
        return "";
    w->at[w->len] = '\0';
    return w->at;
}

Slice writer_slice(const Writer *w) {
    return (Slice){w->at, w->len};
}
