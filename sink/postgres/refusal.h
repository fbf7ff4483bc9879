/* refusal: what a refused change is: whether its row is to blame, and what people are told of it. Pure. */
#ifndef WALFERRY_SINK_REFUSAL_H
#define WALFERRY_SINK_REFUSAL_H

#include "core/change.h"
#include "core/error.h"

/* Whether the row is to blame for what the server said (conflict.h). */
bool refusal_is_conflict(const Error *e);
/* Adds table, operation, key and place of a failed change to e. */
void refusal_describe(const Transaction *tx, const Change *change, Error *e);

#endif
