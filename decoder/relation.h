/* relation: the relation versions of a session. A Relation message equal to the version in force (in its
 * scope, else globally) makes no new one. A version lives as long as it is in force or a batch has changes of it
 * (core/change). A session that has seen RELATION_VERSIONS_MAX ends with ERR_RETRY and begins again with an empty
 * cache, because the server says of no table that it has gone. Trap A7c: a Relation received inside a streamed
 * transaction counts for that transaction only. It becomes global when the transaction commits, unless a global one of
 * that oid arrived later; it is forgotten when it aborts. The source's thread only; versions may be read by any. */
#ifndef WALFERRY_DECODER_RELATION_H
#define WALFERRY_DECODER_RELATION_H

#include "decoder/pgoutput.h"

enum { RELATION_VERSIONS_MAX = 100000 };

typedef struct RelationCache RelationCache;
typedef struct RelationScope RelationScope; /* the private relations of one streamed transaction */

RelationCache *relation_cache_new(void);
void relation_cache_free(RelationCache *c);

/* `scope` NULL: global. `arrival` is the running number of the frame in the session. */
bool relation_put(RelationCache *c, RelationScope *scope, uint64_t arrival, const Message *m, Error *e);
/* NULL: no such relation was announced (in the scope, or globally when scope is NULL). Good until the next message. */
const Relation *relation_get(const RelationCache *c, const RelationScope *scope, uint32_t oid);
/* The version stays in use until the arena goes. Cheap for one that the arena has had last. */
void relation_lend(const Relation *rel, Arena *arena);

RelationScope *relation_scope_new(void);
void relation_scope_free(RelationScope *s);
/* What arrived at `arrival` and later was never said: a subtransaction was rolled back. */
void relation_scope_cut(RelationScope *s, uint64_t arrival);
/* The streamed transaction committed: its relations become global where nothing later is. */
void relation_scope_promote(RelationCache *c, RelationScope *scope);
uint32_t relation_versions(const RelationCache *c);

#endif
