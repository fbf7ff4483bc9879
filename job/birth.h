/* birth: a new job with a database as destination: intent, publication, slot with exported snapshot, record (trap A17).
 * Killed in between, the next walk finds the intent, and begins again. */
#ifndef WALFERRY_JOB_BIRTH_H
#define WALFERRY_JOB_BIRTH_H

#include "job/exported.h"

/* Takes the job's lock. */
bool birth_of_job(Walk *walk, Exported *out, Error *e);

#endif
