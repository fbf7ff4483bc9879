/* watch: while definitions and rows are brought over nobody reads the slot, and its WAL waits on the source. This thread
 * looks at it for the view and `status`. It has a connection of its own, and its failures are nobody's: whoever does the
 * work finds out himself. */
#ifndef WALFERRY_JOB_WATCH_H
#define WALFERRY_JOB_WATCH_H

#include "job/job.h"

typedef struct Watch Watch;

Watch *watch_start(Job *job); /* NULL: no slot to look at, or no thread to be had, which is told */
void watch_end(Watch *watch); /* NULL is fine */

#endif
