/* avro_fingerprint: the 64-bit fingerprint of the schema that proto/avro_schema makes of a Kind: CRC-64-AVRO of its Parsing
 * Canonical Form (specification 1.11), which is what the schema says without what readers do not need. With it stand bodies
 * in single-object encoding, where there is no registry. Pure. */
#ifndef WALFERRY_PROTO_AVRO_FINGERPRINT_H
#define WALFERRY_PROTO_AVRO_FINGERPRINT_H

#include "proto/kind.h"

void avro_canonical_write(Writer *out, const Kind *kind);
uint64_t avro_fingerprint(Slice canonical);
uint64_t avro_kind_fingerprint(const Kind *kind);

#endif
