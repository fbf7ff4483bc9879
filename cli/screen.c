#include "cli/screen.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/view.h"

/* No cursor while a frame is drawn, and no wrap: a line that turns out too wide is cut by the terminal, so
 * that rows can be counted. Each frame ends with both as they were, so no way of ending, kill -9 included,
 * leaves them changed. */
#define FRAME_BEGIN  "\033[?25l\033[?7l"
#define FRAME_END    "\033[?7h\033[?25h"
#define CLEAR_BEHIND "\033[K"
#define CLEAR_BELOW  "\033[J"
#define CLEAR_ALL    "\033[H\033[2J"

enum { FRAME_BYTES_MAX = 256 * 1024 };

/* The log's taker is a plain function without a context: hence state of the process. */
static struct {
    pthread_mutex_t lock; /* guards lines */
    ViewLines lines;
    bool started, diverted;
    int rows, width, height; /* of the frame on the terminal */
    Writer text, frame;
} screen = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool screen_possible(void) {
    const char *kind = getenv("TERM");
    return isatty(STDOUT_FILENO) && kind != NULL && *kind != '\0' && strcmp(kind, "dumb") != 0;
}

bool screen_colour(int fd) {
    const char *none = getenv("NO_COLOR");
    return isatty(fd) && (none == NULL || *none == '\0');
}

static void line_take(LogLevel level, const char *line) {
    ViewLines *lines = &screen.lines;
    pthread_mutex_lock(&screen.lock);
    if (lines->count == VIEW_LINES_MAX) {
        memmove(lines->text[0], lines->text[1], sizeof lines->text - sizeof lines->text[0]);
        memmove(&lines->level[0], &lines->level[1], sizeof lines->level - sizeof lines->level[0]);
        lines->count--;
    }
    char *text = lines->text[lines->count];
    snprintf(text, VIEW_LINE_SIZE, "%s", line);
    for (char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = ' ';
    lines->level[lines->count++] = level;
    pthread_mutex_unlock(&screen.lock);
}

void screen_start(void) {
    screen.text = writer_new(FRAME_BYTES_MAX);
    screen.frame = writer_new(FRAME_BYTES_MAX);
    screen.started = true;
    screen.diverted = isatty(STDERR_FILENO);
    if (screen.diverted)
        log_divert(line_take);
}

/* 80 by 24 where it is not known. */
static void terminal_size(int *width, int *height) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
    *width = known ? size.ws_col : 80;
    *height = known ? size.ws_row : 24;
}

/* The new view over the old one. Nothing is cleared before it is written over, so nothing flickers; after a
 * change of size nobody knows where the old rows are. */
static void frame_write(const char *text, bool resized) {
    Writer *frame = &screen.frame;
    writer_reset(frame);
    writer_text(frame, FRAME_BEGIN);
    if (resized)
        writer_text(frame, CLEAR_ALL);
    else if (screen.rows > 0)
        writer_format(frame, "\033[%dF", screen.rows);
    screen.rows = 0;
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        writer_bytes(frame, (Slice){text, (size_t)(end - text)});
        writer_text(frame, CLEAR_BEHIND "\r\n");
        screen.rows++;
    }
    writer_text(frame, CLEAR_BELOW FRAME_END);
}

void screen_draw(const Progress *p) {
    struct pollfd terminal = {.fd = STDOUT_FILENO, .events = POLLOUT};
    int width, height;
    /* a terminal that is held (Ctrl-S) must not hold us */
    if (!screen.started || poll(&terminal, 1, 0) != 1 || (terminal.revents & POLLOUT) == 0)
        return;
    terminal_size(&width, &height);
    bool resized = screen.width != 0 && (width != screen.width || height != screen.height);
    screen.width = width;
    screen.height = height;
    writer_reset(&screen.text);
    pthread_mutex_lock(&screen.lock);
    /* in the last column "clear behind" would take the character that stands there */
    view_draw(&screen.text, p, &screen.lines, width - 1, height - 1, screen_colour(STDOUT_FILENO));
    pthread_mutex_unlock(&screen.lock);
    frame_write(writer_string(&screen.text), resized);
    Slice frame = writer_slice(&screen.frame);
    if (write(STDOUT_FILENO, frame.at, frame.len) < 0)
        screen.rows = 0;
}

void screen_end(void) {
    if (!screen.started)
        return;
    screen.started = false;
    if (screen.diverted)
        log_divert(NULL);
    writer_free(&screen.text);
    writer_free(&screen.frame);
}
