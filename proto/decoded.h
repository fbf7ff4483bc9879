/* decoded: what avro_decode and protobuf_decode have in common: values that JSON has no form for, as Connect's JsonConverter would say
 * them; and the numbers that both have with their lowest byte first. Pure. */
#ifndef WALFERRY_PROTO_DECODED_H
#define WALFERRY_PROTO_DECODED_H

#include <jansson.h>

#include "core/bytes.h"

json_t *decoded_double(Reader *in);
json_t *
decoded_float(Reader *in); /* with as few digits as tell it from others: 1.1 is not 1.10000002384185791 */
json_t *decoded_bytes(Slice bytes);  /* base64 */
json_t *decoded_string(Slice bytes); /* NULL: it is not UTF-8 */
uint64_t decoded_little(Reader *in, int width);
/* Seven bits in each byte, the lowest first. False: more than 64 bits; the Reader says whether it ended too early. */
bool decoded_varint(Reader *in, uint64_t *out);
int64_t decoded_zigzag(uint64_t value);

#endif
