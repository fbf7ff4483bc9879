/* json_text: a JSON string written straight into a buffer: for lines that are written by the million.
 * Everything else that is JSON goes through jansson. Bytes that are not UTF-8 do not come here: every session
 * has client_encoding UTF8. */
#ifndef WALFERRY_CORE_JSON_TEXT_H
#define WALFERRY_CORE_JSON_TEXT_H

#include "core/bytes.h"

/* With its quotes; control characters as \uXXXX. */
void json_text_write(Writer *out, Slice text);

#endif
