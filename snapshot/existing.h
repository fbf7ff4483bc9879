/* existing: what the destination has already of what the job brings, and what becomes of it (`existing:`). Relations
 * (tables, views, sequences …) that stay are noted in the job's record, once; the definitions leave them out with all that
 * belongs to them. Other objects of the same name (schemas, types, functions …) are left as they are. */
#ifndef WALFERRY_SNAPSHOT_EXISTING_H
#define WALFERRY_SNAPSHOT_EXISTING_H

#include "core/config.h"
#include "core/mapping.h"
#include "core/pg.h"
#include "core/selection.h"

/* In the transaction that makes the definitions, before them: drops the job's tables when it is to, never what else
 * depends on them, and notes what stays. ERR_CONFIG names what is in the way. Nothing with `existing: fail`. */
bool existing_settle(Pg *source, Pg *target, const Config *cfg, const Selection *selection, Error *e);
/* The objects beside relations that both have: rows of catalog (pg_class's OID of it) and OID at the source, ordered. With
 * `existing: fail` schemas alone: one that is there holds nothing of the job's yet, and is no reason to fail. */
PGresult *existing_objects(Pg *source, Pg *target, const Config *cfg, Error *e);

/* The relations of a database, ordered (pg_row_of_name). */
PGresult *existing_relations(Pg *pg, Error *e);
/* The same without these and their sequences. `oids`: "{16391,16402}". */
PGresult *existing_others(Pg *pg, const char *oids, Error *e);
/* Rows of partitioned table and partition, each by schema and name. */
PGresult *existing_partitions(Pg *pg, Error *e);

#endif
