#include "proto/datum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void float_text(const Datum *datum, char text[DATUM_FLOAT_BYTES_MOST + 1]) {
    assert(datum->kind == DATUM_FLOAT && datum->bytes.len <= DATUM_FLOAT_BYTES_MOST);
    memcpy(text, datum->bytes.at, datum->bytes.len);
    text[datum->bytes.len] = '\0';
}

double datum_float(const Datum *datum) {
    char text[DATUM_FLOAT_BYTES_MOST + 1];
    float_text(datum, text);
    return strtod(text, NULL);
}

float datum_float32(const Datum *datum) {
    char text[DATUM_FLOAT_BYTES_MOST + 1];
    float_text(datum, text);
    return strtof(text, NULL);
}

Datum *datum_list_add(DatumList *list) {
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 8 : 2 * list->capacity;
        Datum *items = arena_raw(list->arena, capacity * sizeof *items);
        if (list->count > 0)
            memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count] = datum_null();
    return &list->items[list->count++];
}
