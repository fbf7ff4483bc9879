/* indexer: `ddl: apply`: makes at the target the indexes that the source has got, beside the stream: CREATE INDEX
 * CONCURRENTLY may take hours, and nobody waits for it. What is to be made is noted by the sink in the transaction of the
 * source's command (sink/postgres/apply_ddl), and the note goes when it is made, when it is there already, or when the
 * target refuses it, which is told; killed before, the next session makes it. What a broken-off build has left
 * behind is dropped first. A thread of the session, with a connection of its own and the job's lock; its failures are
 * nobody's. */
#ifndef WALFERRY_JOB_INDEXER_H
#define WALFERRY_JOB_INDEXER_H

#include "job/job.h"

typedef struct Indexer Indexer;

Indexer *indexer_start(Job *job); /* NULL: nothing to do in this job, or no thread to be had, which is told */
void indexer_end(Indexer *indexer); /* what is being built is cancelled; NULL is fine */

#endif
