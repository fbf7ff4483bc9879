/* check_keep: the unique keys of such tables (check_existing.h), under `existing: keep`. */
#ifndef WALFERRY_JOB_CHECK_KEEP_H
#define WALFERRY_JOB_CHECK_KEEP_H

#include "job/check_item.h"

bool keep_look(Check *c, Finding *out, Error *e);

#endif
