/* foreign_key: a foreign key in two steps, so that nobody's tables are locked while its rows are looked at: made NOT
 * VALID, then validated. Pure; reads what pg_dump writes. */
#ifndef WALFERRY_SNAPSHOT_FOREIGN_KEY_H
#define WALFERRY_SNAPSHOT_FOREIGN_KEY_H

#include "core/bytes.h"

/* Writes both statements. False when the key has to be made in one: of a partitioned table (none takes NOT VALID up to
 * 17), one that is NOT VALID or NOT ENFORCED at the source, or a text of another form. */
bool foreign_key_split(const char *sql, Writer *make, Writer *validate);

#endif
