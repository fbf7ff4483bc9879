/* recorded: what the job's record at the destination knows, against the source as it is now, and into the metrics. Reads only. */
#ifndef WALFERRY_JOB_RECORDED_H
#define WALFERRY_JOB_RECORDED_H

#include "job/walk.h"

/* Of a job that is about to go on: it has the source and the options that it began with. The selection keeps the tables that
 * are its own, and new ones that may join. */
bool recorded_fits(Walk *walk, Error *e);
/* Where the job stands and what is loaded, into the metrics; reads the record again. */
bool recorded_show(Walk *walk, Error *e);

#endif
