/* wire: how the binary formats write numbers: Avro and Protobuf alike. Pure. */
#ifndef WALFERRY_PROTO_WIRE_H
#define WALFERRY_PROTO_WIRE_H

#include "proto/datum.h"
#include "proto/kind.h"

enum { WIRE_VARINT_BYTES = 10 }; /* at the most */

/* Seven bits to a byte, the lowest first; the highest bit says that there are more. Returns how many bytes. */
static inline size_t wire_varint_put(char bytes[WIRE_VARINT_BYTES], uint64_t value) {
    size_t length = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[length++] = (char)(value | 0x80);
    bytes[length++] = (char)value;
    return length;
}

static inline void wire_varint_write(Writer *out, uint64_t value) {
    char bytes[WIRE_VARINT_BYTES];
    size_t length = wire_varint_put(bytes, value);
    writer_bytes(out, (Slice){bytes, length});
}

/* `width` bytes, the lowest first. */
static inline void wire_little_write(Writer *out, uint64_t bits, size_t width) {
    char bytes[sizeof bits];
    for (size_t byte = 0; byte < width; byte++)
        bytes[byte] = (char)(bits >> 8 * byte);
    writer_bytes(out, (Slice){bytes, width});
}

/* Of a DATUM_FLOAT that is a CONNECT_FLOAT32 or CONNECT_FLOAT64, as IEEE 754 has them. */
uint64_t wire_float_bits(ConnectType type, const Datum *datum);
void wire_float_write(Writer *out, ConnectType type, const Datum *datum);

#endif
