/* rename: the definitions under the names that they get at the destination, by the only one who can say them exactly:
 * the server. The dump's scripts are run, with the source's names and without a row, in a database of our own
 * (snapshot/scratch.h); there schemas, relations and columns are renamed by ALTER; and pg_dump takes that database. Views,
 * defaults, keys, policies, rules, functions with a parsed body follow, because the server knows them by number and not
 * by name. Nothing is parsed or replaced here, and the destination never sees a name of the source. A parser (libpg_query)
 * was the other way: it knows the grammar of one version, cannot tell a column in a subselect from another table's, and
 * needs every statement written again by a deparser that has to be mistrusted. The price: the account needs CREATEDB.
 *
 * What the server does not follow is text: bodies of functions, arguments of triggers. job/check_names.c finds them.
 * A schema is renamed whole where its new name is free; else (and always `public`) what is in it is moved; extensions,
 * default privileges and types that are only a shell stay where they are. Columns of a typed table are renamed in its type. */
#ifndef WALFERRY_SNAPSHOT_RENAME_H
#define WALFERRY_SNAPSHOT_RENAME_H

#include "core/mapping.h"
#include "snapshot/dump.h"

typedef struct Renaming {
    const Config *cfg;
    const Mapping *mapping;
    const DumpParts *parts;
    const PGresult *relations_there; /* which the destination has, by their names at the source; NULL: none */
    Pg *source;                      /* for roles */
    Pg *target;
    const atomic_bool *stop;
} Renaming;

/* Replaces the dump by the same one in new names. */
bool rename_dump(const Renaming *r, Dump *dump, Error *e);

/* Renames what is in the database of `inside`; exposed for its tests. */
bool rename_objects(const Mapping *mapping, Pg *inside, const atomic_bool *stop, Error *e);

#endif
