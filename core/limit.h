/* limit: what the operating system refused, as a sentence that names the limit and its value. Such an error does not
 * pass by itself: somebody has to raise the limit (ERR_CONFIG, exit 2). */
#ifndef WALFERRY_CORE_LIMIT_H
#define WALFERRY_CORE_LIMIT_H

#include "core/error.h"

/* `why`: an errno. Fills e with "cannot <what>: …" and returns false. */
bool limit_failed(Error *e, const char *what, int why);
/* True when this errno speaks of a limit of the process or the system. */
bool limit_is_meant(int why);

#endif
