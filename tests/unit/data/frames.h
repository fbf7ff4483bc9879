/* frames: pgoutput messages from short lines, for tests that need many of them, and memory that knows whether it was
 * released exactly once. A line is what listings.h shows, in its own order of fields:
 *
 *   B xid commit        C commit end          S xid first|again     E     c xid commit end     A xid subxid
 *   R oid name column…  (a key column ends in "*")                  Y     O
 *   I oid value…        U oid [K value…|O value…] N value…          D oid K|O value…
 *   T oid… [cascade] [restart]    M lsn prefix content  (transactional; m: not)
 *   b P K p xid commit end        r xid prepare_end end        (two-phase)
 *
 * "5:I 1 a" is done by transaction 5, inside of a stream. Values: - NULL, ~ unchanged, #n an int8 in binary; anything
 * else is text. Positions are decimal; a commit's time is its position. */
#ifndef WALFERRY_TESTS_FRAMES_H
#define WALFERRY_TESTS_FRAMES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

#include "testing.h"

/* ---- memory that is counted ---- */

enum { FRAME_ID_BYTES = sizeof(uint32_t) };

typedef struct FrameMemory {
    uint8_t *released; /* by the frame's number */
    uint32_t given, gone, capacity;
} FrameMemory;

static FrameMemory frame_memory;

/* The slice lies behind the frame's number and ends with the memory, so that ASan sees a read behind it. */
static inline void *frame_give(Slice bytes, Slice *out) {
    FrameMemory *f = &frame_memory;
    if (f->given == f->capacity) {
        f->capacity = f->capacity == 0 ? 1024 : f->capacity * 2;
        f->released = realloc(f->released, f->capacity);
        assert_non_null(f->released);
    }
    char *memory = malloc(FRAME_ID_BYTES + bytes.len + 1);
    assert_non_null(memory);
    memcpy(memory, &f->given, FRAME_ID_BYTES);
    if (bytes.len > 0)
        memcpy(memory + FRAME_ID_BYTES, bytes.at, bytes.len);
    f->released[f->given++] = 0;
    *out = (Slice){memory + FRAME_ID_BYTES, bytes.len};
    return memory;
}

static inline void frame_release(void *memory) {
    uint32_t id;
    memcpy(&id, memory, sizeof id);
    assert_true(id < frame_memory.given);
    assert_int_equal(frame_memory.released[id]++, 0);
    frame_memory.gone++;
    free(memory);
}

/* Everything given was released; counting begins anew. */
static inline void frames_all_gone(void) {
    assert_int_equal(frame_memory.gone, frame_memory.given);
    free(frame_memory.released);
    frame_memory = (FrameMemory){0};
}

/* ---- lines ---- */

typedef struct FrameLine {
    char text[400];
    char *rest;
} FrameLine;

/* The next word, or NULL. */
static inline char *frame_word(FrameLine *l) {
    return strtok_r(NULL, " ", &l->rest);
}

static inline uint64_t frame_number(FrameLine *l) {
    char *word = frame_word(l);
    assert_non_null(word);
    return strtoull(word, NULL, 10);
}

static inline void frame_name(Writer *w, const char *name) {
    writer_text(w, name);
    writer_u8(w, 0);
}

static inline void frame_lsns(Writer *w, FrameLine *l) {
    uint64_t commit = frame_number(l), end = frame_number(l);
    writer_u8(w, 0);
    writer_u64(w, commit);
    writer_u64(w, end);
    writer_u64(w, commit);
}

static inline void frame_value(Writer *w, const char *word) {
    if (strcmp(word, "-") == 0 || strcmp(word, "~") == 0) {
        writer_u8(w, word[0] == '-' ? 'n' : 'u');
    } else if (word[0] == '#') {
        writer_u8(w, 'b');
        writer_u32(w, sizeof(uint64_t));
        writer_u64(w, (uint64_t)strtoll(word + 1, NULL, 10));
    } else {
        writer_u8(w, 't');
        writer_u32(w, (uint32_t)strlen(word));
        writer_text(w, word);
    }
}

/* Values up to "N" or the end of the line; true: "N" was there. */
static inline bool frame_tuple(Writer *w, FrameLine *l, char kind) {
    char *words[40], *word;
    uint16_t count = 0;
    while ((word = frame_word(l)) != NULL && strcmp(word, "N") != 0)
        words[count++] = word;
    writer_u8(w, (uint8_t)kind);
    writer_u16(w, count);
    for (uint16_t column = 0; column < count; column++)
        frame_value(w, words[column]);
    return word != NULL;
}

static inline void frame_row(Writer *w, FrameLine *l, char kind) {
    writer_u32(w, (uint32_t)frame_number(l));
    if (kind == 'I') {
        frame_tuple(w, l, 'N');
        return;
    }
    char *before = frame_word(l);
    assert_non_null(before);
    if (strcmp(before, "N") == 0 || frame_tuple(w, l, before[0]))
        frame_tuple(w, l, 'N');
}

static inline void frame_relation(Writer *w, FrameLine *l) {
    char *columns[40], *column;
    uint16_t count = 0;
    writer_u32(w, (uint32_t)frame_number(l));
    frame_name(w, "public");
    frame_name(w, frame_word(l));
    while ((column = frame_word(l)) != NULL)
        columns[count++] = column;
    writer_u8(w, 'd');
    writer_u16(w, count);
    for (uint16_t number = 0; number < count; number++) {
        char *star = strchr(columns[number], '*');
        if (star != NULL)
            *star = '\0';
        writer_u8(w, star != NULL ? 1 : 0);
        frame_name(w, columns[number]);
        writer_u32(w, 25);
        writer_u32(w, UINT32_MAX);
    }
}

static inline void frame_truncate(Writer *w, FrameLine *l) {
    uint32_t oids[20], count = 0;
    uint8_t options = 0;
    for (char *word; (word = frame_word(l)) != NULL;) {
        if (word[0] == 'c')
            options |= 1;
        else if (word[0] == 'r')
            options |= 2;
        else
            oids[count++] = (uint32_t)strtoul(word, NULL, 10);
    }
    writer_u32(w, count);
    writer_u8(w, options);
    for (uint32_t number = 0; number < count; number++)
        writer_u32(w, oids[number]);
}

static inline void frame_logical(Writer *w, FrameLine *l, bool transactional) {
    writer_u8(w, transactional ? 1 : 0);
    writer_u64(w, frame_number(l));
    frame_name(w, frame_word(l));
    const char *content = l->rest == NULL ? "" : l->rest;
    writer_u32(w, (uint32_t)strlen(content));
    writer_text(w, content);
}

static inline void frame_prepared(Writer *w, FrameLine *l, char kind) {
    uint64_t xid = frame_number(l), first = frame_number(l), end = frame_number(l);
    if (kind != 'b')
        writer_u8(w, 0);
    writer_u64(w, first);
    writer_u64(w, end);
    if (kind == 'r')
        writer_u64(w, 0);
    writer_u64(w, first);
    writer_u32(w, (uint32_t)xid);
    frame_name(w, "gid");
}

static inline void frame_boundary(Writer *w, FrameLine *l, char kind) {
    if (kind == 'B') {
        uint64_t xid = frame_number(l), commit = frame_number(l);
        writer_u64(w, commit);
        writer_u64(w, commit);
        writer_u32(w, (uint32_t)xid);
    } else if (kind == 'S' || kind == 'A') {
        writer_u32(w, (uint32_t)frame_number(l));
        if (kind == 'S')
            writer_u8(w, strcmp(frame_word(l), "first") == 0 ? 1 : 0);
        else
            writer_u32(w, (uint32_t)frame_number(l));
    } else if (kind == 'C' || kind == 'c') {
        if (kind == 'c')
            writer_u32(w, (uint32_t)frame_number(l));
        frame_lsns(w, l);
    } else if (kind != 'E') {
        assert_non_null(strchr("bPKrp", kind));
        frame_prepared(w, l, kind);
    }
}

/* Appends the message that the line describes. */
static inline void frame_write(Writer *w, const char *line) {
    FrameLine l;
    assert_true(strlen(line) < sizeof l.text);
    strcpy(l.text, line);
    char *head = strtok_r(l.text, " ", &l.rest), *colon = strchr(head, ':');
    char kind = colon == NULL ? head[0] : colon[1];
    writer_u8(w, kind == 'm' ? 'M' : (uint8_t)kind);
    if (colon != NULL)
        writer_u32(w, (uint32_t)strtoul(head, NULL, 10));
    switch (kind) {
    case 'R': frame_relation(w, &l); break;
    case 'Y':
        writer_u32(w, 9);
        frame_name(w, "public");
        frame_name(w, "mood");
        break;
    case 'O':
        writer_u64(w, 1);
        frame_name(w, "origin");
        break;
    case 'I':
    case 'U':
    case 'D': frame_row(w, &l, kind); break;
    case 'T': frame_truncate(w, &l); break;
    case 'M':
    case 'm': frame_logical(w, &l, kind == 'M'); break;
    default: frame_boundary(w, &l, kind); break;
    }
}

#endif
