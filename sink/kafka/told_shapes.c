#include "sink/kafka/told_shapes.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"
#include "proto/avro_fingerprint.h"

typedef struct Told {
    uint32_t oid;
    uint64_t shape; /* its text's */
    UT_hash_handle hh;
} Told;

struct ToldShapes {
    Told *all;
};

ToldShapes *told_shapes_new(void) {
    return memory_new(sizeof(ToldShapes));
}

void told_shapes_free(ToldShapes *t) {
    Told *told, *next;
    if (t == NULL)
        return;
    HASH_ITER (hh, t->all, told, next) {
        HASH_DEL(t->all, told);
        free(told);
    }
    free(t);
}

bool told_shapes_same(ToldShapes *t, uint32_t oid, const EventTable *table, bool *altered) {
    Told *told;
    Writer shape = writer_new(SIZE_MAX);
    event_shape_text(table, &shape);
    HASH_FIND(hh, t->all, &oid, sizeof oid, told);
    *altered = told != NULL;
    uint64_t fingerprint = avro_fingerprint(writer_slice(&shape));
    bool same = told != NULL && told->shape == fingerprint;
    if (told == NULL) {
        told = memory_new(sizeof *told);
        told->oid = oid;
        HASH_ADD(hh, t->all, oid, sizeof told->oid, told);
    }
    told->shape = fingerprint;
    writer_free(&shape);
    return same;
}
