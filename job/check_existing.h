/* check_existing: the tables that are at the target already, when `existing` is another way than fail. For check_target.c. */
#ifndef WALFERRY_JOB_CHECK_EXISTING_H
#define WALFERRY_JOB_CHECK_EXISTING_H

#include "job/check_item.h"

bool existing_look(Check *c, Finding *out, Error *e);

#endif
