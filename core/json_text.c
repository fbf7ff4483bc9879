#include "core/json_text.h"

static const char *escape_of(unsigned char c) {
    switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: return NULL;
    }
}

void json_text_write(Writer *out, Slice text) {
    size_t plain = 0; /* start of the run that needs no escape */
    writer_u8(out, '"');
    for (size_t at = 0; at < text.len; at++) {
        unsigned char c = (unsigned char)text.at[at];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        writer_bytes(out, (Slice){text.at + plain, at - plain});
        plain = at + 1;
        const char *escape = escape_of(c);
        if (escape != NULL)
            writer_text(out, escape);
        else
            writer_format(out, "\\u%04x", c);
    }
    if (plain < text.len)
        writer_bytes(out, (Slice){text.at + plain, text.len - plain});
    writer_u8(out, '"');
}
