/* position: is the source still the one that this job knows, and does its slot still stand where the job left it? What
 * is wrong here is final (ERR_LOST, exit 3): the changes in between are gone, or nobody can say which they are.
 *
 * A new timeline (trap A9): the source was promoted or set back since the job last read. Let `fork` be the point up to
 * which its log and the recorded timeline's are the same (decoder/timeline.h).
 *   - The destination must have nothing from beyond the fork: neither a transaction (applied) nor a table that was
 *     loaded under a snapshot of a later point (loaded, trap A2; its changes up to there would also be skipped, and
 *     they would be the new timeline's). Else exit 3: the destination is ahead.
 *   - Then the record moves: timeline := the source's, bound := min(bound, fork). It is durable before anything of the
 *     new timeline is taken in. Killed before that, the next start decides the same from the same record; with two
 *     sinks, each by its own record.
 *
 * Why min(bound, fork), and not applied? What A9 forbids is a bound that contains positions of the old timeline beyond
 * the fork: there a slot of a foreign hand would pass for one that we have confirmed. Up to the fork our own
 * confirmations stay true: whoever promised a position (bound > applied, with heartbeat: 0) had every commit before it,
 * so between applied and min(bound, fork) there is none, on either timeline. A slot that the standby had synchronized
 * carries a position that we confirmed, and the standby takes none that its own log had not reached: it is <= bound and
 * <= fork. bound := applied would call just that slot foreign. A slot made or moved on the new primary stands behind
 * the fork, because the promotion itself writes: it is > min(bound, fork), and exit 3. Where bound = applied, as always
 * with a heartbeat, both rules are one.
 * A synchronized slot that is behind what was confirmed is fine: what comes again is skipped by applied.
 *
 * The same timeline, but a log that ends before what is applied: a copy of the server's disk from earlier. Exit 3. */
#ifndef WALFERRY_JOB_POSITION_H
#define WALFERRY_JOB_POSITION_H

#include "core/config.h"
#include "decoder/slot.h"
#include "sink/sink.h"

/* The server's identity against the record: *now is what the record has to become, the same unless the timeline is
 * new. */
bool position_follow(const ServerIdentity *server, const Position *known, Position *now, Error *e);
/* The same, asking the source by a walsender session of its own. What else is known of a source, its OIDs above all, is of
 * that server alone: this comes before anything is compared with it. */
bool position_check_server(const Config *cfg, const Position *known, Position *now, Error *e);
/* The slot exists, is ours by its kind, has its WAL, and is not beyond the bound (trap A9). */
bool position_check_slot(const Config *cfg, const SlotView *slot, const Position *known, Error *e);
/* All of it, and the publication, for a job that is about to go on. Without the
 * job's lock (`locked`) the bound does not count: whoever holds the slot may have confirmed more since it was read. */
bool position_check(Pg *source, const Config *cfg, const Selection *selection, const Position *known,
                    bool locked, Position *now, Error *e);
/* A loss that somebody else found gets what is safe and the ways out; other errors stay as they are. Returns false. */
bool position_lost(Lsn applied, Error *e);
/* One line for people, when the timeline is new. */
void position_log(const Position *known, const Position *now);

#endif
