/* fault: named points where tests make the program fail, compiled in with WALFERRY_FAULTS only.
 * WALFERRY_FAULT="point:action[@n][~p],…": action kill (SIGKILL to ourselves), fail (ERR_RETRY), fail:<kind>
 * (config, lost, protocol, data, limit), sleep:<ms>, block; @n: only the nth hit; ~p: with probability p (0 to 1),
 * seeded by WALFERRY_FAULT_SEED. WALFERRY_FAULT_LOG names a file to which every point that acted is appended, so that
 * a test can prove that it was reached. Any thread. */
#ifndef WALFERRY_CORE_FAULT_H
#define WALFERRY_CORE_FAULT_H

#include <stdbool.h>

#include "core/error.h"

#ifdef WALFERRY_FAULTS
/* True: go on. False: the point was told to fail, and e says how. */
bool fault_hit(const char *point, Error *e);
#define FAULT(point, e) fault_hit(point, e)
#else
#define FAULT(point, e) ((void)(e), true)
#endif

#endif
