#include "proto/decoded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json_value.h"

enum { VARINT_BITS = 64, FLOAT_DIGITS_LEAST = 6, FLOAT_DIGITS_MOST = 9 };

uint64_t decoded_little(Reader *in, int width) {
    uint64_t bits = 0;
    for (int byte = 0; byte < width; byte++)
        bits |= (uint64_t)reader_u8(in) << 8 * byte;
    return bits;
}

bool decoded_varint(Reader *in, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < VARINT_BITS; shift += 7) {
        uint8_t byte = reader_u8(in);
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

int64_t decoded_zigzag(uint64_t value) {
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static json_t *real_new(double value) {
    if (isnan(value))
        return json_string("NaN");
    if (isinf(value))
        return json_string(value > 0 ? "Infinity" : "-Infinity");
    return json_real(value);
}

json_t *decoded_double(Reader *in) {
    uint64_t bits = decoded_little(in, sizeof bits);
    double value;
    memcpy(&value, &bits, sizeof value);
    return real_new(value);
}

json_t *decoded_float(Reader *in) {
    uint32_t bits = (uint32_t)decoded_little(in, sizeof bits);
    float value;
    char text[32];
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value))
        return real_new((double)value);
    for (int digits = FLOAT_DIGITS_LEAST; digits <= FLOAT_DIGITS_MOST; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_real(strtod(text, NULL));
}

json_t *decoded_bytes(Slice bytes) {
    Writer text = writer_new(SIZE_MAX);
    json_base64_write(&text, bytes);
    json_t *out = json_stringn_nocheck(text.at + 1, text.len - 2);
    writer_free(&text);
    return out;
}

json_t *decoded_string(Slice bytes) {
    return json_stringn(bytes.len == 0 ? "" : bytes.at, bytes.len);
}
