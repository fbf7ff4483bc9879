/* golden: frames for the tests of the decoder: those captured from PostgreSQL (*.hex, made by capture.sh),
 * and those written by hand as recipes. Every frame lies in memory of exactly its size, so that ASan sees a
 * read behind it. */
#ifndef WALFERRY_TESTS_GOLDEN_H
#define WALFERRY_TESTS_GOLDEN_H

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/lsn.h"

enum { GOLDEN_FRAMES_MAX = 400 };

typedef struct GoldenFrame {
    Lsn lsn; /* as the server reports them beside the frame */
    uint32_t xid;
    bool in_stream;
    Slice bytes;
} GoldenFrame;

typedef struct Golden {
    Arena *arena;
    int64_t from_us, upto_us; /* when the workload ran, microseconds since 1970 */
    size_t count;
    GoldenFrame frames[GOLDEN_FRAMES_MAX];
} Golden;

static inline char *golden_memory(Arena *arena, size_t size) {
    char *memory = malloc(size == 0 ? 1 : size);
    assert(memory != NULL);
    arena_adopt(arena, memory, size, free);
    return memory;
}

static inline Slice golden_copy(Arena *arena, Slice bytes) {
    char *memory = golden_memory(arena, bytes.len);
    if (bytes.len > 0)
        memcpy(memory, bytes.at, bytes.len);
    return (Slice){memory, bytes.len};
}

/* Bytes in hexadecimal and texts in single quotes, with spaces where they help: "'I' 0000002a 'N' 0001 'n'".
 */
static inline Slice golden_recipe(Arena *arena, const char *recipe) {
    Writer w = writer_new(1 << 20);
    for (const char *at = recipe; *at != '\0';) {
        if (*at == '\'') {
            const char *end = strchr(++at, '\'');
            assert(end != NULL);
            writer_bytes(&w, (Slice){at, (size_t)(end - at)});
            at = end + 1;
        } else if (*at == ' ') {
            at++;
        } else {
            assert(isxdigit((unsigned char)at[0]) && isxdigit((unsigned char)at[1]));
            writer_u8(&w, (uint8_t)strtoul((char[]){at[0], at[1], '\0'}, NULL, 16));
            at += 2;
        }
    }
    Slice bytes = golden_copy(arena, writer_slice(&w));
    writer_free(&w);
    return bytes;
}

static inline void golden_line(Golden *g, char *line, bool *in_stream) {
    char *lsn = strtok(line, " "), *xid = strtok(NULL, " "), *hex = strtok(NULL, " \n");
    assert(lsn != NULL && xid != NULL && hex != NULL && g->count < GOLDEN_FRAMES_MAX);
    GoldenFrame *frame = &g->frames[g->count++];
    bool parsed = lsn_parse(lsn, &frame->lsn);
    assert(parsed);
    frame->xid = (uint32_t)strtoul(xid, NULL, 10);
    frame->bytes = golden_recipe(g->arena, hex);
    if (frame->bytes.at[0] == 'E')
        *in_stream = false;
    frame->in_stream = *in_stream;
    if (frame->bytes.at[0] == 'S')
        *in_stream = true;
}

static inline Golden *golden_load(const char *file) {
    char path[500];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, file);
    FILE *in = fopen(path, "r");
    assert(in != NULL);
    Golden *g = calloc(1, sizeof *g);
    assert(g != NULL);
    g->arena = arena_new();
    char *line = NULL;
    size_t capacity = 0;
    bool in_stream = false;
    while (getline(&line, &capacity, in) >= 0) {
        if (line[0] != '#')
            golden_line(g, line, &in_stream);
        else if (strstr(line, "# workload: ") == line)
            sscanf(line, "# workload: %ld %ld", &g->from_us, &g->upto_us);
    }
    free(line);
    fclose(in);
    return g;
}

static inline void golden_free(Golden *g) {
    arena_free(g->arena);
    free(g);
}

#endif
