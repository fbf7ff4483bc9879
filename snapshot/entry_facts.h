/* entry_facts: what the source's catalogs know about entries of the dump that are built behind the rows: which table
 * each belongs to. Entries that it does not know (made since, or of another name) are built all the same. */
#ifndef WALFERRY_SNAPSHOT_ENTRY_FACTS_H
#define WALFERRY_SNAPSHOT_ENTRY_FACTS_H

#include "core/pg.h"
#include "core/selection.h"
#include "snapshot/dump.h"

typedef struct EntryFact {
    const Table *table; /* NULL: none of the job's, as a partitioned one */
    bool primary;
} EntryFact;

typedef struct EntryFacts EntryFacts;

EntryFacts *entry_facts_read(Pg *source, const Selection *selection, Error *e);
EntryFact entry_facts_find(const EntryFacts *facts, const DumpEntry *entry);
void entry_facts_free(EntryFacts *facts);

#endif
