#include <stdint.h>
#include <string.h>

#include "snapshot/dump_intern.h"
#include "snapshot/dump_lexer.h"

#define RESTRICT   "\\restrict "
#define UNRESTRICT "\\unrestrict "
#define TIMEOUT    "SET transaction_timeout = 0;\n"
/* The server's own bookkeeping in the columns' options, on minor releases from November 2026 on. An older pg_dump
 * prints it as if it were the user's, and an older server refuses it. */
#define ATTRIBUTE_VERSION "pg_attver="

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static void cut(char *text, size_t len) {
    memmove(text, text + len, strlen(text + len) + 1);
}

/* The first line of the head that begins with `with`; the head ends at the first mark. */
static char *head_line(char *text, const char *with) {
    for (char *line = text; *line != '\0' && !dump_at_mark(line); line += *line == '\n') {
        if (begins(line, with))
            return line;
        line += strcspn(line, "\n");
    }
    return NULL;
}

/* The start of the last line that is not empty. */
static char *last_line(char *text) {
    char *end = text + strlen(text);
    while (end > text && end[-1] == '\n')
        end--;
    while (end > text && end[-1] != '\n')
        end--;
    return end;
}

static bool restrict_cut(char *text, Error *e) {
    char *open = head_line(text, RESTRICT);
    if (open == NULL)
        return true;
    char *close = last_line(text);
    const char *token = open + strlen(RESTRICT);
    size_t token_len = strcspn(token, "\n");
    const char *closing = close + strlen(UNRESTRICT);
    if (!begins(close, UNRESTRICT) || token_len == 0 || strncmp(closing, token, token_len) != 0 ||
        closing[token_len + strspn(closing + token_len, "\n")] != '\0')
        return fail(e, ERR_CONFIG,
                    "the script of pg_restore has \"\\restrict\" without its \"\\unrestrict\"");
    *close = '\0';
    cut(open, strlen(RESTRICT) + token_len + 1);
    return true;
}

/* Cuts the option of this name, and its comma, out of "(a=1, b=2)". */
static void option_cut(char *options, const char *name) {
    char *item = options + 1;
    while (!begins(item, name)) {
        item += strcspn(item, ",)");
        if (*item != ',')
            return;
        item += strspn(item, ", ");
    }
    size_t len = strcspn(item, ",)");
    if (item[len] == ',')
        cut(item, len + strspn(item + len, ", "));
    else if (item > options + 1)
        cut(item - strlen(", "), len + strlen(", "));
    else
        cut(item, len);
}

/* `statement` begins with the line break before it. */
static void attribute_versions_cut(char *text, const char *statement) {
    for (char *at = text; (at = (char *)(uintptr_t)dump_find(at, statement)) != NULL;) {
        char *begin = at + 1;
        const char *end = dump_find(begin, ";\n"), *set = dump_find(begin, " SET (");
        at = begin;
        if (end == NULL || set == NULL || set > end)
            continue;
        char *options = text + (set - text) + strlen(" SET ");
        option_cut(options, ATTRIBUTE_VERSION);
        if (begins(options, "();\n")) {
            cut(begin, (size_t)(options - begin) + strlen("();\n"));
            at--; /* the next statement may follow at once */
        }
    }
}

bool dump_script_clean(char *text, Error *e) {
    if (!restrict_cut(text, e))
        return false;
    char *timeout = head_line(text, TIMEOUT);
    if (timeout != NULL)
        cut(timeout, strlen(TIMEOUT));
    attribute_versions_cut(text, "\nALTER TABLE ONLY ");
    attribute_versions_cut(text, "\nALTER FOREIGN TABLE ONLY ");
    return true;
}
