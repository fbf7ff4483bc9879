/* source_facts: what the records of a relation version need and a Relation message does not tell: what its types are, NOT
 * NULL, defaults, and the key (trap C1). Asked from the source's catalogs, by a connection that is opened for the first
 * question and given back by source_facts_rest.
 * The catalogs are those of now, the version may be older: columns are matched by name, types and modifiers are the
 * version's own. A column that is not there any more is optional, has no default, and the number that it most likely had. One
 * thread. */
#ifndef WALFERRY_SINK_SOURCE_FACTS_H
#define WALFERRY_SINK_SOURCE_FACTS_H

#include "core/config.h"
#include "proto/event.h"

typedef struct SourceFacts SourceFacts;

SourceFacts *source_facts_new(const Config *cfg); /* lends cfg; connects to nothing yet */
void source_facts_free(SourceFacts *f);           /* NULL is fine */

/* Made in `arena`; `topic` and the texts of `rel` are lent. With types where the job tells shapes. NULL and e when the source
 * does not answer: ERR_RETRY but for what a login may be refused for. Blocks for at most the time of a login and of two statements.
 * Key: the primary key; else, of the indexes that are unique, valid, immediate, whole, without expressions and over plain
 * NOT NULL columns, the oldest; where the version lacks a column of it, or the topics leave one out, or the identity is an
 * index without a column of it (a DELETE would have no key), what the Relation flags as identity d or i; else none. */
const EventTable *source_facts_table(SourceFacts *f, Arena *arena, const Relation *rel, const char *topic,
                                     KindOptions options, Error *e);

/* Called now and then: gives the connection back when nobody has asked for half a minute. Clock: clock_ms(). */
void source_facts_rest(SourceFacts *f, int64_t now_ms);

#endif
