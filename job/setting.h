/* setting: the options that a running job can change, as `walferry set` asks for. They hold until the run ends: the job
 * file says what the next one begins with. */
#ifndef WALFERRY_JOB_SETTING_H
#define WALFERRY_JOB_SETTING_H

#include "job/job.h"

/* ERR_CONFIG, with nothing changed: no such option, none for a running job, or no value for it. Any thread. */
bool setting_change(Job *job, const char *key, const char *value, Error *e);

#endif
