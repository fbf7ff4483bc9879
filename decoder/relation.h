/* relation: the relation versions of a session. A Relation message equal to the version in force (in its
 * scope, else globally) makes no new one. Versions live until the session ends, because batches and plans
 * point to them; a session that has seen RELATION_VERSIONS_MAX ends with ERR_RETRY and begins again with an
 * empty cache. Trap A7c: a Relation received inside a streamed transaction counts for that transaction only.
 * It becomes global when the transaction commits, unless a global one of that oid arrived later; it is
 * forgotten when it aborts. The source's thread only; versions themselves are immutable and may be read by
 * any thread. */
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
/* NULL: no such relation was announced (in the scope, or globally when scope is NULL). */
const Relation *relation_get(const RelationCache *c, const RelationScope *scope, uint32_t oid);

RelationScope *relation_scope_new(void);
void relation_scope_free(RelationScope *s);
/* What arrived at `arrival` and later was never said: a subtransaction was rolled back. */
void relation_scope_cut(RelationScope *s, uint64_t arrival);
/* The streamed transaction committed: its relations become global where nothing later is. */
void relation_scope_promote(RelationCache *c, RelationScope *scope);
uint32_t relation_versions(const RelationCache *c);

#endif
