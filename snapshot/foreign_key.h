/* foreign_key: a foreign key in two steps, so that nobody's tables are locked while its rows are looked at: made NOT
 * VALID, then validated. Pure; reads what pg_dump writes. */
#ifndef WALFERRY_SNAPSHOT_FOREIGN_KEY_H
#define WALFERRY_SNAPSHOT_FOREIGN_KEY_H

#include "core/bytes.h"

typedef struct ForeignKey {
    Writer make, validate; /* the two statements */
    Writer
        referenced; /* the quoted name of the table: a partitioned one wants the key in one step, too, because up
                            * to 17 validating leaves what the server keeps for its partitions not validated */
} ForeignKey;

/* False when the key has to be made in one step: of a partitioned table (none takes NOT VALID up to 17), one that is NOT
 * VALID or NOT ENFORCED at the source, or a text of another form. `out` is for foreign_key_free in any case. */
bool foreign_key_split(const char *sql, ForeignKey *out);
void foreign_key_free(ForeignKey *key);

#endif
