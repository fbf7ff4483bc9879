/* screen: the live view on the terminal that is stdout: drawn over itself, with the newest log lines below,
 * and left standing at the end. ANSI only. One screen a process, because a terminal and its cursor are one.
 */
#ifndef WALFERRY_CLI_SCREEN_H
#define WALFERRY_CLI_SCREEN_H

#include "cli/meter.h"

bool screen_possible(void); /* stdout is a terminal that knows ANSI */
bool screen_colour(int fd); /* a terminal, and NO_COLOR does not forbid it */
void screen_start(void);    /* log lines go to the screen, unless stderr is something else than a terminal */
void screen_draw(const Progress *p);
/* The last view stays; log lines go to stderr again. Harmless without a start. */
void screen_end(void);

#endif
