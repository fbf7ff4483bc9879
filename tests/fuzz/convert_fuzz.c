/* Any text is refused with ERR_DATA or is a datum whose every part can be read and fits its Kind. The first byte of the
 * input chooses the type, the modifier and whether it is an array of it; the rest is the text. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TYPES = 32 };

static volatile unsigned sum; /* so that no read is left out */

static void touch(const Kind *kind, const Datum *datum) {
    switch (datum->kind) {
    case DATUM_NULL:
    case DATUM_SPECIAL: break;
    case DATUM_LEFT_OUT: assert(datum->kind != DATUM_LEFT_OUT); break;
    case DATUM_BOOLEAN: assert(kind->type == CONNECT_BOOLEAN); break;
    case DATUM_INTEGER:
        assert(kind->type == CONNECT_INT16 || kind->type == CONNECT_INT32 || kind->type == CONNECT_INT64);
        break;
    case DATUM_FLOAT:
        assert(kind->type == CONNECT_FLOAT32 || kind->type == CONNECT_FLOAT64);
        sum += datum_float(datum) > 0;
        break;
    case DATUM_BYTES:
        assert(kind->type == CONNECT_STRING || kind->type == CONNECT_BYTES);
        for (size_t byte = 0; byte < datum->bytes.len; byte++)
            sum += (uint8_t)datum->bytes.at[byte];
        break;
    case DATUM_LIST:
        assert(kind->type != CONNECT_STRUCT || datum->count == (uint32_t)kind->field_count);
        for (uint32_t at = 0; at < datum->count; at++)
            touch(kind->type == CONNECT_STRUCT               ? kind->fields[at].kind
                  : kind->type == CONNECT_MAP && at % 2 == 0 ? kind->key
                                                             : kind->element,
                  &datum->items[at]);
    }
}

static TypeFacts type_of(uint8_t choice) {
    static const struct {
        uint32_t oid;
        const char *name;
    } types[TYPES] = {{16, ""},
                      {20, ""},
                      {700, ""},
                      {1700, ""},
                      {790, ""},
                      {1082, ""},
                      {1083, ""},
                      {1114, ""},
                      {1184, ""},
                      {1266, ""},
                      {1186, ""},
                      {1560, ""},
                      {17, ""},
                      {16384, "hstore"},
                      {600, ""},
                      {16384, "sparsevec"},
                      {601, ""},
                      {602, ""},
                      {603, ""},
                      {604, ""},
                      {628, ""},
                      {718, ""},
                      {16384, "geometry"},
                      {16384, "vector"},
                      {16384, "halfvec"},
                      {1562, ""},
                      {25, ""},
                      {2950, ""},
                      {21, ""},
                      {23, ""},
                      {26, ""},
                      {701, ""}};
    size_t at = (choice & 0x0f) | (choice & 0x40) >> 2;
    return (TypeFacts){.oid = types[at].oid, .name = types[at].name, .sort = 'b', .delimiter = ','};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    const TypeFacts element = type_of(data[0]);
    const TypeFacts array = {.oid = 16385, .name = "_x", .sort = 'b', .element = &element};
    bool in_array = (data[0] & 0x10) != 0, modified = (data[0] & 0x20) != 0;
    Arena *arena = arena_new();
    Error e = {0};
    Datum datum;
    const Kind *kind = kind_of(arena,
                               &(ColumnFacts){.type = in_array ? &array : &element,
                                              .modifier = !modified             ? -1
                                                          : element.oid == 1700 ? (20 << 16 | 5) + 4
                                                                                : 3},
                               (KindOptions){0});
    if (convert(kind, (Slice){(const char *)data + 1, size - 1}, arena, &datum, &e))
        touch(kind, &datum);
    else
        assert(e.kind == ERR_DATA && strstr(e.text, " expected, but the text is ") != NULL);
    arena_free(arena);
    return 0;
}
