/* lsn: a place in the write-ahead log. Its own type, so that it cannot be mixed up with a count.
 * Text form as PostgreSQL prints it: two hexadecimal halves, "16/B374D848". 0/0 means "none". */
#ifndef WALFERRY_CORE_LSN_H
#define WALFERRY_CORE_LSN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Lsn {
    uint64_t at;
} Lsn;

#define LSN_NONE ((Lsn){0})
enum { LSN_TEXT_SIZE = 18 }; /* "FFFFFFFF/FFFFFFFF" and its NUL */

static inline bool lsn_before(Lsn a, Lsn b) {
    return a.at < b.at;
}
static inline bool lsn_equal(Lsn a, Lsn b) {
    return a.at == b.at;
}
static inline bool lsn_is_none(Lsn a) {
    return a.at == 0;
}
static inline Lsn lsn_max(Lsn a, Lsn b) {
    return a.at < b.at ? b : a;
}
static inline Lsn lsn_min(Lsn a, Lsn b) {
    return a.at < b.at ? a : b;
}
/* Bytes of WAL from `from` to `to`; 0 when `to` lies before `from`. */
static inline uint64_t lsn_distance_bytes(Lsn from, Lsn to) {
    return from.at < to.at ? to.at - from.at : 0;
}

/* Writes the text form into `text` and returns it. */
const char *lsn_text(Lsn lsn, char text[LSN_TEXT_SIZE]);
/* A short-lived text form for a log line: LSN_FMT with LSN_ARGS(lsn). */
#define LSN_FMT       "%X/%X"
#define LSN_ARGS(lsn) (uint32_t)((lsn).at >> 32), (uint32_t)(lsn).at
/* Reads "X/X" (1 to 8 hexadecimal digits each, nothing else); false leaves *out alone. */
bool lsn_parse(const char *text, Lsn *out);

#endif
