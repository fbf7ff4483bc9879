/* alteration: a captured table that has changed at the source. The record (table_state) keeps the definition that the
 * destination has followed; a relation of the stream that differs from it is a change, noticed at its exact position:
 * before the first row of the new form. Where the destination has made the same change already, the record follows in
 * the transaction of that row, and the stream goes on; else the change is told, with what to run at the destination.
 * Tables are known by their OID on both sides, so that two that swap names are not taken for each other.
 * What no row shows is not seen here: a column dropped and added again under its name, defaults, constraints.
 * Killed anywhere: the record moves with the progress, so the next session compares and decides the same. */
#ifndef WALFERRY_SINK_ALTERATION_H
#define WALFERRY_SINK_ALTERATION_H

#include "core/definition.h"
#include "core/pg.h"
#include "core/state.h"

/* What the destination's table looks like beside the record. */
typedef struct AlteredThere {
    const char *schema, *name; /* what the relation is called at the destination now */
    const PGresult *columns;   /* of ALTERED_COLUMNS_SQL for that name: none when it is not there */
    uint32_t oid;              /* of that name; 0: none */
    bool old_name_there;       /* a table of the name before is there */
    const TableRecord *record; /* target_oid, target_columns */
    /* What a column of the source is called at the destination. */
    const char *(*column_name)(void *context, const char *column);
    void *context;
} AlteredThere;

/* Attribute name, number, type OID, type modifier of the table $1.$2. */
extern const char ALTERED_COLUMNS_SQL[];

/* Whether the destination has the table under its new name, not another one. */
bool alteration_name_is_there(const AlteredThere *there);
/* Whether it has made this change of a column. */
bool alteration_is_there(const AlteredThere *there, const Alteration *a);

/* For people: `added "w" integer`, and the statement for the destination, without an end. `type`: of the new column. */
void alteration_tell(Writer *out, const Alteration *a, const char *type);
void alteration_statement(Writer *out, Pg *pg, const AlteredThere *there, const Alteration *a,
                          const char *type);

#endif
