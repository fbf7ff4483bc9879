/* pace: `throttle.apply`: how fast the sink may take changes. What was taken is paid for before the next piece is, so that
 * a transaction is never held open for its own rows unless it comes in pieces. Who waits here hears the end that
 * somebody asks for. The sink's thread. */
#ifndef WALFERRY_SINK_PACE_H
#define WALFERRY_SINK_PACE_H

#include "sink/sink.h"

/* More was taken than is paid for. */
bool pace_owes(const SinkOptions *options);
/* Until it is paid for, or the session ends. */
void pace_wait(const SinkOptions *options);
void pace_take(const SinkOptions *options, const Transaction *tx);

#endif
