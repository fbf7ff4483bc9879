/* still: triggers and rules that would act on applied rows. The apply session's replica role holds back those of the
 * ordinary state; ENABLE ALWAYS and ENABLE REPLICA ones fire there, and their effects are in the stream already. Until
 * the users move, the first are put into the ordinary state and the second are disabled. */
#ifndef WALFERRY_SNAPSHOT_STILL_H
#define WALFERRY_SNAPSHOT_STILL_H

#include "core/pg.h"
#include "core/selection.h"

/* On the job's tables at the destination; says which. */
bool still_keep(Pg *target, const Selection *selection, Error *e);

/* The rows of what fires for applied rows on either side: schema, table, name, "TRIGGER" or "RULE", and the ALTER
 * TABLE's words that keep it still, "ENABLE" or "DISABLE". */
PGresult *still_read(Pg *pg, Error *e);

#endif
