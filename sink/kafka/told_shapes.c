#include "sink/kafka/told_shapes.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

typedef struct Told {
    uint32_t oid;
    char *shape;
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
        free(told->shape);
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
    bool same = told != NULL && strcmp(told->shape, writer_string(&shape)) == 0;
    if (told == NULL) {
        told = memory_new(sizeof *told);
        told->oid = oid;
        HASH_ADD(hh, t->all, oid, sizeof told->oid, told);
    }
    free(told->shape);
    told->shape = memory_text(writer_string(&shape));
    writer_free(&shape);
    return same;
}
