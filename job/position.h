/* position: is the source still the one that this job knows, and does its slot still stand where the job left it? What
 * is wrong here is final (ERR_LOST, exit 3): the changes in between are gone, or nobody can say which they are. */
#ifndef WALFERRY_JOB_POSITION_H
#define WALFERRY_JOB_POSITION_H

#include "core/config.h"
#include "decoder/slot.h"
#include "sink/sink.h"

/* The server's identity against the record: system identifier and timeline. */
bool position_check_server(const ServerIdentity *server, const Position *known, Error *e);
/* The slot exists, is ours by its kind, has its WAL, and is not beyond the bound (trap A9). */
bool position_check_slot(const Config *cfg, const SlotView *slot, Lsn bound, Error *e);
/* Both, and the publication, for a job that is about to go on: one walsender session and the given one. */
bool position_check(Pg *source, const Config *cfg, const Selection *selection, const Position *known,
                    Error *e);

#endif
