#include "proto/wire.h"

#include <string.h>

uint64_t wire_float_bits(ConnectType type, const Datum *datum) {
    if (type == CONNECT_FLOAT32) {
        float value = datum_float32(datum);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        return bits;
    }
    double value = datum_float(datum);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

void wire_float_write(Writer *out, ConnectType type, const Datum *datum) {
    wire_little_write(out, wire_float_bits(type, datum), type == CONNECT_FLOAT32 ? 4 : 8);
}
