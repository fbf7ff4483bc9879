/* existing: what the destination has already of what the job brings, and what becomes of it (`existing:`). Relations
 * (tables, views, sequences …) that stay are noted in the job's record, once; the definitions leave them out with all that
 * belongs to them. Other objects of the same name (schemas, types, functions …) are left as they are. */
#ifndef WALFERRY_SNAPSHOT_EXISTING_H
#define WALFERRY_SNAPSHOT_EXISTING_H

#include "core/config.h"
#include "core/pg.h"
#include "core/selection.h"
#include "snapshot/dump.h"

/* In the transaction that makes the definitions, before them: drops the job's tables when it is to, never what else
 * depends on them, and notes what stays. ERR_CONFIG names what is in the way. Nothing with `existing: fail`. */
bool existing_settle(Pg *source, Pg *target, const Config *cfg, const Selection *selection, Error *e);

/* What a dump of the database of `dumped` leaves out. */
typedef struct Existing {
    DumpThere there;
    Arena *arena;
    PGresult *noted, *objects;
} Existing;
/* By the job's record, and by what is there now; `renamed` NULL: the database has the source's names. Nothing with
 * `existing: fail`. */
bool existing_there(const Config *cfg, Pg *dumped, Pg *target, const Mapping *renamed, Existing *out,
                    Error *e);
void existing_free(Existing *existing);

#endif
