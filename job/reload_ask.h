/* reload_ask: who wants tables to be loaded again (reload.h) asks for them here; the walk takes them from the job. Any thread. */
#ifndef WALFERRY_JOB_RELOAD_ASK_H
#define WALFERRY_JOB_RELOAD_ASK_H

#include <jansson.h>

#include "job/job.h"

/* By the control socket's thread. `tables`: an array of names, schema.table. ERR_CONFIG: not such a job, or none of its tables. */
bool reload_ask(Job *job, const json_t *tables, Error *e);
/* All that was asked for survives a kill. */
bool reload_is_noted(Job *job);
/* The stream is to end, and the walk to begin anew. */
bool reload_is_wanted(Job *job);

#endif
