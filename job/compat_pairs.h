/* compat_pairs: of one topic, which record of one side belongs to which of the other, and whether they are the same. Knows no broker;
 * the records come in any order in which each key has its own.
 *
 * With a key: the records of each key in their order. Where both say their LSN (proto/compare.h), the one that is further behind has
 * no partner, likewise a tombstone that meets a value; so a missing or an additional record is told as such, and those behind it
 * find theirs. Without a key there is no order (producers put such records into any partition): the records of one LSN, or rows of
 * a snapshot with the same content; those with the same row first, what is left in its order. A tombstone without a key tells
 * nothing, and is left out.
 *
 * Memory: what waits for its partner, in bytes of the records; not more than bytes_max. */
#ifndef WALFERRY_JOB_COMPAT_PAIRS_H
#define WALFERRY_JOB_COMPAT_PAIRS_H

#include "proto/compare.h"

typedef struct CompatPlace {
    int32_t partition;
    int64_t offset; /* -1: there is no record */
} CompatPlace;

/* A field that differs, or a record of one side only. Lent. */
typedef struct CompatFinding {
    const char *key;  /* as JSON; NULL: the record has none */
    const char *path; /* NULL: of one side only */
    const char *values[SIDES];
    CompatPlace at[SIDES];
} CompatFinding;
typedef void CompatFound(void *context, const CompatFinding *finding);

typedef struct CompatCounts {
    int64_t records[SIDES], alone[SIDES];
    int64_t fields;
    int64_t pairs, differing; /* of two records */
} CompatCounts;

typedef struct CompatPairs CompatPairs;

/* prefixes: of the topics; lent until the end, as is the decoder. */
CompatPairs *compat_pairs_new(const char *const prefixes[SIDES], const CompareDecoder *decoder,
                              size_t bytes_max, CompatFound *found, void *context);
void compat_pairs_free(CompatPairs *pairs);
/* The next record of this side. ERR_CONFIG: too many wait; or as of the decoder. */
bool compat_pairs_take(CompatPairs *pairs, int side, CompatPlace at, const CompareRecord *record, Error *e);
/* Nothing comes of this side any more: what waits for it has no partner, nor will what comes have one. */
bool compat_pairs_end(CompatPairs *pairs, int side, Error *e);
const CompatCounts *compat_pairs_counts(const CompatPairs *pairs);

#endif
