#include "core/lsn.h"

#include <stddef.h>

static char *hex_write(char *to, uint32_t half) {
    int shift = 28;
    while (shift > 0 && half >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *to++ = "0123456789ABCDEF"[half >> shift & 15];
    return to;
}

/* Every record of a topic has one in its headers: not by printf. */
const char *lsn_text(Lsn lsn, char text[LSN_TEXT_SIZE]) {
    char *to = hex_write(text, (uint32_t)(lsn.at >> 32));
    *to++ = '/';
    *hex_write(to, (uint32_t)lsn.at) = '\0';
    return text;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One half: 1 to 8 digits; returns the first character behind it, or NULL. */
static const char *hex_half(const char *text, uint32_t *out) {
    uint32_t value = 0;
    int digits = 0;
    for (; hex_digit(*text) >= 0; text++) {
        if (++digits > 8)
            return NULL;
        value = value << 4 | (uint32_t)hex_digit(*text);
    }
    *out = value;
    return digits > 0 ? text : NULL;
}

bool lsn_parse(const char *text, Lsn *out) {
    uint32_t high, low;
    const char *rest = hex_half(text, &high);
    if (rest == NULL || *rest != '/')
        return false;
    rest = hex_half(rest + 1, &low);
    if (rest == NULL || *rest != '\0')
        return false;
    out->at = (uint64_t)high << 32 | low;
    return true;
}
