#include "core/binary_type.h"

#include <inttypes.h>
#include <stdlib.h>

/* Not interval: from 17 on it has infinities, which an older server takes for finite values. Not tsquery: no server reads
 * back the binary form of an empty one. */
static const uint16_t TYPES[] = {
    16,   17,   18,   19,   20,   21,   23,   25,   26,   114,  600,  601,  602,
    603,  604,  628,  700,  701,  718,  774,  790,  829,  869,  650,  1042, 1043,
    1082, 1083, 1114, 1184, 1266, 1560, 1562, 1700, 2950, 3220, 3614, 3802, 4072,
};
enum { INT8 = 20, INT2 = 21, INT4 = 23, OID = 26, UUID = 2950, SHOWN_BYTES = 24 };
static const uint16_t WORDS[] = {18, 19, 25, 114, 1042, 1043};

static bool among(const uint16_t *list, size_t count, uint32_t oid) {
    for (size_t at = 0; at < count; at++)
        if (list[at] == oid)
            return true;
    return false;
}

bool binary_type(uint32_t oid) {
    return among(TYPES, sizeof TYPES / sizeof *TYPES, oid);
}

static void bytes_show(uint32_t oid, Slice value, Writer *out) {
    writer_text(out, oid == UUID ? "" : "\\x");
    for (size_t at = 0; at < value.len && at < SHOWN_BYTES; at++) {
        bool dash = oid == UUID && (at == 4 || at == 6 || at == 8 || at == 10);
        writer_format(out, dash ? "-%02x" : "%02x", (unsigned char)value.at[at]);
    }
    if (value.len > SHOWN_BYTES)
        writer_text(out, "...");
}

void binary_type_show(uint32_t oid, Slice value, Writer *out) {
    Reader r = reader_new(value);
    if (oid == INT2 && value.len == 2)
        writer_format(out, "%d", (int16_t)reader_u16(&r));
    else if (oid == INT4 && value.len == 4)
        writer_format(out, "%" PRId32, (int32_t)reader_u32(&r));
    else if (oid == OID && value.len == 4)
        writer_format(out, "%" PRIu32, reader_u32(&r));
    else if (oid == INT8 && value.len == 8)
        writer_format(out, "%" PRId64, (int64_t)reader_u64(&r));
    else if (among(WORDS, sizeof WORDS / sizeof *WORDS, oid))
        writer_bytes(out, value);
    else
        bytes_show(oid, value, out);
}
