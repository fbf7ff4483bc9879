/* check_code: definitions of a job that chooses or renames: what goes with what is left out, old names in code. */
#ifndef WALFERRY_JOB_CHECK_CODE_H
#define WALFERRY_JOB_CHECK_CODE_H

#include "job/check_item.h"
#include "snapshot/choice.h"

CheckLook check_left_out, check_renamed_in_code, check_rename_rights;
/* What the job leaves out; NULL when it chooses nothing. The caller frees it. */
bool check_choice(Check *c, Choice **out, Error *e);

#endif
