/* copy_text: one row of COPY … TO STDOUT in text form, taken apart where it lies. Pure. */
#ifndef WALFERRY_SNAPSHOT_COPY_TEXT_H
#define WALFERRY_SNAPSHOT_COPY_TEXT_H

#include "core/change.h"

/* `row` is changed: values lie in it, each with a NUL behind it; row[length] must be writable. False: it has not `count` values,
 * or is no row of COPY's. */
bool copy_text_split(char *row, size_t length, Value *values, uint16_t count);

#endif
