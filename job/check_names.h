/* check_names: the job's own words: patterns, names at the target, row filters, column lists (trap A1). */
#ifndef WALFERRY_JOB_CHECK_NAMES_H
#define WALFERRY_JOB_CHECK_NAMES_H

#include "job/check_item.h"

CheckLook check_objects, check_row_filters;

#endif
