/* view: where a run stands, as text for a terminal: phases, a bar for each table in work, lag by stage, the
 * newest log lines. Pure: the same progress gives the same text. The screen puts it on a terminal. */
#ifndef WALFERRY_CLI_VIEW_H
#define WALFERRY_CLI_VIEW_H

#include "cli/meter.h"
#include "core/bytes.h"
#include "core/log.h"

enum { VIEW_LINES_MAX = 8, VIEW_LINE_SIZE = 320, VIEW_HEIGHT_ANY = 1000 };

/* The newest log lines, the oldest first. */
typedef struct ViewLines {
    int count;
    LogLevel level[VIEW_LINES_MAX];
    char text[VIEW_LINES_MAX][VIEW_LINE_SIZE];
} ViewLines;

/* Lines ended by \n, at most `height`, none wider than `width` columns. */
void view_draw(Writer *out, const Progress *p, const ViewLines *lines, int width, int height, bool colour);
/* One line without its end, for a log: what is loaded, or how far the stream is. */
void view_line(Writer *out, const Progress *p);

#endif
