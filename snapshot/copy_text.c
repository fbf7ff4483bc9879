#include "snapshot/copy_text.h"

/* What COPY TO writes behind a backslash (copyto.c, CopyAttributeOutText); every other character stands for itself. */
static char plain_of(char c) {
    switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'v': return '\v';
    default: return c;
    }
}

/* From *at to the tab or to the end; false: it ends in the middle of an escape. */
static bool value_take(char **at, char *end, Value *out) {
    char *from = *at, *to = from;
    if (end - from >= 2 && from[0] == '\\' && from[1] == 'N' && (from + 2 == end || from[2] == '\t')) {
        *out = (Value){.kind = VALUE_NULL};
        *at = from + 2;
        return true;
    }
    while (*at < end && **at != '\t') {
        char c = *(*at)++;
        if (c == '\\') {
            if (*at == end)
                return false;
            c = plain_of(*(*at)++);
        }
        *to++ = c;
    }
    *out = (Value){VALUE_TEXT, {from, (size_t)(to - from)}};
    return true;
}

bool copy_text_split(char *row, size_t length, Value *values, uint16_t count) {
    char *at = row, *end = row + length;
    if (length > 0 && end[-1] == '\n')
        end--;
    if (count == 0)
        return at == end;
    for (uint16_t n = 0; n < count; n++) {
        if (!value_take(&at, end, &values[n]))
            return false;
        if (n + 1 == count)
            break;
        if (at == end)
            return false;
        at++; /* the tab */
    }
    if (at != end)
        return false;
    for (uint16_t n = 0; n < count; n++)
        if (values[n].kind == VALUE_TEXT)
            ((char *)(uintptr_t)values[n].bytes.at)[values[n].bytes.len] = '\0';
    return true;
}
