/* check_choice: the kinds of change that the job does not apply, and what follows from that. */
#ifndef WALFERRY_JOB_CHECK_CHOICE_H
#define WALFERRY_JOB_CHECK_CHOICE_H

#include "job/check_item.h"

CheckLook check_dml;

#endif
